"""LabelMe's JSON, parsed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from langchain_vipllava.regions.formats.context import Context, Format, Row
from langchain_vipllava.regions.formats.values import field, first_row, keys_of, numbers, rows


def _is_labelme(found: Any) -> bool:
    shapes = field(found, "shapes")
    return isinstance(shapes, list) and (
        "points" in keys_of(first_row(shapes))
        or (not shapes and bool(keys_of(found) & {"imagePath", "imageHeight", "version"}))
    )


def _read_labelme(found: Any, _context: Context) -> Iterator[Row]:
    width, height = field(found, "imageWidth"), field(found, "imageHeight")
    size = (width, height) if width and height else None
    for shape in rows(found["shapes"]):
        points = numbers(shape["points"], "points").reshape(-1, 2)
        kind = shape.get("shape_type") or "polygon"
        label = shape.get("label")
        if kind == "polygon":
            yield Row(rings=[points], label=label, image_size=size)
        elif kind == "point":
            yield Row(point=points[0], label=label, image_size=size)
        else:
            yield Row(box=_around(points, kind), label=label, image_size=size)


def _around(points: np.ndarray, kind: str) -> list[float]:
    if kind == "circle":
        # The middle and a point on the rim.
        radius = float(np.hypot(*(points[1] - points[0])))
        return [*(points[0] - radius), *(points[0] + radius)]
    return [*points.min(axis=0), *points.max(axis=0)]


FORMATS = (Format("LabelMe JSON", _is_labelme, _read_labelme),)
