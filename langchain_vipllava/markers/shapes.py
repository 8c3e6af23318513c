"""The geometry of the eight kinds. Each turns an extent and a style into ink.

Constant geometry is fixed; with `style.hand` it is drawn from the ranges of the training
data (ViP-LLaVA, arXiv 2312.00784, and its repository).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from langchain_vipllava.markers.extent import Extent
from langchain_vipllava.markers.ink import Bar, Disc, Fill, Ink, Stencil, Stroke, line_width
from langchain_vipllava.markers.kinds import MarkerKind
from langchain_vipllava.markers.style import Style
from langchain_vipllava.regions.region import Point

_SCRIBBLE = ((0.15, 0.6), (0.45, -0.1), (0.55, 1.1), (0.85, 0.4))
_MAX_ANGLE = math.radians(150)
_HEAD_HALF_ANGLE = math.radians(60)
_LINE_WIDTHS = (2.0, 8.0)  # model pixels, in training
_HEAD_LENGTH = 9.0  # model pixels; at least 6 in training
_ARROW_LENGTHS = (30.0, 50.0)  # model pixels: readable; the most in training


def rectangle(extent: Extent, style: Style) -> list[Ink]:
    """The box, its line in whole pixels and with square corners, as in training."""
    most = max(_LINE_WIDTHS[1], style.width) * extent.scale
    width = max(1, min(round(style.width * extent.scale), math.floor(most)))
    x0, y0, x1, y1 = _inset_box(extent, width)
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


def ellipse(extent: Extent, style: Style) -> list[Ink]:
    """An ellipse on the box's axes, 1 to 1.5 times as long, inside the image."""
    width = _line_width(style, extent)
    x0, y0, x1, y1 = extent.box
    (cx, cy), grow = ((x0 + x1) / 2, (y0 + y1) / 2), style.ellipse_scale
    half_x, half_y = (x1 - x0) / 2 * grow, (y1 - y0) / 2 * grow
    x0, y0 = _inset((cx - half_x, cy - half_y), extent, width)
    x1, y1 = _inset((cx + half_x, cy + half_y), extent, width)
    turn = np.linspace(0, 2 * math.pi, 72, endpoint=False)
    xs = (x0 + x1) / 2 + (x1 - x0) / 2 * np.cos(turn)
    ys = (y0 + y1) / 2 + (y1 - y0) / 2 * np.sin(turn)
    return [Stroke(np.stack([xs, ys], axis=1), width)]


def triangle(extent: Extent, style: Style) -> list[Ink]:
    """Three points in the box, no angle over 150 degrees."""
    width = _line_width(style, extent)
    corners = _drawn_triangle(extent, style.hand, width) if style.hand else None
    return [Stroke(np.array(corners or _upright_triangle(extent, width)), width)]


def point(extent: Extent, style: Style) -> list[Ink]:
    """A disc on the region's middle."""
    radius = max(style.radius * extent.scale, 1.0)
    center = extent.middle
    if style.hand is not None and extent.region.point is None:
        center = extent.pull_inside(extent.at(*style.hand.uniform(0.4, 0.6, 2)))
    return [Disc(_inset(center, extent, min(radius, min(extent.size) / 2)), radius)]


def scribble(extent: Extent, style: Style) -> list[Ink]:
    """A cubic Bezier curve over four points inside the box or mask."""
    width = _line_width(style, extent)
    places = _SCRIBBLE if style.hand is None else style.hand.uniform(0, 1, (4, 2))
    p0, p1, p2, p3 = (np.array(extent.pull_inside(extent.at(*place))) for place in places)
    t = np.linspace(0, 1, 48)[:, None]
    curve = (1 - t) ** 3 * p0 + 3 * (1 - t) ** 2 * t * p1 + 3 * (1 - t) * t**2 * p2 + t**3 * p3
    return [Stroke(np.array([_inset(tuple(p), extent, width) for p in curve]), width, closed=False)]


def mask_contour(extent: Extent, style: Style) -> list[Ink]:
    """The outline of the mask or polygon, else of the box."""
    width = _line_width(style, extent)
    return [Stroke(np.array([_inset(tuple(p), extent, width) for p in line]), width) for line in extent.outlines]


def mask(extent: Extent, style: Style) -> list[Ink]:
    """The inside of the mask or polygon, else of the box."""
    del style
    if extent.inside is not None:
        return [Stencil(extent.inside, extent.window[:2])]
    return [Bar(extent.window)]


def arrow(extent: Extent, style: Style) -> list[Ink]:
    """An arrow whose tip lies on the region's middle."""
    width = _line_width(style, extent)
    shortest, longest = (length * extent.scale for length in _ARROW_LENGTHS)
    tip, length = extent.middle, min(max(0.8 * extent.short_side, shortest), longest)
    turn = -math.pi / 4
    if style.hand is not None:
        tip = extent.pull_inside(extent.at(*style.hand.uniform(0.375, 0.625, 2)))
        length = style.hand.uniform(min(0.8 * extent.short_side, longest), longest)
        turn = style.hand.uniform(0, 2 * math.pi)
    length = max(length, 2 * _HEAD_LENGTH * extent.scale)
    tip = _inset(tip, extent, width)
    tail = _tail(tip, length, turn, extent, width)
    return _arrow_ink(np.array(tip), np.array(tail), width, _HEAD_LENGTH * extent.scale)


SHAPES: dict[MarkerKind, Callable[[Extent, Style], list[Ink]]] = {
    "rectangle": rectangle,
    "ellipse": ellipse,
    "triangle": triangle,
    "point": point,
    "scribble": scribble,
    "mask contour": mask_contour,
    "mask": mask,
    "arrow": arrow,
}


def _line_width(style: Style, extent: Extent) -> float:
    least, most = (min(_LINE_WIDTHS[0], style.width), max(_LINE_WIDTHS[1], style.width))
    return line_width(style.width * extent.scale, least * extent.scale, most * extent.scale)


def _inset(point: Point, extent: Extent, width: float) -> Point:
    """Move a point so that a line of this width through it stays inside the image."""
    half_x, half_y = (min(width, side) / 2 for side in extent.size)
    x, y = point
    return min(max(x, half_x), extent.size[0] - half_x), min(max(y, half_y), extent.size[1] - half_y)


def _inset_box(extent: Extent, width: float) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = extent.box
    return (*_inset((x0, y0), extent, width), *_inset((x1, y1), extent, width))


def _upright_triangle(extent: Extent, width: float) -> list[Point]:
    """A triangle that stands in the box, its corners in the mask if that leaves a visible one."""
    x0, y0, x1, y1 = _inset_box(extent, width)
    # a flat box would give an apex of more than 150 degrees
    half = min((x1 - x0) / 2, (y1 - y0) * math.tan(_MAX_ANGLE / 2))
    middle = (x0 + x1) / 2
    in_box = [(middle, y0), (middle + half, y1), (middle - half, y1)]
    if extent.inside is None:
        return in_box
    in_mask = [_inset(extent.pull_inside(corner), extent, width) for corner in in_box]
    if _is_visible(in_mask, extent):
        return in_mask
    return _drawn_triangle(extent, np.random.default_rng(0), width) or in_box


def _drawn_triangle(extent: Extent, hand: np.random.Generator, width: float) -> list[Point] | None:
    """Three points in the box or mask that span a visible triangle; None if none was found."""
    for _ in range(50):
        places = hand.uniform(0, 1, (3, 2))
        corners = [_inset(extent.pull_inside(extent.at(*place)), extent, width) for place in places]
        if _is_visible(corners, extent):
            return corners
    return None


def _is_visible(corners: list[Point], extent: Extent) -> bool:
    x0, y0, x1, y1 = extent.box
    return _area(corners) >= 0.1 * (x1 - x0) * (y1 - y0) and _widest_angle(corners) <= _MAX_ANGLE


def _area(corners: list[Point]) -> float:
    (ax, ay), (bx, by), (cx, cy) = corners
    return abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) / 2


def _widest_angle(corners: list[Point]) -> float:
    angles = []
    for i in range(3):
        here, one, other = (np.array(corners[(i + k) % 3]) for k in range(3))
        a, b = one - here, other - here
        cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-9)
        angles.append(math.acos(np.clip(cosine, -1, 1)))
    return max(angles)


def _tail(tip: Point, length: float, turn: float, extent: Extent, width: float) -> Point:
    """The arrow's other end: in the wanted direction if it fits, else the nearest that does."""
    best, least_loss = tip, math.inf
    for step in range(8):
        angle = turn + step * math.pi / 4
        wanted = (tip[0] + length * math.cos(angle), tip[1] + length * math.sin(angle))
        tail = _inset(wanted, extent, width)
        loss = math.dist(wanted, tail)
        if loss < least_loss - 1e-6:
            best, least_loss = tail, loss
    return best


def _arrow_ink(tip: np.ndarray, tail: np.ndarray, width: float, head: float) -> list[Ink]:
    head = max(head, 1.5 * width)
    along = (tip - tail) / (np.linalg.norm(tip - tail) + 1e-9)
    across = np.array([-along[1], along[0]]) * head * math.tan(_HEAD_HALF_ANGLE)
    neck = tip - along * head
    shaft = Stroke(np.stack([tail, neck]), width, closed=False)
    return [shaft, Fill(np.stack([tip, neck + across, neck - across]))]
