"""Lists of dicts of any origin: a REST service, a script, a language model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_vipllava.regions.context import Context, Row
from langchain_vipllava.regions.corners import BOX_KEYS, corner_names, corner_row, described, find_corners
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import BoxFormat
from langchain_vipllava.regions.values import field, first_row, numbers, rows

_LAYOUT_KEYS: tuple[BoxFormat, ...] = ("xyxy", "xywh", "cxcywh")


def _has_named_corners(output: Any) -> bool:
    return corner_names(find_corners(first_row(output))) is not None


def _read_named_corners(output: Any, context: Context) -> Iterator[Row]:
    for row in rows(output):
        yield corner_row(row, find_corners(row), context)


def _has_four_numbers(output: Any, *names: str) -> bool:
    box = field(first_row(output), *names)
    return box is not None and numbers(box, "box").size == 4


def _has_unnamed_box(output: Any) -> bool:
    return _has_four_numbers(output, *BOX_KEYS)


def _read_unnamed_box(output: Any, context: Context) -> Iterator[Row]:
    box_format = context.required_box_format("nothing says what the four numbers of its boxes mean")
    for row in rows(output):
        box = field(row, *BOX_KEYS)
        if box is None:
            raise KeyError("box")
        yield described(Row(box=box, box_format=box_format), row)


def _has_layout_key(output: Any) -> bool:
    return _has_four_numbers(output, *_LAYOUT_KEYS)


def _read_layout_key(output: Any, _context: Context) -> Iterator[Row]:
    for row in rows(output):
        # Without any of the keys, the lookup below raises a KeyError that names the first.
        box_format = next((key for key in _LAYOUT_KEYS if key in row), _LAYOUT_KEYS[0])
        yield described(Row(box=row[box_format], box_format=box_format), row)


FORMATS = (
    Format("list of dicts with named corners", _has_named_corners, _read_named_corners, Precedence.NAMED_CORNERS),
    Format("list of dicts with xyxy, xywh or cxcywh", _has_layout_key, _read_layout_key, Precedence.NAMED_LAYOUT),
    Format(
        "list of dicts with a box of four numbers (with box_format=)",
        _has_unnamed_box,
        _read_unnamed_box,
        Precedence.UNNAMED,
    ),
)
