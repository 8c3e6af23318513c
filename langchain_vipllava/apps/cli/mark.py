"""`langchain-vipllava mark`: a marked image from an image and detections."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langchain_vipllava.apps.cli.console import console, show_markers
from langchain_vipllava.apps.cli.options import MarkOptions, takes


@takes(MarkOptions)
def mark(
    mark_options: MarkOptions,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the marked image.")] = Path("marked.png"),
) -> None:
    """Draw markers on an image."""
    marked = mark_options.mark()
    show_markers(marked)
    console.print(f"Wrote {marked.save(out)}", highlight=False, soft_wrap=True)
