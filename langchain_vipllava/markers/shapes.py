"""The drawing functions of the eight kinds in the constant style. Each converts an extent and a style to ink.

This is the constant style: fixed geometry, made to be read. `hand_drawn` holds what training drew at random.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from langchain_vipllava.markers.extent import Extent
from langchain_vipllava.markers.ink import Bar, Disc, Fill, Ink, Stencil, Stroke, line_width
from langchain_vipllava.markers.style import Style
from langchain_vipllava.regions.region import Point

_LINE_WIDTHS = (2.0, 8.0)
"""Range of line widths in training, in model pixels."""

_MAX_ANGLE = math.radians(150)
"""Largest angle of a triangle in training."""

_MIN_TRIANGLE_AREA = 0.1
"""Smallest area of a visible triangle, in units of the box's area. Chosen by looking: thinner ones are a line."""

_TRIANGLE_TRIES = 50
"""Random triangles that are tried. In a box, 28% are visible (measured), so 50 tries fail once in ten million."""

_SCRIBBLE = ((0.15, 0.6), (0.45, -0.1), (0.55, 1.1), (0.85, 0.4))
"""Bezier points of a constant scribble, in fractions of the box. Chosen by looking: an S that crosses the box."""

_ARROW_LENGTHS = (30.0, 50.0)
"""Length of a constant arrow in model pixels. The maximum is the training's; the minimum was chosen by looking."""

_ARROW_SHARE = 0.8
"""Length of an arrow in units of the box's short side, in training."""

_HEAD_LENGTH = 9.0
"""Length of an arrow's head in model pixels. At least 6 in training; 9 was chosen by looking."""

_MIN_HEAD_LENGTH = 4.0
"""Length of an arrow's head on the smallest regions, in model pixels. Chosen by looking: it is 14 px wide."""

_NEXT_ARROW = math.radians(135)
"""Largest angle between the arrows of equal regions. Chosen: two heads 135 degrees apart do not overlap."""

_ARROWS_PER_HEAD = 4
"""Arrows of equal regions for which their tips move a head's length away from the center. Chosen by looking."""

_ROW_GAP = 2.4
"""Distance between the points of equal regions, in radii. Chosen by looking: a gap shows between them."""

_HEAD_HALF_ANGLE = math.radians(60)
"""Angle between an arrow's shaft and the sides of its head, in training."""

_MIN_SHRINK = 0.2
"""Smallest scale of a shape that lies inside equal ones. Chosen: still a shape."""

_HEAD_WIDTHS = 1.5
"""Smallest length of an arrow's head, in line widths. Chosen by looking: a wide shaft must not hide the head."""


def rectangle(extent: Extent, style: Style) -> list[Ink]:
    """Draw the box, with a line of whole pixels and square corners, as in training; a turned box as it is turned."""
    if extent.turned_box is not None:
        return _turned_rectangle(extent.turned_box, extent, style)
    max_width = max(_LINE_WIDTHS[1], style.width) * extent.unit
    width = max(1, min(round(style.width * extent.unit), math.floor(max_width)))
    x0, y0, x1, y1 = _inset_box(extent, width, style.inset)
    left, top, right, bottom = (
        math.floor(n + 0.5) for n in (x0 - width / 2, y0 - width / 2, x1 + width / 2, y1 + width / 2)
    )
    if right - left <= 2 * width or bottom - top <= 2 * width:
        return [Bar((left, top, right, bottom))]
    return [
        Bar((left, top, right, top + width)),
        Bar((left, top + width, left + width, bottom - width)),
        Bar((right - width, top + width, right, bottom - width)),
        Bar((left, bottom - width, right, bottom)),
    ]


def _turned_rectangle(corners: np.ndarray, extent: Extent, style: Style) -> list[Ink]:
    center = corners.mean(axis=0)
    inward = style.inset * extent.unit / (max(extent.breadth, 1e-6) / 2)
    return [Stroke(center + (corners - center) * max(1 - inward, _MIN_SHRINK), _line_width(style, extent))]


def ellipse(extent: Extent, style: Style) -> list[Ink]:
    """Draw an ellipse on the box's axes, 1 to 1.5 times as long, inside the image."""
    width = _line_width(style, extent)
    x0, y0, x1, y1 = extent.box
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    inward = style.inset * extent.unit * (style.rank > 0)
    half_x, half_y = (max(side / 2 * style.ellipse_scale - inward, width) for side in (x1 - x0, y1 - y0))
    x0, y0 = _inset((cx - half_x, cy - half_y), extent, width)
    x1, y1 = _inset((cx + half_x, cy + half_y), extent, width)
    angles = np.linspace(0, 2 * math.pi, 72, endpoint=False)  # 72: no corner is visible on the largest images
    xs = (x0 + x1) / 2 + (x1 - x0) / 2 * np.cos(angles)
    ys = (y0 + y1) / 2 + (y1 - y0) / 2 * np.sin(angles)
    return [Stroke(np.stack([xs, ys], axis=1), width)]


def triangle(extent: Extent, style: Style) -> list[Ink]:
    """Draw a triangle in the box or mask, no angle over 150 degrees."""
    width = _line_width(style, extent)
    points = np.array(upright_triangle(extent, width))
    if style.rank:  # as large as a triangle whose sides lie this far inside
        points = points.mean(axis=0) + (points - points.mean(axis=0)) * _shrunk(points, style.inset * extent.unit)
    return [Stroke(points, width)]


def point(extent: Extent, style: Style) -> list[Ink]:
    """Draw a disc on the region's center."""
    radius = max(style.radius * extent.unit, 1.0)
    center = extent.center
    if style.ranks > 1 and extent.region.point is not None:
        radius *= 1 - style.rank / style.ranks  # inside the earlier ones
    elif style.ranks > 1:
        center, radius = _one_of_a_row(extent, style, radius)
    return [Disc(_inset(center, extent, min(radius, min(extent.size) / 2)), radius)]


def scribble(extent: Extent, style: Style) -> list[Ink]:
    """Draw a cubic Bezier curve over four points inside the box or mask."""
    width = _line_width(style, extent)
    places = np.array(_SCRIBBLE)
    if style.ranks > 1:  # one below the other
        places = np.stack([places[:, 0], (places[:, 1] + style.rank) / style.ranks], axis=1)
    p0, p1, p2, p3 = (np.array(extent.pull_inside(extent.at(*place))) for place in places)
    t = np.linspace(0, 1, 48)[:, None]  # 48: no corner is visible on the largest images
    curve = (1 - t) ** 3 * p0 + 3 * (1 - t) ** 2 * t * p1 + 3 * (1 - t) * t**2 * p2 + t**3 * p3
    half = np.minimum(width, extent.size) / 2
    return [Stroke(np.minimum(np.maximum(curve, half), extent.size - half), width, closed=False)]


def mask_contour(extent: Extent, style: Style) -> list[Ink]:
    """Draw the outline of the mask or polygon, else of the box."""
    width = _line_width(style, extent)
    outlines = extent.outlines
    if style.rank or not extent.has_outline:
        outlines = extent.outlines_inside(style.inset * extent.unit)
    half = np.minimum(width, extent.size) / 2
    return [Stroke(np.minimum(np.maximum(line, half), extent.size - half), width) for line in outlines]


def mask(extent: Extent, style: Style) -> list[Ink]:
    """Fill the mask or polygon, else the box."""
    if style.ranks > 1:
        return [Stencil(extent.part(style.rank, style.ranks), extent.window[:2])]
    if extent.inside is not None:
        return [Stencil(extent.inside, extent.window[:2])]
    return [Bar(extent.window)]


def arrow(extent: Extent, style: Style) -> list[Ink]:
    """Draw an arrow whose tip lies on the region's center."""
    width = _line_width(style, extent)
    shortest, longest = (length * extent.unit for length in _ARROW_LENGTHS)
    tip, length = extent.center, min(max(_ARROW_SHARE * extent.short_side, shortest), longest)
    angle = -math.pi / 4 + style.rank * min(_NEXT_ARROW, 2 * math.pi / style.ranks)  # from the top right
    head = max(_HEAD_LENGTH * style.shrink, _MIN_HEAD_LENGTH) * extent.unit
    length = max(length, 2 * _HEAD_LENGTH * extent.unit)
    tip = _inset(tip, extent, width)
    tail = _tail(tip, length, angle, extent, width)
    back = (1 - style.shrink) ** 2 * extent.short_side / 2 + head * (style.ranks - 1) / _ARROWS_PER_HEAD
    if back:  # a head on the middle of a small region would hide it
        to_tail = (np.array(tail) - tip) / (math.dist(tip, tail) + 1e-9)
        tip, tail = (_inset(tuple(np.array(end) + back * to_tail), extent, width) for end in (tip, tail))
    return _arrow_ink(np.array(tip), np.array(tail), width, head)


def _line_width(style: Style, extent: Extent) -> float:
    min_width, max_width = min(_LINE_WIDTHS[0], style.width), max(_LINE_WIDTHS[1], style.width)
    return line_width(style.width * extent.unit, min_width * extent.unit, max_width * extent.unit)


def _inset(point: Point, extent: Extent, width: float) -> Point:
    """Move a point so that a line of this width through it stays inside the image."""
    half_x, half_y = (min(width, side) / 2 for side in extent.size)
    x, y = point
    return min(max(x, half_x), extent.size[0] - half_x), min(max(y, half_y), extent.size[1] - half_y)


def _inset_box(extent: Extent, width: float, inset: float = 0.0) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = extent.box
    inward_x, inward_y = (min(inset * extent.unit, side / 2) for side in (x1 - x0, y1 - y0))
    first, last = (x0 + inward_x, y0 + inward_y), (x1 - inward_x, y1 - inward_y)
    return (*_inset(first, extent, width), *_inset(last, extent, width))


def _shrunk(corners: np.ndarray, inset: float) -> float:
    """Return the scale of a triangle whose sides are moved inwards by this many pixels."""
    (ax, ay), (bx, by), (cx, cy) = corners
    perimeter = sum(math.dist(corners[i], corners[i - 1]) for i in range(3))
    inradius = abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) / (perimeter + 1e-9)
    return max(1 - inset / (float(inradius) + 1e-9), _MIN_SHRINK)


def _one_of_a_row(extent: Extent, style: Style, radius: float) -> tuple[Point, float]:
    """Return center and radius of one of several discs along the longer side of a region."""
    x0, y0, x1, y1 = extent.box
    longer = max(x1 - x0, y1 - y0)
    radius = min(radius, longer / (_ROW_GAP * style.ranks))
    shift = (style.rank - (style.ranks - 1) / 2) * _ROW_GAP * radius
    cx, cy = extent.center
    return extent.pull_inside((cx + shift, cy) if longer == x1 - x0 else (cx, cy + shift)), radius


def upright_triangle(extent: Extent, width: float) -> list[Point]:
    """Return a triangle that stands in the box, with its corners in the mask if it is still visible then."""
    x0, y0, x1, y1 = _inset_box(extent, width)
    # In a flat box, the apex would be wider than 150 degrees.
    half = min((x1 - x0) / 2, (y1 - y0) * math.tan(_MAX_ANGLE / 2))
    center_x = (x0 + x1) / 2
    in_box = [(center_x, y0), (center_x + half, y1), (center_x - half, y1)]
    if extent.inside is None:
        return in_box
    in_mask = [_inset(extent.pull_inside(corner), extent, width) for corner in in_box]
    if _is_visible(in_mask, extent):
        return in_mask
    return _random_triangle(extent, np.random.default_rng(0), width) or in_box


def _random_triangle(extent: Extent, rng: np.random.Generator, width: float) -> list[Point] | None:
    """Return a random visible triangle in the box or mask; None if no try succeeds."""
    for _ in range(_TRIANGLE_TRIES):
        places = rng.uniform(0, 1, (3, 2))
        corners = [_inset(extent.pull_inside(extent.at(*place)), extent, width) for place in places]
        if _is_visible(corners, extent):
            return corners
    return None


def _is_visible(corners: list[Point], extent: Extent) -> bool:
    x0, y0, x1, y1 = extent.box
    return _area(corners) >= _MIN_TRIANGLE_AREA * (x1 - x0) * (y1 - y0) and widest_angle(corners) <= _MAX_ANGLE


def _area(corners: list[Point]) -> float:
    (ax, ay), (bx, by), (cx, cy) = corners
    return abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) / 2


def widest_angle(corners: Sequence[Point] | np.ndarray) -> float:
    """Return the largest angle of a triangle (3, 2), in radians."""
    angles = []
    for i in range(3):
        corner, second, third = (np.array(corners[(i + k) % 3]) for k in range(3))
        a, b = second - corner, third - corner
        cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-9)
        angles.append(math.acos(np.clip(cosine, -1, 1)))
    return max(angles)


def _tail(tip: Point, length: float, angle: float, extent: Extent, width: float) -> Point:
    """Return an arrow's tail: in the direction of the angle, else in the first of eight that fits best."""
    best, least_loss = tip, math.inf
    for step in range(8):
        turned = angle + step * math.pi / 4
        ideal = (tip[0] + length * math.cos(turned), tip[1] + length * math.sin(turned))
        tail = _inset(ideal, extent, width)
        loss = math.dist(ideal, tail)
        if loss < least_loss - 1e-6:
            best, least_loss = tail, loss
    return best


def _arrow_ink(tip: np.ndarray, tail: np.ndarray, width: float, head: float) -> list[Ink]:
    head = max(head, _HEAD_WIDTHS * width)
    along = (tip - tail) / (np.linalg.norm(tip - tail) + 1e-9)
    across = np.array([-along[1], along[0]]) * head * math.tan(_HEAD_HALF_ANGLE)
    neck = tip - along * head
    shaft = Stroke(np.stack([tail, neck]), width, closed=False)
    return [shaft, Fill(np.stack([tip, neck + across, neck - across]))]
