"""The list that Segment Anything's automatic mask generator returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import field, first_row, keys_of, numbers, rows


def _is_sam(output: Any) -> bool:
    row = first_row(output)
    if not keys_of(row) >= {"segmentation", "bbox"} or "category_id" in row:
        return False
    return "predicted_iou" in row or field(row["segmentation"], "ndim") == 2


def _read_sam(output: Any, context: Context) -> Iterator[Row]:
    for row in rows(output):
        box = numbers(row["bbox"], "bbox").ravel()
        # SAM measures from the first to the last pixel: the bbox of a mask one pixel wide has width 0. Derive the
        # box from the mask then.
        is_thin = box.size == 4 and 0 in box[2:]
        found = Row() if is_thin else context.assumed(box, "xywh", row)
        yield replace(found, mask=row["segmentation"], score=row.get("predicted_iou"))


_CLUES = ("predicted_iou", "segmentation", "stability_score")

FORMATS = (Format("segment-anything", "Segment Anything result", _is_sam, _read_sam, Precedence.ROWS, clues=_CLUES),)
