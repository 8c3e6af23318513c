"""CVAT's XML, for images and for one frame of a video."""

from __future__ import annotations

from collections.abc import Iterator
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
    context.limits.check_values(len(counts))
    if across < 1 or down < 1 or min(counts, default=-1) < 0 or sum(counts) != across * down:
        raise DetectionError(f"its rle covers {sum(counts)} pixels; expected its box of {across} x {down}.")
    context.masks.spend(across, down)
    runs = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return placed(runs.reshape(down, across), left, top, context)


_CLUES = ("annotations", "xbr", "xtl", "ybr", "ytl")

FORMATS = (Format("cvat", "CVAT XML", _is_cvat, _read_cvat, Precedence.TEXT, _CLUES),)
