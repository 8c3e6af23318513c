"""Gemini's JSON: `box_2d` as [y0, x0, y1, x1] and `point` as [y, x], in 0..1000, with masks as PNG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.corners import described
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import fractions
from langchain_vipllava.regions.png_masks import placed, png_bytes, png_values
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import first_row, keys_of, rows

_WHOLE = 1000
"""Gemini's coordinates are in 0..1000 of the image's sides. Source: its documentation, Image understanding."""

_THRESHOLD = 128
"""Smallest value of a mask that is set. Source: Gemini's documentation, which takes the middle of 0..255."""


def _is_gemini(output: Any) -> bool:
    return "box_2d" in keys_of(first_row(output))


def _read_gemini(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(rows(output), lambda row: _row(row, context))


def _row(row: Mapping[str, Any], context: Context) -> Row:
    if "box_2d" not in row and "point" in row:
        y, x = fractions(row["point"], _WHOLE, "point")
        return described(Row(point=(x, y), point_normalized=True), row)
    y0, x0, y1, x1 = fractions(row["box_2d"], _WHOLE, "box_2d")
    mask = row.get("mask")
    found = Row(box=(x0, y0, x1, y1), box_format="xyxyn")
    if isinstance(mask, str) and mask:
        found = Row(box=found.box, box_format="xyxyn", mask=_mask(mask, (x0, y0, x1, y1), context))
    return described(found, row)


def _mask(text: str, box: tuple[float, float, float, float], context: Context) -> np.ndarray:
    """Return the mask of the image: the PNG is a map of probabilities, stretched over the box."""
    if context.image_size is None:
        raise DetectionError("its masks are maps of their boxes; pass image_size=(width, height).")
    width, height = context.image_size
    left, right = (round(side * width) for side in box[::2])
    top, bottom = (round(side * height) for side in box[1::2])
    if left >= right or top >= bottom:
        raise DetectionError("its box covers no pixel; expected [y0, x0, y1, x1] with y0 < y1 and x0 < x1.")
    part = png_values(png_bytes(text), context, (right - left, bottom - top))
    return placed(part >= _THRESHOLD, left, top, context)


def _is_points(output: Any) -> bool:
    row = first_row(output)
    return "point" in keys_of(row) and isinstance(row["point"], (list, tuple)) and len(row["point"]) == 2


def _read_points(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(rows(output), lambda row: _row(row, context))


def _ask_about_points(output: Any, _context: Context) -> Iterator[Row]:
    raise DetectionError(
        f"nothing says whether a point such as {first_row(output)['point']} is Gemini's [y, x] in 0..1000 or [x, y] in "
        "pixels: pass format='gemini', or regions with point=(x, y)."
    )


FORMATS = (
    Format("gemini", "Gemini box_2d", _is_gemini, _read_gemini, Precedence.ROWS, ("box_2d", "label")),
    Format("gemini", "Gemini points", _is_points, _read_points, Precedence.ON_REQUEST, ("point", "label")),
    Format("dicts", "list of dicts with a point of two numbers", _is_points, _ask_about_points, Precedence.UNNAMED),
)
