"""Outlines as detectors write them: two corners, four points, an ellipse; fractions of the image's sides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.region import Point
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import describe, keys_of, numbers, plain

_ELLIPSE_CORNERS = 48
"""Corners of the polygon for an ellipse. Chosen: it stays within 0.3% of the radius, so it is not seen as a polygon."""


def is_points(value: Any, *counts: int) -> bool:
    """Whether a value is a list or array of (x, y) pairs; of one of the counts, if any are passed."""
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__len__"):
        return False
    try:
        array = np.asarray(plain(value), dtype=np.float64)
    except Exception:
        return False
    return array.ndim == 2 and array.shape[1] == 2 and (not counts or len(array) in counts)


def rings_in(value: Any) -> list[Any]:
    """Return the polygons in a value of a row, in any of the ways in which they are written; empty without any.

    Pairs, {x, y}, flat numbers, {x: [...], y: [...]}, {paths: [...]}, or a list of these.
    """
    if isinstance(value, Mapping):
        exterior = rings_in(value.get("exterior"))
        if exterior:
            return exterior
        paths = value.get("paths")
        if isinstance(paths, (list, tuple)):
            return [ring for path in paths for ring in rings_in(path)]
        xs, ys = value.get("x"), value.get("y")
        is_columns = all(hasattr(side, "__len__") and not isinstance(side, str) for side in (xs, ys))
        return [list(zip(xs, ys, strict=True))] if is_columns and len(xs) >= 3 else []  # type: ignore[arg-type]
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") or len(value) == 0:
        return []
    if all(keys_of(point) >= {"x", "y"} for point in value):
        return [[(point["x"], point["y"]) for point in value]] if len(value) >= 3 else []
    if is_points(value):
        return [value] if len(value) >= 3 else []
    if all(isinstance(number, (int, float)) for number in value):
        return [numbers(value, "polygon").reshape(-1, 2)] if len(value) >= 6 and len(value) % 2 == 0 else []
    if all(isinstance(ring, (list, tuple)) for ring in value):
        inner = [rings_in(ring) for ring in value]
        return [ring for rings in inner for ring in rings] if all(len(rings) == 1 for rings in inner) else []
    return []


HOLES = ("holes", "interiors", "interior", "inner_rings")
"""Keys beside a polygon that hold what is cut out of it."""


def holes_in(source: Mapping[str, Any]) -> list[Any]:
    """Return the polygons that a row cuts out of its own: beside it, or inside of it beside its exterior."""
    holders = [source, *(source[key] for key in _POLYGONS if isinstance(source.get(key), Mapping))]
    return [ring for holder in holders for key in HOLES for ring in rings_in(holder.get(key))]


_POLYGONS = ("polygon", "poly", "segments", "segmentation", "contour", "outline", "mask_polygon")


def with_outline(row: Row, source: Mapping[str, Any], *, normalized: bool) -> Row:
    """Return a row that has a box with the outline or the mask that its source holds beside the box."""
    is_roboflow = keys_of(source) >= {"x", "y", "width", "height", "class", "confidence"}  # others: key points
    for key in (*_POLYGONS, "points") if is_roboflow else _POLYGONS:
        value = source.get(key)
        if keys_of(value) >= {"size", "counts"}:
            return replace(row, mask=value)
        rings = rings_in(value)
        if rings:
            return replace(row, rings=rings, holes=holes_in(source), rings_normalized=normalized)
    return row


def outline_row(points: Any, *, normalized: bool = False, scale: float = 1.0, **values: Any) -> Row:
    """Return a row with an outline: a box where the points are two corners or an upright rectangle, else a polygon.

    Args:
        points: (x, y) pairs, or the flat numbers of them.
        normalized: whether they are fractions of the image's sides, up to `scale`; else they are pixels.
        scale: as in `Row`.
        values: other fields of `Row`.

    Raises:
        ValueError: fewer than two points.
    """
    array = numbers(points, "the outline").reshape(-1, 2)
    if len(array) < 2:
        raise ValueError(f"its outline is {describe(points)}; expected at least two points")
    if len(array) == 2 or _is_upright(array):
        box = [*array.min(axis=0).tolist(), *array.max(axis=0).tolist()]
        return Row(box=box, box_format="xyxyn" if normalized else "xyxy", scale=scale, **values)
    return Row(rings=[array], rings_normalized=normalized, scale=scale, **values)


def _is_upright(corners: np.ndarray) -> bool:
    # doctr repeats the first corner at the end.
    different = {(x, y) for x, y in corners.tolist()}
    xs, ys = {x for x, _ in different}, {y for _, y in different}
    return len(corners) in (4, 5) and len(different) == 4 and len(xs) == 2 and len(ys) == 2


def ellipse(cx: float, cy: float, rx: float, ry: float, degrees: float = 0.0) -> list[Point]:
    """Return the outline of an ellipse that is turned clockwise as seen on the image.

    Example:
        >>> [(round(x), round(y)) for x, y in ellipse(50, 30, 20, 10)[::12]]
        [(70, 30), (50, 40), (30, 30), (50, 20)]
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    angles = [math.tau * corner / _ELLIPSE_CORNERS for corner in range(_ELLIPSE_CORNERS)]
    around = [(rx * math.cos(angle), ry * math.sin(angle)) for angle in angles]
    return [(cx + x * cos - y * sin, cy + x * sin + y * cos) for x, y in around]


def fractions(values: Any, whole: float, what: str) -> list[float]:
    """Convert coordinates in 0..`whole` to 0..1.

    Raises:
        DetectionError: a value is beyond `whole`, so that it is something else.
    """
    array = numbers(values, what).ravel()
    if not np.isfinite(array).all() or (array < 0).any() or (array > whole).any():
        shown = [round(value, 4) for value in array[:8].tolist()]
        raise DetectionError(f"{what} {shown} has values outside of 0..{whole:g}; expected none.")
    if whole >= 1000 and array.size and array.max() <= 1 and (array % 1).any():
        shown = [round(value, 4) for value in array[:8].tolist()]
        raise DetectionError(f"{what} {shown} is in 0..1; expected 0..{whole:g}. Multiply it by {whole:g}.")
    shares: list[float] = (array / whole).tolist()
    return shares


def height_of(image_size: Any, what: str) -> float:
    """Return the height of an image whose coordinates count from its bottom.

    Raises:
        DetectionError: it is unknown.
    """
    if image_size is None:
        raise DetectionError(f"{what} counts from the bottom of the image; pass image_size=(width, height).")
    return float(image_size[1])
