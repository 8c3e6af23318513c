"""Tables of turned boxes, quads and polygons without a word about their layout."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.columns import box_array
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.turned import AngleUnit, degrees_clockwise
from langchain_vipllava.regions.values import describe, field, number_table, numbers, plain

_TAILS: dict[int, tuple[str, ...]] = {
    5: (),
    6: ("score",),
    7: ("score", "class_id"),
    8: ("id", "score", "class_id"),
    9: ("id", "score", "class_id", "index"),
}
"""What follows center, size and angle. Sources: mmrotate (5 and 6), Ultralytics' `obb.data` (7, and 8 with tracks),
BoxMOT (9)."""

_RECTANGLE_SLACK = 0.01
"""Deviation of a corner from a rectangle, in lengths of its diagonal. Chosen: float32, and corners in whole pixels."""


def _is_turned_table(output: Any) -> bool:
    table = number_table(output)
    return table is not None and table.shape[1] in _TAILS


def _read_turned_table(output: Any, context: Context, unit: AngleUnit, *, clockwise: bool = True) -> Iterator[Row]:
    table = number_table(output)
    if table is None or table.shape[1] not in _TAILS:
        raise DetectionError(f"{describe(output)} is not a table of turned boxes; expected rows of 5 to 9 numbers.")
    scale = 1.0
    box_format = context.box_format_or("cxcywh")
    for row in table:
        tail = dict(zip(_TAILS[table.shape[1]], row[5:].tolist(), strict=True))
        tail.pop("index", None)
        angle = degrees_clockwise(row[4].item(), unit, clockwise=clockwise)
        yield Row(box=row[:4], box_format=box_format, scale=scale, angle=angle, **tail)


def _is_min_area_rect(output: Any) -> bool:
    """Match `((cx, cy), (width, height), angle)` of cv2.minAreaRect."""
    if not isinstance(output, tuple) or len(output) != 3:
        return False
    center, size, angle = (np.asarray(part, dtype=np.float64) for part in output)
    return center.shape == (2,) and size.shape == (2,) and angle.ndim == 0


def _are_min_area_rects(output: Any) -> bool:
    return _is_min_area_rect(output) or (
        isinstance(output, (list, tuple)) and bool(output) and all(map(_is_min_area_rect, output))
    )


def _read_min_area_rects(output: Any, _context: Context) -> Iterator[Row]:
    for center, size, angle in [output] if _is_min_area_rect(output) else output:
        yield Row(box=[*center, *size], box_format="cxcywh", angle=degrees_clockwise(angle, "degrees"))


def _are_quads(output: Any) -> bool:
    """Match (N, 4, 2), and the (4, 2) of cv2.boxPoints, which is a rectangle."""
    if isinstance(output, (str, bytes, dict)):
        return False
    corners = np.asarray(plain(output))
    if corners.dtype.kind not in "iuf":
        return False
    return (corners.ndim == 3 and corners.shape[1:] == (4, 2)) or (corners.shape == (4, 2) and _is_rectangle(corners))


def _is_rectangle(corners: np.ndarray) -> bool:
    a, b, c, d = corners.astype(np.float64)
    slack = _RECTANGLE_SLACK * float(np.hypot(*(c - a)))
    equal = abs(float(np.hypot(*(c - a))) - float(np.hypot(*(d - b))))
    return slack > 0 and float(np.abs(a + c - b - d).max()) <= 2 * slack and equal <= slack


def _read_quads(output: Any, _context: Context) -> Iterator[Row]:
    for corners in numbers(output, "the corners").reshape(-1, 4, 2):
        yield Row(rings=[corners])


def _may_be_flat_quads(output: Any) -> bool:
    table = number_table(output)
    return table is not None and table.shape[1] in (8, 9, 10)


def _read_flat_quads(output: Any, _context: Context) -> Iterator[Row]:
    if _are_quads(output):
        yield from _read_quads(output, _context)
        return
    table = number_table(output)
    if table is None or table.shape[1] not in (8, 9, 10):
        raise DetectionError(f"{describe(output)} is not a list of quads; expected (N, 4, 2), or rows of 8 numbers.")
    for row in table:
        tail = dict(zip(("score", "class_id"), row[8:].tolist(), strict=False))
        yield Row(rings=[row[:8]], **tail)


def _may_be_polygons(output: Any) -> bool:
    return isinstance(output, (list, tuple, np.ndarray)) and len(output) > 0 and all(map(_is_ring, output))


def _is_ring(points: Any) -> bool:
    try:
        array = np.asarray(plain(points))
    except ValueError:  # several of unequal length
        return False
    return array.dtype.kind in "iuf" and array.ndim == 2 and array.shape[1] == 2


def _read_polygons(output: Any, _context: Context) -> Iterator[Row]:
    for ring in [output] if _is_ring(output) else output:
        yield Row(rings=[ring])


def _may_be_points(output: Any) -> bool:
    return _is_ring(output)


def _read_points(output: Any, _context: Context) -> Iterator[Row]:
    for point in box_array(output, 2):
        yield Row(point=point)


def _is_torchvision_boxes(output: Any) -> bool:
    return field(output, "canvas_size") is not None and field(output, "format") is not None


def _read_torchvision_boxes(output: Any, context: Context) -> Iterator[Row]:
    from langchain_vipllava.regions.columns import canvas_size, columns  # noqa: PLC0415

    if str(field(output.format, "name") or output.format).upper() == "XYXYXYXY":
        for ring in box_array(output, 8):
            yield Row(rings=[ring], image_size=canvas_size(output))
        return
    yield from columns(output, context)


FORMATS = (
    Format(
        "xywhr",
        "table of center, size and angle in clockwise radians",
        _is_turned_table,
        partial(_read_turned_table, unit="radians"),
        Precedence.ON_REQUEST,
    ),
    Format(
        "xywhr-degrees",
        "table of center, size and angle in clockwise degrees",
        _is_turned_table,
        partial(_read_turned_table, unit="degrees"),
        Precedence.ON_REQUEST,
    ),
    Format(
        "xywhr-degrees-ccw",
        "table of center, size and angle in counterclockwise degrees",
        _is_turned_table,
        partial(_read_turned_table, unit="degrees", clockwise=False),
        Precedence.ON_REQUEST,
    ),
    Format("opencv-turned", "OpenCV minAreaRect tuple", _are_min_area_rects, _read_min_area_rects, Precedence.ROWS),
    Format("quads", "array of four corners each", _are_quads, _read_quads, Precedence.SHARED_ROWS),
    Format("quads", "table of four corners each", _may_be_flat_quads, _read_flat_quads, Precedence.ON_REQUEST),
    Format("polygons", "list of polygons", _may_be_polygons, _read_polygons, Precedence.ON_REQUEST),
    Format("points", "table of points", _may_be_points, _read_points, Precedence.ON_REQUEST),
    Format(
        "torchvision", "torchvision tensor of boxes", _is_torchvision_boxes, _read_torchvision_boxes, Precedence.IMAGE
    ),
)
