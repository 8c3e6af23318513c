"""The rows of Open Images: XMin, XMax, YMin, YMax in 0..1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.frames import table_rows
from langchain_vipllava.regions.outlines import fractions
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import first_row, keys_of, numbers

_CORNERS = ("XMin", "YMin", "XMax", "YMax")


def _is_open_images(output: Any) -> bool:
    row = first_row(output)
    # Kaggle's files spell corners in pixels so, too
    return keys_of(row) >= set(_CORNERS) and numbers([row[side] for side in _CORNERS], "box").max() <= 1


def _read_open_images(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    listed = table_rows(output)
    images = {row["ImageID"] for row in listed if "ImageID" in row}
    if len(images) > 1:
        raise DetectionError(f"it holds {len(images)} images; keep the rows of one ImageID.")
    yield from each(listed, _row)


def _row(row: Mapping[str, Any]) -> Row:
    return Row(
        box=fractions([float(row[name]) for name in _CORNERS], 1, "box"),
        box_format="xyxyn",
        label=row.get("LabelName"),
        score=row.get("Confidence"),
    )


FORMATS = (
    Format(
        "open-images", "Open Images rows", _is_open_images, _read_open_images, Precedence.ROWS, (*_CORNERS, "ImageID")
    ),
)
