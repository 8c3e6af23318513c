"""LabelMe's JSON and X-AnyLabeling's, parsed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError, shorten
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import ellipse
from langchain_vipllava.regions.png_masks import placed, png_bytes, png_values
from langchain_vipllava.regions.row import Row, UnreadableRow
from langchain_vipllava.regions.values import field, first_row, keys_of, numbers, rows


def _shapes(output: Any) -> Any:
    return output if isinstance(output, (list, tuple)) else field(output, "shapes")


def _is_labelme(output: Any) -> bool:
    shapes = _shapes(output)
    if shapes is output:
        return keys_of(first_row(shapes)) >= {"points", "shape_type"}
    if keys_of(first_row(shapes)) >= {"type", "frame"}:  # CVAT's
        return False
    return isinstance(shapes, list) and (
        "points" in keys_of(first_row(shapes))
        or (not shapes and bool(keys_of(output) & {"imagePath", "imageHeight", "version"}))
    )


def _read_labelme(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    width, height = field(output, "imageWidth"), field(output, "imageHeight")
    context = context.with_size((width, height) if width and height else None)
    for shape in rows(_shapes(output)):
        try:
            yield from _rows(shape, context)
        except Exception as error:
            yield UnreadableRow(error)


def _rows(shape: Mapping[str, Any], context: Context) -> Iterator[Row]:
    points = numbers(shape["points"], "points").reshape(-1, 2)
    kind = shape.get("shape_type") or "polygon"
    # X-AnyLabeling also writes the score of the model that drew the shape.
    named: dict[str, Any] = {
        "label": shape.get("label"),
        "score": shape.get("score"),
        "image_size": context.image_size,
    }
    if kind == "mask":
        yield Row(mask=_mask(shape, points, context), **named)
    elif kind == "circle":
        (cx, cy), edge = points[0].tolist(), points[1]  # the center, and a point on the circle
        radius = float(np.hypot(*(edge - points[0])))
        box = [cx - radius, cy - radius, cx + radius, cy + radius]
        yield Row(box=box, rings=[ellipse(cx, cy, radius, radius)], **named)
    elif kind in ("polygon", "rotation", "oriented_rectangle"):
        yield Row(rings=[points], **named)
    elif kind in ("point", "points"):
        for point in points:
            yield Row(point=point, **named)
    elif kind in ("rectangle", "line", "linestrip"):
        yield Row(box=[*points.min(axis=0), *points.max(axis=0)], **named)
    else:
        raise DetectionError(
            f"shape_type {shorten(kind)} is not known; expected a rectangle, polygon, circle, mask or point."
        )


def _mask(shape: Mapping[str, Any], points: np.ndarray, context: Context) -> np.ndarray:
    """Return the mask of the image. Its two points are the first and the last pixel of the PNG."""
    part = png_values(png_bytes(shape.get("mask")), context) > 0
    left, top = np.rint(points.min(axis=0)).astype(int).tolist()
    return placed(part, left, top, context)


_CLUES = ("imagePath", "points", "shape_type", "shapes")

FORMATS = (Format("labelme", "LabelMe JSON", _is_labelme, _read_labelme, Precedence.IMAGE, clues=_CLUES),)
