"""CVAT's XML, for images and for one frame of a video."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import Size
from langchain_vipllava.regions.outlines import ellipse
from langchain_vipllava.regions.png_masks import placed
from langchain_vipllava.regions.row import Row, UnreadableRow
from langchain_vipllava.regions.turned import degrees_clockwise
from langchain_vipllava.regions.values import field, first_row, keys_of, rows
from langchain_vipllava.regions.xml_text import parse_xml, root_tag

_SHAPES = ("box", "polygon", "ellipse", "points", "mask", "polyline", "cuboid", "skeleton")


def _is_cvat(output: Any) -> bool:
    return root_tag(output) == "annotations"


def _read_cvat(output: str, context: Context) -> Iterator[Row | UnreadableRow]:
    root = parse_xml(output, context.limits)
    images = root.findall("image")
    shapes: list[tuple[Element, str | None, str | None]] = [
        (shape, shape.get("label"), None) for image in images for shape in image
    ]
    if len(images) > 1:
        raise DetectionError(f"it holds {len(images)} images; keep one <image>.")
    tracks = [(shape, track) for track in root.iterfind("track") for shape in track if shape.get("outside") != "1"]
    frames = {shape.get("frame") for shape, _ in tracks}
    if len(frames) > 1:
        raise DetectionError(f"its tracks are in {len(frames)} frames; keep the shapes of one frame.")
    shapes += [(shape, track.get("label"), track.get("id")) for shape, track in tracks]
    if shapes and not any(shape.tag in _SHAPES for shape, _, _ in shapes):
        raise DetectionError("its tags are about the whole image; expected a box, polygon, ellipse, mask or points.")
    size = _size(images[0]) if images else None
    context = context.with_size(size)
    for shape, label, id in shapes:
        if shape.tag in _SHAPES:
            try:
                yield from _rows(shape, label, id, context)
            except Exception as error:
                yield UnreadableRow(error)


def _size(image: Element) -> Size | None:
    width, height = image.get("width"), image.get("height")
    return None if not width or not height else (int(float(width)), int(float(height)))


def _rows(shape: Element, label: str | None, id: str | None, context: Context) -> Iterator[Row]:
    named: dict[str, Any] = {"label": label, "id": id, "image_size": context.image_size}
    degrees = degrees_clockwise(float(shape.get("rotation") or 0), "degrees")
    if shape.tag == "box":
        box = [_number(shape, name) for name in ("xtl", "ytl", "xbr", "ybr")]
        yield Row(box=box, angle=degrees or None, **named)
    elif shape.tag == "polygon":
        yield Row(rings=[_points(shape)], **named)
    elif shape.tag == "ellipse":
        cx, cy, rx, ry = (_number(shape, name) for name in ("cx", "cy", "rx", "ry"))
        yield Row(rings=[ellipse(cx, cy, rx, ry, degrees)], **named)
    elif shape.tag == "mask":
        yield Row(mask=_mask(shape, context), **named)
    elif shape.tag == "points":
        for point in _points(shape):
            yield Row(point=point, **named)
    elif shape.tag == "skeleton":
        for part in shape.iterfind("points"):
            for point in _points(part) if part.get("outside") != "1" else ():
                yield Row(point=point, **{**named, "label": part.get("label") or label})
    else:
        raise DetectionError(f"a <{shape.tag}> encloses nothing; expected a box, polygon, ellipse, mask or points.")


def _number(shape: Element, name: str) -> float:
    text = shape.get(name)
    if text is None:
        raise KeyError(name)
    return float(text)


def _points(shape: Element) -> list[tuple[float, float]]:
    pairs = [pair.split(",") for pair in (shape.get("points") or "").split(";") if pair.strip()]
    return [(float(x), float(y)) for x, y in pairs]


def _mask(shape: Element, context: Context) -> np.ndarray:
    """Return the mask of the image. Its runs count row by row inside of its box, zeros first."""
    left, top, across, down = (int(_number(shape, name)) for name in ("left", "top", "width", "height"))
    counts = [int(count) for count in (shape.get("rle") or "").split(",") if count.strip()]
    return placed(_runs(counts, across, down, context), left, top, context)


def _runs(counts: list[int], across: int, down: int, context: Context) -> np.ndarray:
    context.limits.check_values(len(counts))
    if across < 1 or down < 1 or min(counts, default=-1) < 0 or sum(counts) != across * down:
        raise DetectionError(f"its rle covers {sum(counts)} pixels; expected its box of {across} x {down}.")
    context.masks.spend(across, down)
    runs = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return runs.reshape(down, across)


def _is_json(output: Any) -> bool:
    shapes = field(output, "shapes")
    return isinstance(shapes, list) and keys_of(first_row(shapes)) >= {"type", "points", "frame"}


def _read_json(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    """Read the annotations of CVAT's API and of its backups."""
    shapes = list(rows(output["shapes"]))
    if len({shape["frame"] for shape in shapes}) > 1 or output.get("tracks"):
        raise DetectionError("it holds several frames or tracks; keep the shapes of one frame.")
    for shape in shapes:
        try:
            yield from _json_rows(shape, context)
        except Exception as error:
            yield UnreadableRow(error)


def _json_rows(shape: Mapping[str, Any], context: Context) -> Iterator[Row]:
    kind, points = shape["type"], list(map(float, shape["points"]))
    named: dict[str, Any] = {"label": shape.get("label"), "class_id": shape.get("label_id"), "id": shape.get("id")}
    degrees = degrees_clockwise(shape.get("rotation") or 0, "degrees")
    if kind == "rectangle":
        yield Row(box=points, angle=degrees or None, **named)
    elif kind == "polygon":
        yield Row(rings=[points], **named)
    elif kind == "ellipse":  # the center, the x of its right end, the y of its top
        cx, cy, right, top = points
        yield Row(rings=[ellipse(cx, cy, abs(right - cx), abs(cy - top), degrees)], **named)
    elif kind == "mask":
        *counts, left, top, right, bottom = map(int, points)
        part = _runs(counts, right - left + 1, bottom - top + 1, context)
        yield Row(mask=placed(part, left, top, context), **named)
    elif kind == "points":
        for at in range(0, len(points), 2):
            yield Row(point=points[at : at + 2], **named)
    else:
        raise DetectionError(f"a {kind!r} encloses nothing; expected a rectangle, polygon, ellipse, mask or points.")


_CLUES = ("annotations", "xbr", "xtl", "ybr", "ytl")

FORMATS = (
    Format("cvat", "CVAT XML", _is_cvat, _read_cvat, Precedence.TEXT, _CLUES),
    Format("cvat", "CVAT JSON", _is_json, _read_json, Precedence.IMAGE, ("frame", "label_id", "shapes", "tracks")),
)
