"""`langchain-vipllava mark`: draw markers on an image, from boxes or a detector's output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langchain_vipllava.apps.cli import options
from langchain_vipllava.apps.cli.console import console, in_markup, show_markers


def mark(
    image: options.ImageArgument,
    box: options.BoxOption = None,
    detections: options.DetectionsOption = None,
    box_format: options.BoxFormatOption = None,
    min_score: options.MinScoreOption = 0.0,
    max_regions: options.MaxRegionsOption = None,
    kind: options.KindOption = None,
    color: options.ColorOption = None,
    numbers: options.NumbersOption = False,
    zoom: options.ZoomOption = False,
    seed: options.SeedOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File for the marked image.")] = Path("marked.png"),
) -> None:
    """Draw markers on an image."""
    marked = options.MarkOptions(
        image, box, detections, box_format, min_score, max_regions, kind, color, numbers, zoom, seed
    ).mark()
    show_markers(marked)
    console.print(f"Wrote {in_markup(marked.save(out))}", highlight=False, soft_wrap=True)
