"""Turned boxes: angles in the units and directions of their sources, and the outline of such a box."""

from __future__ import annotations

import math
from typing import Any, Literal

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.region import Box, Point
from langchain_vipllava.regions.values import number_or_none

AngleUnit = Literal["degrees", "radians"]

Pivot = Literal["center", "corner"]
"""The point of a box that stays where it is when it is turned; the corner is the one at the top left."""

_FULL_TURNS = 2
"""Largest angle in full turns. Chosen: sources write -1 to 1 turns; more is an angle in another unit."""


def degrees_clockwise(angle: Any, unit: AngleUnit, *, clockwise: bool = True) -> float:
    """Convert an angle to degrees clockwise as seen on the image, as `Row.angle` takes it.

    Args:
        angle: the number that the source wrote.
        unit: its unit. Ultralytics, mmrotate and X-AnyLabeling write radians; OpenCV, CVAT, Label Studio, DOTA tools
            and detectron2 degrees.
        clockwise: its direction on the image, whose y grows downwards. detectron2 turns counterclockwise.

    Raises:
        DetectionError: not a finite number, or several turns, which another unit explains better.

    Example:
        >>> round(degrees_clockwise(0.5235988, "radians"))
        30
        >>> degrees_clockwise(30, "degrees", clockwise=False)
        -30.0
    """
    number = number_or_none(angle, "angle")
    turn = 360.0 if unit == "degrees" else math.tau
    if number is None or not abs(number) <= _FULL_TURNS * turn:
        raise DetectionError(f"angle {angle!r} is not an angle in {unit}; expected at most {_FULL_TURNS} full turns.")
    return (1 if clockwise else -1) * number * 360 / turn


def turned_ring(box: Box, angle: float, pivot: Pivot) -> list[Point]:
    """Return the four corners of a box in pixels that is turned by an angle in degrees clockwise.

    The first corner is the one that was at the top left.
    """
    x0, y0, x1, y1 = box
    px, py = ((x0 + x1) / 2, (y0 + y1) / 2) if pivot == "center" else (x0, y0)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return [
        (px + (x - px) * cos - (y - py) * sin, py + (x - px) * sin + (y - py) * cos)
        for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    ]
