"""Lists of dicts of any origin whose outline is a list of points: OCR scripts, segmenters, services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.corners import BOX_KEYS, described
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.keys import usual_first, usual_rows
from langchain_vipllava.regions.outlines import holes_in, is_points, outline_row, rings_in
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import keys_of, numbers

_OUTLINES = ("polygon", "poly", "quad", "quad_box", "text_region", "vertices", "corners", "outline", "contour")
_QUADS = ("points", "boxes")
"""Keys that hold an outline beside a text that was read, and keypoints elsewhere."""

_TEXTS = {"text", "txt", "transcription", "content"}


def _rings(row: Any) -> list[Any]:
    """Return the polygons of a row; empty without any."""
    if not isinstance(row, Mapping):
        return []
    is_text = bool(keys_of(row) & _TEXTS)
    for key in (*_OUTLINES, *BOX_KEYS, *_QUADS):
        value: Any = row.get(key)
        if key in _QUADS and not (is_text and is_points(value, 4)):
            continue
        # four numbers in a list are a box, and so is a dict
        rings = [] if key in BOX_KEYS and not is_points(value) else rings_in(value)
        if rings:
            return rings
    return []


def _are_outlines(output: Any) -> bool:
    return bool(_rings(usual_first(output)))


def _read_outlines(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(usual_rows(output), lambda row: _row(row, context))


def _row(row: Mapping[str, Any], context: Context) -> Row:
    rings = _rings(row)
    if not rings:
        raise KeyError(_OUTLINES[0])
    box_format, scale = context.layout("xyxy", row)
    normalized = box_format.endswith("n")
    if not normalized and 0 < max(float(numbers(ring, "the outline").max()) for ring in rings) <= 1:
        raise DetectionError(
            "its outline has all its values in 0..1. If they are fractions of the image's sides, pass "
            "box_format='xyxyn' and image_size=(width, height)."
        )
    holes = holes_in(row)
    if len(rings) == 1 and not holes:
        return described(outline_row(rings[0], normalized=normalized, scale=scale), row)
    return described(Row(rings=rings, holes=holes, rings_normalized=normalized, scale=scale), row)


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
