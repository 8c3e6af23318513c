"""Lists of dicts of any origin whose outline is a list of points: OCR scripts, segmenters, services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.corners import BOX_KEYS, described
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import is_points, outline_row
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import first_row, keys_of, numbers, rows

_OUTLINES = (
    "polygon",
    "poly",
    "quad",
    "quad_box",
    "text_region",
    "vertices",
    "corners",
    "outline",
    "contour",
    *BOX_KEYS,
)
_QUADS = ("points", "boxes")
"""Keys that hold an outline beside a text that was read, and keypoints elsewhere."""

_TEXTS = {"text", "txt", "transcription", "content"}


def _points(row: Any) -> Any:
    """Return the points of a row: pairs, {x, y} or eight numbers in a row; None without any."""
    is_text = bool(keys_of(row) & _TEXTS)
    for key in (*_OUTLINES, *_QUADS):
        value: Any = row.get(key) if isinstance(row, Mapping) else None
        if key in _QUADS and not (is_text and is_points(value, 4)):
            continue
        if (
            isinstance(value, (list, tuple))
            and len(value) >= 3
            and all(keys_of(point) >= {"x", "y"} for point in value)
        ):
            return [(point["x"], point["y"]) for point in value]
        if is_points(value) and len(value) >= 3:
            return value
        if key in ("polygon", "poly", "quad", "text_region", "quad_box") and _is_flat(value):
            return numbers(value, key).reshape(-1, 2)
    return None


def _is_flat(value: Any) -> bool:
    if not isinstance(value, (list, tuple)) or len(value) < 6 or len(value) % 2:
        return False
    return all(isinstance(number, (int, float)) for number in value)


def _are_outlines(output: Any) -> bool:
    return _points(first_row(output)) is not None


def _read_outlines(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(rows(output), lambda row: _row(row, context))


def _row(row: Mapping[str, Any], context: Context) -> Row:
    points = _points(row)
    if points is None:
        raise KeyError(_OUTLINES[0])
    normalized = context.layout("xyxy", row)[0].endswith("n")
    if not normalized and 0 < numbers(points, "the outline").max() <= 1:
        raise DetectionError(
            "its outline has all its values in 0..1. If they are fractions of the image's sides, pass "
            "box_format='xyxyn' and image_size=(width, height)."
        )
    return described(outline_row(points, normalized=normalized), row)


FORMATS = (
    Format(
        "dicts",
        "list of dicts with points",
        _are_outlines,
        _read_outlines,
        Precedence.OUTLINES,
        ("polygon", "points", "vertices", "text_region"),
    ),
)
