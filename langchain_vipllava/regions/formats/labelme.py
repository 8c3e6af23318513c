"""LabelMe's JSON, parsed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import field, first_row, keys_of, numbers, rows


def _is_labelme(output: Any) -> bool:
    shapes = field(output, "shapes")
    return isinstance(shapes, list) and (
        "points" in keys_of(first_row(shapes))
        or (not shapes and bool(keys_of(output) & {"imagePath", "imageHeight", "version"}))
    )


def _read_labelme(output: Any, _context: Context) -> Iterator[Row]:
    width, height = field(output, "imageWidth"), field(output, "imageHeight")
    size = (width, height) if width and height else None
    for shape in rows(output["shapes"]):
        points = numbers(shape["points"], "points").reshape(-1, 2)
        kind = shape.get("shape_type") or "polygon"
        label = shape.get("label")
        if kind == "polygon":
            yield Row(rings=[points], label=label, image_size=size)
        elif kind == "point":
            yield Row(point=points[0], label=label, image_size=size)
        else:
            yield Row(box=_bounds(points, kind), label=label, image_size=size)


def _bounds(points: np.ndarray, kind: str) -> list[float]:
    if kind == "circle":
        # The center, and a point on the circle.
        radius = float(np.hypot(*(points[1] - points[0])))
        return [*(points[0] - radius), *(points[0] + radius)]
    return [*points.min(axis=0), *points.max(axis=0)]


_CLUES = ("imagePath", "points", "shape_type", "shapes")

FORMATS = (Format("labelme", "LabelMe JSON", _is_labelme, _read_labelme, Precedence.IMAGE, clues=_CLUES),)
