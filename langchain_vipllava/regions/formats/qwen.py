"""Qwen-VL's JSON: `bbox_2d` and `point_2d`, in pixels of the model's input or in 0..1000, by its version."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.corners import described
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import Size
from langchain_vipllava.regions.outlines import fractions
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import field, first_row, keys_of, numbers, rows

_FACTOR = 28
_MIN_PIXELS, _MAX_PIXELS = 4 * _FACTOR**2, 16384 * _FACTOR**2
"""How Qwen2.5-VL's processor resizes. Source: smart_resize of qwen_vl_utils and transformers, and their defaults."""


def _is_qwen(output: Any) -> bool:
    return bool(keys_of(first_row(output)) & {"bbox_2d", "point_2d"})


def _read_qwen(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    if context.box_format is None:
        raise DetectionError(
            "the same numbers are pixels in Qwen2.5-VL and 0..1000 in Qwen3-VL: pass format='qwen2.5' or 'qwen3', or "
            "box_format='xyxy' if they are pixels of the image."
        )
    layout = context.box_format
    yield from each(rows(output), lambda row: _row(row, lambda values: values, layout.endswith("n")))


def _read_qwen3(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(rows(output), lambda row: _row(row, lambda values: fractions(values, 1000, "bbox_2d"), True))


def _read_qwen25(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    if context.image_size is None:
        raise DetectionError("Qwen2.5-VL's pixels are those of its resized input; pass image_size=(width, height).")
    seen = _resized(context.image_size)

    def shares(values: list[float]) -> list[float]:
        return [fractions([side], seen[axis % 2], "bbox_2d")[0] for axis, side in enumerate(values)]

    yield from each(rows(output), lambda row: _row(row, shares, True))


def _row(row: Mapping[str, Any], convert: Callable[[list[float]], list[float]], normalized: bool) -> Row:
    values: list[float] = numbers(field(row, "bbox_2d", "point_2d"), "bbox_2d").ravel().tolist()
    if len(values) == 2:
        found = Row(point=convert(values), point_normalized=normalized)
    else:
        found = Row(box=convert(values), box_format="xyxyn" if normalized else "xyxy")
    return described(found, row)


def _resized(size: Size) -> Size:
    """Return the size to which Qwen2.5-VL's processor resizes an image: multiples of 28, near to the image's own."""
    width, height = (max(_FACTOR, round(side / _FACTOR) * _FACTOR) for side in size)
    if width * height > _MAX_PIXELS:
        beta = math.sqrt(size[0] * size[1] / _MAX_PIXELS)
        width, height = (max(_FACTOR, math.floor(side / beta / _FACTOR) * _FACTOR) for side in size)
    elif width * height < _MIN_PIXELS:
        beta = math.sqrt(_MIN_PIXELS / (size[0] * size[1]))
        width, height = (math.ceil(side * beta / _FACTOR) * _FACTOR for side in size)
    return width, height


_CLUES = ("bbox_2d", "point_2d", "label", "text_content")

FORMATS = (
    Format("qwen", "Qwen-VL bbox_2d", _is_qwen, _read_qwen, Precedence.ROWS, _CLUES),
    Format("qwen3", "Qwen3-VL bbox_2d in 0..1000", _is_qwen, _read_qwen3, Precedence.ON_REQUEST),
    Format("qwen2.5", "Qwen2.5-VL bbox_2d in pixels of its input", _is_qwen, _read_qwen25, Precedence.ON_REQUEST),
)
