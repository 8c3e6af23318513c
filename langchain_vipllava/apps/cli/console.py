"""Console output: errors and warnings as single lines, and the table of markers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from langchain_vipllava.errors import VipLlavaError
from langchain_vipllava.markers.kinds import COLORS
from langchain_vipllava.markers.marked_image import MarkedImage

console = Console()
errors = Console(stderr=True)


def show_error(error: VipLlavaError) -> None:
    """Print an error as one line on standard error."""
    errors.print(f"[bold red]{type(error).__name__}:[/] {escape(str(error))}", soft_wrap=True, highlight=False)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print warnings as lines on standard error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        errors.print(f"[yellow]Note:[/] {escape(str(warning.message))}", soft_wrap=True, highlight=False)


def show_markers(marked: MarkedImage) -> None:
    """Print a table of the markers and the phrases that name them."""
    table = Table(header_style="bold")
    for column in ("", "marked", "region", "box", "seen by the model"):
        table.add_column(column)
    for index, marker in enumerate(marked.markers):
        red, green, blue = COLORS[marker.color]
        region = marker.region
        label = region.label or "region"
        table.add_row(
            f"{{{index}}}",
            f"[rgb({red},{green},{blue})]\N{BLACK SQUARE}[/] {marker.phrase}",
            escape(label) + (f" {region.score:.2f}" if region.score is not None else ""),
            ", ".join(f"{n:.0f}" for n in region.box),
            f"{marker.seen[0]:.0f} x {marker.seen[1]:.0f} px",
        )
    console.print(table)
