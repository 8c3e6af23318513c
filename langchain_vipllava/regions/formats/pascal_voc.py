"""Pascal VOC's XML annotations, with the polygons of Roboflow and LabelMe and the turned boxes of roLabelImg."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import Size
from langchain_vipllava.regions.outlines import outline_row
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.turned import degrees_clockwise
from langchain_vipllava.regions.xml_text import number_in, parse_xml, root_tag

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_CORNER = re.compile(r"x(\d+)")


def _is_voc(output: Any) -> bool:
    return root_tag(output) == "annotation"


def _read_voc(output: str, context: Context) -> Iterator[Row | UnreadableRow]:
    root = parse_xml(output, context.limits)
    # LabelMe of MIT calls the sides ncols and nrows, and keeps objects that were deleted.
    sides = (("size/width", "imagesize/ncols"), ("size/height", "imagesize/nrows"))
    size = [float(root.findtext(name) or root.findtext(other) or 0) for name, other in sides]
    image_size = (int(size[0]), int(size[1])) if all(size) else None
    objects = [element for element in root.iterfind("object") if (element.findtext("deleted") or "0").strip() != "1"]
    yield from each(objects, lambda element: _row(element, image_size))


def _row(element: Element, size: Size | None) -> Row:
    label = element.findtext("name")
    polygon, turned, box, brush = (element.find(name) for name in ("polygon", "robndbox", "bndbox", "segm/box"))
    if polygon is not None and (points := _points(polygon)):
        return outline_row(points, label=label, image_size=size)
    if brush is not None:  # its mask is another file
        return Row(box=[number_in(brush, side) for side in _SIDES], label=label, image_size=size)
    if turned is not None:
        return Row(
            box=[number_in(turned, name) for name in ("cx", "cy", "w", "h")],
            box_format="cxcywh",
            angle=degrees_clockwise(number_in(turned, "angle"), "radians"),
            label=label,
            image_size=size,
        )
    if box is None:
        raise KeyError("bndbox")
    x0, y0, x1, y1 = (number_in(box, side) for side in _SIDES)
    # VOC counts pixels from 1 and includes the last one. Some tools count from 0: hence the max().
    return Row(box=(max(x0 - 1, 0), max(y0 - 1, 0), x1, y1), angle=_rotation(element), label=label, image_size=size)


def _rotation(element: Element) -> float | None:
    """Return the angle of CVAT's export, an attribute with the name `rotation`."""
    for attribute in element.iterfind("attributes/attribute"):
        if attribute.findtext("name") == "rotation":
            return degrees_clockwise(number_in(attribute, "value"), "degrees")
    return None


def _points(polygon: Element) -> list[tuple[float, float]]:
    """Return the corners `<x1>, <y1>, <x2> ...` of Roboflow, or `<pt><x><y></pt>` of LabelMe."""
    numbers = sorted(int(match[1]) for child in polygon if (match := _CORNER.fullmatch(child.tag)))
    if numbers:
        return [(number_in(polygon, f"x{number}"), number_in(polygon, f"y{number}")) for number in numbers]
    return [(number_in(point, "x"), number_in(point, "y")) for point in polygon.iterfind("pt")]


_CLUES = ("annotation", "bndbox", "object", "xmin")

FORMATS = (Format("pascal-voc", "Pascal VOC XML", _is_voc, _read_voc, Precedence.TEXT, clues=_CLUES),)
