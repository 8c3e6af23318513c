"""Strokes, fills and discs, and putting them on an image: only the pixels under them change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import cv2
import numpy as np
from PIL import Image

_HAIRLINE = 1.3
_EXTRA = 1.6
"""Pixels that cv2's antialiased line of thickness 1 covers, and those that an even thickness covers besides itself."""

_EDGE = 4
"""Pixels at the edge of an array where cv2 draws a line that leaves it too faint; 3 were seen."""

Window = tuple[int, int, int, int]
"""(left, top, right, bottom) in whole pixels."""

_SHIFT = 4  # cv2 takes fixed-point coordinates with this many fractional bits
_MAX_THICKNESS = 32_767  # of cv2


@dataclass(frozen=True)
class Stroke:
    """A line through (N, 2) points in pixels, `width` pixels thick."""

    points: np.ndarray
    width: float
    closed: bool = True


@dataclass(frozen=True)
class Fill:
    """The inside of (N, 2) points in pixels."""

    points: np.ndarray


@dataclass(frozen=True)
class Disc:
    """A filled circle in pixels."""

    center: tuple[float, float]
    radius: float


@dataclass(frozen=True)
class Stencil:
    """Single pixels: a (h, w) uint8 0/1 array whose corner lies at `origin` (x, y)."""

    pixels: np.ndarray
    origin: tuple[int, int]


@dataclass(frozen=True)
class Bar:
    """All pixels of a window of the image."""

    window: Window


Ink = Stroke | Fill | Disc | Stencil | Bar


@dataclass(frozen=True)
class Layer:
    """Inks of one color that are put on an image together.

    Attributes:
        inks: what to draw, in pixels of the image.
        color: in the image's channel order.
        opacity: 0 to 1.
    """

    inks: list[Ink]
    color: tuple[int, int, int]
    opacity: float = 1.0

    def bounds(self, size: tuple[int, int]) -> Window:
        """Whole pixels of an image of a (width, height) that the layer may change."""
        boxes = np.array([ink_bounds(ink) for ink in self.inks])
        left, top = np.floor(boxes[:, :2].min(axis=0)).astype(int) - 2  # 2: antialiasing
        right, bottom = np.ceil(boxes[:, 2:].max(axis=0)).astype(int) + 2
        return max(int(left), 0), max(int(top), 0), min(int(right), size[0]), min(int(bottom), size[1])

    @property
    def bars(self) -> list[Bar]:
        """The inks, if all of them are bars; else none."""
        bars = [ink for ink in self.inks if isinstance(ink, Bar)]
        return bars if len(bars) == len(self.inks) else []


def paint(image: Image.Image, layers: Sequence[Layer]) -> None:
    """Put layers on an RGB image, one over the other, in place.

    Turning an image into an array and back costs more than drawing: only what changes is turned, unless that is most
    of it, and nothing under bars, which Pillow fills.
    """
    for of_bars, run in groupby(layers, key=lambda layer: bool(layer.bars)):
        paint_some = _fill_bars if of_bars else _paint_arrays
        paint_some(image, list(run))


def _fill_bars(image: Image.Image, layers: Sequence[Layer]) -> None:
    for layer in layers:
        for bar in layer.bars:
            left, top, right, bottom = bar.window
            window = max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height)
            if _area(window):
                size = window[2] - window[0], window[3] - window[1]
                through = None if layer.opacity >= 1 else Image.new("L", size, round(255 * layer.opacity))
                image.paste(layer.color, window, through)


def _paint_arrays(image: Image.Image, layers: Sequence[Layer]) -> None:
    windows = [(layer, layer.bounds(image.size)) for layer in layers]
    if sum(_area(window) for _, window in windows) < image.width * image.height:
        for layer, window in windows:
            _paint_window(image, window, [layer])
    else:
        _paint_window(image, (0, 0, *image.size), layers)


def _area(window: Window) -> int:
    left, top, right, bottom = window
    return max(right - left, 0) * max(bottom - top, 0)


def _paint_window(image: Image.Image, window: Window, layers: Sequence[Layer]) -> None:
    if not _area(window):
        return
    left, top = (max(n - _EDGE, 0) for n in window[:2])
    right, bottom = (min(n + _EDGE, most) for n, most in zip(window[2:], image.size, strict=True))
    canvas = np.array(image.crop((left, top, right, bottom)))
    for layer in layers:
        _paint_layer(canvas, layer, (left, top))
    inner = canvas[window[1] - top : window[3] - top, window[0] - left : window[2] - left]
    image.paste(Image.fromarray(inner), window)


def _paint_layer(canvas: np.ndarray, layer: Layer, origin: tuple[int, int]) -> None:
    if layer.opacity >= 1:
        for ink in layer.inks:
            _draw(canvas, ink, layer.color, origin)
        return
    moved = layer.bounds((origin[0] + canvas.shape[1], origin[1] + canvas.shape[0]))
    left, top, right, bottom = (max(n - o, 0) for n, o in zip(moved, (*origin, *origin), strict=True))
    if left >= right or top >= bottom:
        return
    under = canvas[top:bottom, left:right]
    over = under.copy()
    for ink in layer.inks:
        _draw(over, ink, layer.color, (left + origin[0], top + origin[1]))
    canvas[top:bottom, left:right] = cv2.addWeighted(over, layer.opacity, under, 1 - layer.opacity, 0)


def line_width(wanted: float, least: float, most: float) -> float:
    """The width nearest to the wanted one, in pixels, that cv2 draws; one of `least` to `most` if there is one."""
    even = 2 * max(1, round((wanted - _EXTRA) / 2))
    widths = [_HAIRLINE, *(thickness + _EXTRA for thickness in (even - 2, even, even + 2) if thickness > 0)]
    return min(widths, key=lambda width: (not least <= width <= most, abs(width - wanted)))


def ink_bounds(ink: Ink) -> tuple[float, float, float, float]:
    """Box (x0, y0, x1, y1) that holds all of an ink."""
    if isinstance(ink, Bar):
        return ink.window
    if isinstance(ink, Stencil):
        x, y = ink.origin
        return x, y, x + ink.pixels.shape[1], y + ink.pixels.shape[0]
    if isinstance(ink, Disc):
        (cx, cy), radius = ink.center, ink.radius
        return cx - radius, cy - radius, cx + radius, cy + radius
    reach = ink.width / 2 if isinstance(ink, Stroke) else 0.0
    x0, y0 = ink.points.min(axis=0) - reach
    x1, y1 = ink.points.max(axis=0) + reach
    return float(x0), float(y0), float(x1), float(y1)


def _draw(canvas: np.ndarray, ink: Ink, color: tuple[int, int, int], origin: tuple[int, int]) -> None:
    if isinstance(ink, Bar):
        left, top, right, bottom = (max(n - o, 0) for n, o in zip(ink.window, (*origin, *origin), strict=True))
        canvas[top:bottom, left:right] = color
    elif isinstance(ink, Stencil):
        x, y = ink.origin[0] - origin[0], ink.origin[1] - origin[1]
        height, width = ink.pixels.shape
        canvas[y : y + height, x : x + width][ink.pixels.astype(bool)] = color
    elif isinstance(ink, Disc):
        center = _fixed_point(np.array([ink.center]), origin)[0]
        radius = max(1, round(ink.radius * (1 << _SHIFT)))
        cv2.circle(canvas, (int(center[0]), int(center[1])), radius, color, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    elif isinstance(ink, Fill):
        cv2.fillPoly(canvas, [_fixed_point(ink.points, origin)], color, cv2.LINE_AA, _SHIFT)
    elif np.ptp(ink.points, axis=0).max() < 1:  # of a line without length, cv2 draws next to nothing
        _draw(canvas, Disc((float(ink.points[0, 0]), float(ink.points[0, 1])), ink.width / 2), color, origin)
    else:
        thickness = min(max(1, round(ink.width - _EXTRA)), _MAX_THICKNESS)
        points = _fixed_point(ink.points, origin)
        cv2.polylines(canvas, [points], ink.closed, color, thickness, cv2.LINE_AA, _SHIFT)


def _fixed_point(points: np.ndarray, origin: tuple[int, int]) -> np.ndarray:
    """Image coordinates to cv2's: there, whole numbers are the middles of pixels."""
    moved = (points - np.asarray(origin, dtype=np.float64) - 0.5) * (1 << _SHIFT)
    return moved.round().astype(np.int32)
