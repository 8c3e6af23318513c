"""The list that Segment Anything's automatic mask generator returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_vipllava.regions.formats.context import Context, Format, Row
from langchain_vipllava.regions.formats.values import field, first_row, keys_of, numbers, rows


def _is_sam(found: Any) -> bool:
    row = first_row(found)
    if not keys_of(row) >= {"segmentation", "bbox"} or "category_id" in row:
        return False
    return "predicted_iou" in row or field(row["segmentation"], "ndim") == 2


def _read_sam(found: Any, _context: Context) -> Iterator[Row]:
    for row in rows(found):
        box = numbers(row["bbox"], "bbox").ravel()
        # SAM measures from pixel to pixel: a mask one pixel wide has a bbox of width 0. Its mask knows better.
        thin = box.size == 4 and 0 in box[2:]
        yield Row(
            box=None if thin else box,
            box_format="xywh",
            mask=row["segmentation"],
            score=row.get("predicted_iou"),
        )


FORMATS = (Format("Segment Anything result", _is_sam, _read_sam),)
