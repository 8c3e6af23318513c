"""Regions themselves, nothing at all, and bare rows of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from langchain_vipllava.regions.formats.context import Context, Format, Row
from langchain_vipllava.regions.formats.values import describe, field, first_row, keys_of, numbers, plain, rows
from langchain_vipllava.regions.region import Region


def _is_nothing(found: Any) -> bool:
    # `{}` is Google Vision's answer about an image in which it found nothing.
    if isinstance(found, (list, tuple, Mapping)):
        return len(found) == 0
    shape = field(found, "shape")
    return isinstance(shape, tuple) and 0 in shape and field(found, "xyxy") is None


def _read_nothing(_found: Any, _context: Context) -> Iterator[Row]:
    return iter(())


def _are_regions(found: Any) -> bool:
    return isinstance(found, Region) or (isinstance(found, (list, tuple)) and isinstance(found[0], Region))


def _read_regions(found: Any, _context: Context) -> Iterator[Region]:
    for region in [found] if isinstance(found, Region) else found:
        if not isinstance(region, Region):
            raise ValueError(f"it is {describe(region)}; expected a Region like the rows before it")
        yield region


def _are_dumped(found: Any) -> bool:
    return keys_of(first_row([found] if isinstance(found, Mapping) else found)) == Region.model_fields.keys()


def _read_dumped(found: Any, _context: Context) -> Iterator[Region]:
    for row in [found] if isinstance(found, Mapping) else rows(found):
        derived = row["point"] is not None and tuple(row["box"][:2]) == tuple(row["box"][2:])  # of a point alone
        yield Region(**{name: value for name, value in row.items() if name != "box" or not derived})


def _is_number_table(found: Any) -> bool:
    if isinstance(found, (str, bytes, Mapping)):
        return False
    array = np.asarray(plain(found), dtype=np.float64)
    return array.ndim in (1, 2) and array.shape[-1] in (4, 5, 6)


def _read_number_table(found: Any, context: Context) -> Iterator[Row]:
    table = np.atleast_2d(numbers(found, "the boxes"))
    layout = context.named_layout(
        f"{describe(found)} does not say what its numbers mean",
        " OpenCV's cascades write 'xywh'. A fifth column is read as score, a sixth as class.",
    )
    for row in table:
        if len(row) > 4 and not 0 <= row[4] <= 1:
            raise ValueError(
                f"its fifth column is {row[4]:g}, which is no score in 0..1; where the class comes first, as in YOLO's "
                "text, pass the columns apart: {'boxes': ..., 'labels': ...}"
            )
        yield Row(
            box=row[:4],
            box_format=layout,
            score=row[4] if len(row) > 4 else None,
            class_id=row[5] if len(row) > 5 else None,
        )


REGIONS = (
    Format("empty output", _is_nothing, _read_nothing),
    Format("list of regions", _are_regions, _read_regions),
    Format("list of Region.model_dump()", _are_dumped, _read_dumped),
)
NUMBERS = (Format("table of bare boxes (with box_format=)", _is_number_table, _read_number_table),)
