"""Molmo's points in its answers: `<point x= y= alt=>` in percent, and Molmo 2's `<points coords=>` in 0..1000."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import fractions
from langchain_vipllava.regions.row import Row

_TAG = re.compile(r"<points?\s+([^<>]{1,100000})>(?:([^<>]{0,200})</points?>)?")
_ATTRIBUTE = re.compile(r"""([a-z]+\d*)\s*=\s*["']([^"']*)["']""")
_SIDE = re.compile(r"([xy])(\d*)")
_COORDS = re.compile(r"[\d.]+( +\d+ +\d{1,4} +\d{1,4})+")


def _is_molmo(output: Any) -> bool:
    return isinstance(output, str) and any(_holds_points(dict(_ATTRIBUTE.findall(m[1]))) for m in _TAG.finditer(output))


def _holds_points(attributes: dict[str, str]) -> bool:
    return "coords" in attributes or any(_SIDE.fullmatch(name) for name in attributes)


def _read_molmo(output: str, context: Context) -> Iterator[Row]:
    for match in _TAG.finditer(output):
        attributes = dict(_ATTRIBUTE.findall(match[1]))
        if not _holds_points(attributes):
            continue
        label = unescape(attributes.get("alt") or match[2] or "").strip() or None
        points = _coords(attributes["coords"]) if "coords" in attributes else _pairs(attributes)
        context.limits.check_rows(len(points))
        for x, y in points:
            yield Row(point=(x, y), point_normalized=True, label=label)


def _pairs(attributes: dict[str, str]) -> list[tuple[float, float]]:
    """Return the points `x1, y1, x2, y2, ...`, in percent."""
    sides = {(match[1], match[2]): attributes[name] for name in attributes if (match := _SIDE.fullmatch(name))}
    numbers = list(dict.fromkeys(number for _, number in sides))
    if any((axis, number) not in sides for number in numbers for axis in "xy"):
        raise DetectionError("a point has an x without a y, or a y without an x; expected both.")
    return [_pair([float(sides[axis, number]) for axis in "xy"], 100) for number in numbers]


def _coords(text: str) -> list[tuple[float, float]]:
    """Return the points of `frame id x y id x y ...`, in 0..1000."""
    if not _COORDS.fullmatch(text.strip()):
        raise DetectionError(f"its coords are {text[:60]!r}; expected those of one image: 'image id x y id x y ...'.")
    _image, *values = text.split()
    return [_pair([float(values[at + 1]), float(values[at + 2])], 1000) for at in range(0, len(values), 3)]


def _pair(values: list[float], whole: float) -> tuple[float, float]:
    x, y = fractions(values, whole, "point")
    return x, y


FORMATS = (Format("molmo", "Molmo points", _is_molmo, _read_molmo, Precedence.TEXT, ("<point", "<points")),)
