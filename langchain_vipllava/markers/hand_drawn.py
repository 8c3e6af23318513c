"""The eight kinds in the hand-drawn style: what ViP-LLaVA's training drew, distribution by distribution.

Source: `llava/visual_prompt_generator.py` of the ViP-LLaVA repository. Sizes there are whole pixels of the image. One
thing differs: ends and corners that training let fall outside a mask, after 50 tries, lie inside it here.
"""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np

from langchain_vipllava.markers.extent import Extent
from langchain_vipllava.markers.ink import Fill, Ink, Stencil, Stroke
from langchain_vipllava.markers.shapes import rectangle, upright_triangle, widest_angle
from langchain_vipllava.markers.style import Style

_MAX_ANGLE = math.radians(150)
"""Largest angle of a triangle."""

_TRIANGLE_TRIES = 1000
"""Random triangles that are tried. Chosen: in a box 40 times as long as wide one in 30 fits, so all fail in 1e-15."""

_POINT_VARIANCE = 1 / 8
"""Variance of a point's place in px^2, per px of the box's side. A deviation was meant there, but this is
what training drew."""

_ROUND_SHARE, _ASPECTS = 0.5, (0.5, 2.0)
"""Share of points that are circles, and the range of the others' aspect: the axes are radius * aspect and / aspect."""

_TIP_JITTER = 0.25
"""Largest distance of an arrow's tip from the box's center, in sides of the box."""

_MIN_LENGTH, _MAX_LENGTH = 0.8, 50
"""Lengths between which that of an arrow is drawn, in short sides of the box and in model pixels."""

_HEAD_SHARES, _MIN_HEAD = (0.2, 0.5), 6
"""Range of an arrow's head in units of its length, and the least in model pixels."""

_HEAD_HALF_ANGLE = math.radians(60)
"""Angle between an arrow's shaft and the sides of its head."""

_BENT_SHARE, _BEND = 0.5, 5
"""Share of shafts that are bent in the middle, and by at most how many model pixels in x and y."""

_FILLED_SHARE = 0.5
"""Share of heads that are filled; the others are two lines."""


def ellipse(extent: Extent, style: Style) -> list[Ink]:
    """Draw an ellipse on the box's axes, 1 to 1.5 times as long, with its line inside."""
    x0, y0, x1, y1 = extent.box
    center = np.array(extent.at(0.5, 0.5))
    width = style.width * extent.unit
    half = np.array([x1 - x0, y1 - y0]) / 2 * style.ellipse_scale - style.inset * extent.unit
    return [Stroke(center + np.maximum(half, width / 2) * _circle(72), width)]  # 72: no corner shows


def triangle(extent: Extent, style: Style) -> list[Ink]:
    """Draw a triangle of three random points in the box or mask, no angle over 150 degrees."""
    width = style.width * extent.unit
    tries = _places(extent, _rng(style), 3 * _TRIANGLE_TRIES).reshape(-1, 3, 2)
    fitting = next((corners for corners in tries if widest_angle(corners) <= _MAX_ANGLE), None)
    return [Stroke(np.array(upright_triangle(extent, width)) if fitting is None else fitting, width)]


def point(extent: Extent, style: Style) -> list[Ink]:
    """Draw a disc or ellipse near the box's center, inside the mask."""
    rng, (x0, y0, x1, y1) = _rng(style), extent.box
    center = extent.region.point
    if center is None:
        deviation = np.sqrt(np.array([x1 - x0, y1 - y0]) * _POINT_VARIANCE)
        center = extent.pull_inside(tuple(rng.normal(extent.at(0.5, 0.5), deviation)))
    aspect = 1.0 if rng.random() < _ROUND_SHARE else rng.uniform(*_ASPECTS)
    radii = style.radius * extent.unit * np.array([aspect, 1 / aspect])
    return [Fill(np.array(center) + radii * _circle(48))]  # 48: no corner shows


def scribble(extent: Extent, style: Style) -> list[Ink]:
    """Draw a cubic Bezier curve over four random points in the box or mask.

    Training drew a Pillow line from pixel to pixel: bars across each step, so that a slanting curve is thinner, and its
    ends are not round.
    """
    p0, p1, p2, p3 = _places(extent, _rng(style), 4)
    t = np.linspace(0, 1, max(int(1000 * extent.unit), 2))[:, None]
    curve = (1 - t) ** 3 * p0 + 3 * (1 - t) ** 2 * t * p1 + 3 * (1 - t) * t**2 * p2 + t**3 * p3
    width = max(round(style.width * extent.unit), 1)
    pixels = curve.astype(int)
    origin = pixels.min(axis=0) - width
    columns, rows = pixels.max(axis=0) - origin + width + 1
    inked = np.zeros((rows, columns), bool)
    steps = np.diff(pixels, axis=0) != 0
    for axis, bar in ((0, (width, 1)), (1, (1, width))):  # vertical bars across steps in x, horizontal ones in y
        ends = np.zeros(inked.shape, np.uint8)
        x, y = (pixels[1:][steps[:, axis]] - origin).T
        ends[y, x] = 1
        inked |= cv2.dilate(ends, np.ones(bar, np.uint8)) > 0
    return [Stencil(*_within(inked, origin, extent.size))]


def mask_contour(extent: Extent, style: Style) -> list[Ink]:
    """Draw the outline of the mask or polygon, else of the box, with the middle of the line on it."""
    if not extent.has_outline:
        return rectangle(extent, replace(style, inset=0.0))
    return [Stroke(outline, style.width * extent.unit) for outline in extent.outlines]


def arrow(extent: Extent, style: Style) -> list[Ink]:
    """Draw an arrow from any direction whose tip lies near the box's center."""
    rng, unit, width = _rng(style), extent.unit, style.width * extent.unit
    tip = np.array(extent.pull_inside(extent.at(*rng.uniform(0.5 - _TIP_JITTER, 0.5 + _TIP_JITTER, 2))))
    first, last = sorted((_MIN_LENGTH * extent.short_side, float(max(int(_MAX_LENGTH * unit), 1))))
    length, angle = rng.uniform(first, last), rng.uniform(0, 2 * math.pi)
    head = max(rng.uniform(*_HEAD_SHARES) * length, int(_MIN_HEAD * unit))
    tail = tip + (length - head) * _direction(angle)
    shaft = [tail, tip]
    if rng.random() < _BENT_SHARE:
        shaft.insert(1, (tip + tail) / 2 + rng.uniform(-_BEND, _BEND, 2) * int(unit))
    sides = [tip + head * _direction(angle + turn) for turn in (_HEAD_HALF_ANGLE, -_HEAD_HALF_ANGLE)]
    outline = np.stack([sides[0], tip, sides[1]])
    is_filled = rng.random() < _FILLED_SHARE
    return [
        Stroke(np.stack(shaft), width, closed=False),
        Fill(outline) if is_filled else Stroke(outline, width, closed=False),
    ]


def _rng(style: Style) -> np.random.Generator:
    assert style.rng is not None  # noqa: S101  # what makes a style hand-drawn
    return style.rng


def _places(extent: Extent, rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw points (count, 2), anywhere in the box or mask."""
    x0, y0, x1, y1 = extent.box
    if extent.inside is None:
        return rng.uniform((x0, y0), (x1, y1), (count, 2))
    rows, columns = np.nonzero(extent.inside)
    chosen = rng.integers(rows.size, size=count)
    return np.stack([columns[chosen], rows[chosen]], axis=1) + extent.window[:2] + rng.uniform(0, 1, (count, 2))


def _within(pixels: np.ndarray, origin: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the part of a stencil that lies in an image of `(width, height)`, and its origin."""
    left, top = (max(int(n), 0) for n in origin)
    right, bottom = (
        min(int(n) + length, side) for n, length, side in zip(origin, pixels.shape[::-1], size, strict=True)
    )
    return pixels[top - origin[1] : bottom - origin[1], left - origin[0] : right - origin[0]], (left, top)


def _circle(corners: int) -> np.ndarray:
    angles = np.linspace(0, 2 * math.pi, corners, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _direction(angle: float) -> np.ndarray:
    return np.array([math.cos(angle), math.sin(angle)])
