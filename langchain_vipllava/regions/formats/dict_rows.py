"""Lists of dicts of any origin: a REST service, a script, a language model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.corners import (
    BOX_KEYS,
    corner_names,
    corner_row,
    find_corners,
    mask_of,
    outlined,
)
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.frames import column_rows
from langchain_vipllava.regions.geometry import BoxFormat
from langchain_vipllava.regions.keys import usual_first, usual_rows
from langchain_vipllava.regions.outlines import rings_in
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.stated import stated
from langchain_vipllava.regions.values import field, keys_of, numbers

_LAYOUT_KEYS: tuple[BoxFormat, ...] = ("xyxy", "xywh", "cxcywh", "yxyx", "xyxyn", "xywhn", "cxcywhn", "yxyxn")

_LAYOUT_NAMES: dict[str, BoxFormat] = {
    **{key: key for key in _LAYOUT_KEYS},
    **{f"{name}_{key}": key for name in ("bbox", "box") for key in _LAYOUT_KEYS},
}


def _has_named_corners(output: Any) -> bool:
    return corner_names(find_corners(usual_first(output))) is not None


def _read_named_corners(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(usual_rows(output), lambda row: corner_row(row, find_corners(row), context))


def _has_four_numbers(output: Any, *names: str) -> bool:
    box = field(usual_first(output), *names)
    return box is not None and numbers(box, "box").size == 4


def _has_unnamed_box(output: Any) -> bool:
    return _has_four_numbers(output, *BOX_KEYS)


def _read_unnamed_box(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    context.layout(None, usual_first(output))  # nobody who says it: an error about all rows
    yield from each(usual_rows(output), lambda row: _unnamed_row(row, context))


def _unnamed_row(row: Mapping[str, Any], context: Context) -> Row:
    box = field(row, *BOX_KEYS)
    if box is None:
        raise KeyError("box")
    return outlined(context.assumed(box, None, row), row, context)


def _has_layout_key(output: Any) -> bool:
    return _has_four_numbers(output, *_LAYOUT_NAMES)


def _read_layout_key(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(usual_rows(output), lambda row: _layout_key_row(row, context))


def _layout_key_row(row: Mapping[str, Any], context: Context) -> Row:
    # Without any of the keys, the lookup below raises a KeyError that names the first.
    key = next((key for key in _LAYOUT_NAMES if key in row), _LAYOUT_KEYS[0])
    box_format, scale = context.scaled(_LAYOUT_NAMES[key], row)
    return outlined(Row(box=row[key], box_format=box_format, scale=scale), row, context)


_CLUES = ("bbox", "box", "height", "label", "left", "score", "top", "width", "x", "x1", "xmin", "y", "y1", "ymin")


def _has_masks(output: Any) -> bool:
    row = usual_first(output)
    return mask_of(row) is not None or bool(rings_in(row.get("segmentation")))


def _read_masks(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(usual_rows(output), lambda row: _mask_row(row, context))


def _mask_row(row: Mapping[str, Any], context: Context) -> Row:
    box = find_corners(row)
    if corner_names(box):
        return corner_row(row, box, context)
    # without a word about the layout of the box, the mask says where it is
    is_known = box is not None and (context.box_format or stated(row).over(context.stated).box_format)
    read = outlined(context.assumed(box, None, row) if is_known else Row(), row, context)
    if read.mask is None and not read.rings:
        raise KeyError("mask")
    return read


def _column_rows(output: Any) -> list[dict[str, Any]] | None:
    named = isinstance(output, Mapping) and (corner_names(output) or keys_of(output) & {*BOX_KEYS, *_LAYOUT_NAMES})
    return column_rows(output) if named else None


def _has_columns(output: Any) -> bool:
    found = _column_rows(output)
    return found is not None and (
        not found or _has_named_corners(found) or _has_unnamed_box(found) or _has_layout_key(found)
    )


def _read_columns(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    found = _column_rows(output)
    if not found:
        return
    for has, read in (
        (_has_named_corners, _read_named_corners),
        (_has_layout_key, _read_layout_key),
        (_has_unnamed_box, _read_unnamed_box),
    ):
        if has(found):
            yield from read(found, context)
            return


FORMATS = (
    Format("dicts", "list of dicts with masks or segmentation", _has_masks, _read_masks, Precedence.MASKS),
    Format("dicts", "dict of columns", _has_columns, _read_columns, Precedence.ROWS),
    Format(
        "dicts",
        "list of dicts with named corners",
        _has_named_corners,
        _read_named_corners,
        Precedence.NAMED_CORNERS,
        clues=_CLUES,
    ),
    Format(
        "dicts",
        "list of dicts with xyxy, xywh or cxcywh",
        _has_layout_key,
        _read_layout_key,
        Precedence.NAMED_LAYOUT,
        clues=_CLUES,
    ),
    Format(
        "dicts",
        "list of dicts with a box of four numbers (with box_format=)",
        _has_unnamed_box,
        _read_unnamed_box,
        Precedence.UNNAMED,
        clues=_CLUES,
    ),
)
