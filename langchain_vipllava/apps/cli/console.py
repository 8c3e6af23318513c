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
from langchain_vipllava.text import printable, quote

console = Console(emoji=False)
errors = Console(stderr=True, emoji=False)

_MAX_LABEL = 80
"""Characters of a label in the table of markers. Chosen: a class name or a short phrase."""


def show_text(text: str, *, style: str | None = None, end: str = "\n") -> None:
    """Print text from outside as it is, but for control and bidirectional characters: those become escapes."""
    console.print(printable(text), style=style, end=end, markup=False, highlight=False, soft_wrap=True)


def in_markup(text: object) -> str:
    """Return text from outside as one line for a place where rich reads markup."""
    return escape(printable(str(text), keep=""))


def show_error(error: VipLlavaError) -> None:
    """Print an error as one line on standard error."""
    errors.print(f"[bold red]{type(error).__name__}:[/] {in_markup(error)}", soft_wrap=True, highlight=False)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print warnings as lines on standard error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        errors.print(f"[yellow]Note:[/] {in_markup(warning.message)}", soft_wrap=True, highlight=False)


def show_markers(marked: MarkedImage) -> None:
    """Print a table of the markers and the phrases that name them."""
    table = Table(header_style="bold")
    for column in ("", "marked", "region", "box", "seen by the model"):
        table.add_column(column)
    for index, marker in enumerate(marked.markers):
        red, green, blue = COLORS[marker.color]
        region = marker.region
        label = quote(region.label, _MAX_LABEL)[1:-1] if region.label else "region"
        table.add_row(
            f"{{{index}}}",
            f"[rgb({red},{green},{blue})]\N{BLACK SQUARE}[/] {marker.phrase}",
            escape(label) + (f" {region.score:.2f}" if region.score is not None else ""),
            ", ".join(f"{n:.0f}" for n in region.box),
            f"{marker.seen[0]:.0f} x {marker.seen[1]:.0f} px",
        )
    console.print(table)
