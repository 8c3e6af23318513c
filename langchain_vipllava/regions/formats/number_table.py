"""Bare rows of numbers: `box_format` says what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import describe, numbers, plain


def _is_number_table(output: Any) -> bool:
    if isinstance(output, (str, bytes, Mapping)):
        return False
    array = np.asarray(plain(output), dtype=np.float64)
    return array.ndim in (1, 2) and array.shape[-1] in (4, 5, 6)


def _read_number_table(output: Any, context: Context) -> Iterator[Row]:
    table = np.atleast_2d(numbers(output, "the boxes"))
    box_format = context.required_box_format(
        f"nothing says what the numbers of {describe(output)} mean",
        " OpenCV's cascades write 'xywh'. A fifth column is the score, a sixth the class; for turned boxes pass "
        "format='xywhr', for tracks format='sort'.",
    )
    if box_format.startswith("cxcywh") and table.shape[1] == 5 and not context.named:
        raise DetectionError(
            "its fifth column may be a score, or the angle of turned boxes: pass format='table' for a score, "
            "format='xywhr' for an angle in radians, or format='xywhr-degrees'."
        )
    for row in table:
        if len(row) > 4 and not 0 <= row[4] <= 1:
            raise ValueError(
                f"its fifth column is {row[4]:g}; expected a score in 0..1. For track ids pass "
                "format='sort'. If the class comes first, as in YOLO's "
                "text, pass the columns in a dict: {'boxes': ..., 'labels': ...}"
            )
        yield Row(
            box=row[:4],
            box_format=box_format,
            score=row[4] if len(row) > 4 else None,
            class_id=row[5] if len(row) > 5 else None,
        )


FORMATS = (
    Format("table", "table of bare boxes (with box_format=)", _is_number_table, _read_number_table, Precedence.UNNAMED),
)
