"""Strokes, fills and discs, and painting them on an image. Only the pixels under them change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import cv2
import numpy as np
from PIL import Image

from langchain_vipllava.locks import cached_property

# Measured on cv2.polylines with LINE_AA: thickness 1 covers 1.3 pixels, an even thickness t covers t + 1.6 (1.3 to 1.6,
# by the angle), and an odd one as many as the even one above.
_HAIRLINE = 1.3
_EXTRA = 1.6

_EDGE = 4
"""Pixels at the edge of an array where cv2 draws a line that leaves it too faintly. Measured: 3."""

_ANTIALIASING = 2
"""Pixels beside an ink that antialiasing may change. Chosen, with a margin."""

Window = tuple[int, int, int, int]
"""`(left, top, right, bottom)` in whole pixels."""

_SHIFT = 4
"""Fractional bits of the fixed-point coordinates that are passed to cv2."""

_MAX_THICKNESS = 32_767
"""Largest thickness that cv2 accepts."""


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
    """Single pixels: a (h, w) uint8 0/1 array whose top left corner lies at `origin` (x, y)."""

    pixels: np.ndarray
    origin: tuple[int, int]


@dataclass(frozen=True)
class Bar:
    """All pixels of a window of the image."""

    window: Window


Ink = Stroke | Fill | Disc | Stencil | Bar


@dataclass(frozen=True)
class Layer:
    """Inks of one color that are painted together.

    Attributes:
        inks: what to draw, in pixels of the image.
        color: in the image's channel order.
        opacity: 0 to 1.
    """

    inks: list[Ink]
    color: tuple[int, int, int]
    opacity: float = 1.0

    def bounds(self, size: tuple[int, int]) -> Window:
        """Return the whole pixels that the layer may change, in an image of `(width, height)`."""
        left, top, right, bottom = self._edges
        return max(left, 0), max(top, 0), min(right, size[0]), min(bottom, size[1])

    @cached_property
    def _edges(self) -> Window:
        left, top, right, bottom = bounds_of(self.inks)
        return (
            math.floor(left) - _ANTIALIASING,
            math.floor(top) - _ANTIALIASING,
            math.ceil(right) + _ANTIALIASING,
            math.ceil(bottom) + _ANTIALIASING,
        )

    @property
    def bars(self) -> list[Bar]:
        """The inks, if all of them are bars; else empty."""
        bars = [ink for ink in self.inks if isinstance(ink, Bar)]
        return bars if len(bars) == len(self.inks) else []


def paint(image: Image.Image, layers: Sequence[Layer]) -> None:
    """Paint layers on an RGB image, in order. Changes the image.

    Converting an image to an array and back costs more than drawing. So bars are filled by Pillow, and of the rest
    only the windows that change are converted, unless they are larger than the image together.
    """
    for only_bars, group in groupby(layers, key=lambda layer: bool(layer.bars)):
        paint_group = _fill_bars if only_bars else _paint_arrays
        paint_group(image, list(group))


def _fill_bars(image: Image.Image, layers: Sequence[Layer]) -> None:
    for layer in layers:
        for bar in layer.bars:
            left, top, right, bottom = bar.window
            window = max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height)
            if _area(window):
                size = window[2] - window[0], window[3] - window[1]
                alpha = None if layer.opacity >= 1 else Image.new("L", size, round(255 * layer.opacity))
                image.paste(layer.color, window, alpha)


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
    left, top, right, bottom = with_edge(window, image.size)
    canvas = np.array(image.crop((left, top, right, bottom)))
    for layer in layers:
        _paint_layer(canvas, layer, (left, top))
    inner = canvas[window[1] - top : window[3] - top, window[0] - left : window[2] - left]
    image.paste(image_of(inner), window)


def image_of(pixels: np.ndarray) -> Image.Image:
    """Return an image of (h, w, 3) uint8 pixels. What `Image.fromarray` checks takes as long for a small one."""
    return Image.frombytes("RGB", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())


def with_edge(window: Window, size: tuple[int, int]) -> Window:
    """Return what of an image of (width, height) to draw on, so that a window of it is as drawn on the whole image."""
    left, top, right, bottom = window
    return max(left - _EDGE, 0), max(top - _EDGE, 0), min(right + _EDGE, size[0]), min(bottom + _EDGE, size[1])


def _paint_layer(canvas: np.ndarray, layer: Layer, origin: tuple[int, int]) -> None:
    if layer.opacity >= 1:
        for ink in layer.inks:
            draw(canvas, ink, layer.color, origin)
        return
    moved = layer.bounds((origin[0] + canvas.shape[1], origin[1] + canvas.shape[0]))
    left, top, right, bottom = (max(n - o, 0) for n, o in zip(moved, (*origin, *origin), strict=True))
    if left >= right or top >= bottom:
        return
    under = canvas[top:bottom, left:right]
    over = under.copy()
    for ink in layer.inks:
        draw(over, ink, layer.color, (left + origin[0], top + origin[1]))
    canvas[top:bottom, left:right] = cv2.addWeighted(over, layer.opacity, under, 1 - layer.opacity, 0)


def line_width(width: float, min_width: float, max_width: float) -> float:
    """Return the width that cv2 can draw nearest to `width`, in pixels; within the limits, if there is one."""
    even = 2 * max(1, round((width - _EXTRA) / 2))
    widths = [_HAIRLINE, *(thickness + _EXTRA for thickness in (even - 2, even, even + 2) if thickness > 0)]
    return min(widths, key=lambda drawn: (not min_width <= drawn <= max_width, abs(drawn - width)))


def bounds_of(inks: Sequence[Ink]) -> tuple[float, float, float, float]:
    """Return the box `(x0, y0, x1, y1)` that contains all of several inks."""
    lefts, tops, rights, bottoms = zip(*map(ink_bounds, inks), strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def ink_bounds(ink: Ink) -> tuple[float, float, float, float]:
    """Return the box `(x0, y0, x1, y1)` that contains all of an ink."""
    if isinstance(ink, Bar):
        return ink.window
    if isinstance(ink, Stencil):
        x, y = ink.origin
        return x, y, x + ink.pixels.shape[1], y + ink.pixels.shape[0]
    if isinstance(ink, Disc):
        (cx, cy), radius = ink.center, ink.radius
        return cx - radius, cy - radius, cx + radius, cy + radius
    reach = ink.width / 2 if isinstance(ink, Stroke) else 0.0
    (x0, y0), (x1, y1) = ink.points.min(axis=0).tolist(), ink.points.max(axis=0).tolist()
    return x0 - reach, y0 - reach, x1 + reach, y1 + reach


def draw(canvas: np.ndarray, ink: Ink, color: tuple[int, ...], origin: tuple[int, int]) -> None:
    """Draw an ink on a (H, W, channels) array whose top left pixel lies at `origin` (x, y). Changes the array."""
    if isinstance(ink, Bar):
        left, top, right, bottom = (max(n - o, 0) for n, o in zip(ink.window, (*origin, *origin), strict=True))
        canvas[top:bottom, left:right] = color
    elif isinstance(ink, Stencil):
        x, y = ink.origin[0] - origin[0], ink.origin[1] - origin[1]
        height, width = ink.pixels.shape
        part = canvas[y : y + height, x : x + width]
        part[ink.pixels[: part.shape[0], : part.shape[1]].astype(bool)] = color
    elif isinstance(ink, Disc):
        center = _fixed_point(np.array([ink.center]), origin)[0]
        radius = max(1, round(ink.radius * (1 << _SHIFT)))
        cv2.circle(canvas, (int(center[0]), int(center[1])), radius, color, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    elif isinstance(ink, Fill):
        cv2.fillPoly(canvas, [_fixed_point(ink.points, origin)], color, cv2.LINE_AA, _SHIFT)
    elif _is_dot(ink.points):  # cv2 draws next to nothing of a line without length
        draw(canvas, Disc((float(ink.points[0, 0]), float(ink.points[0, 1])), ink.width / 2), color, origin)
    else:
        thickness = min(max(1, round(ink.width - _EXTRA)), _MAX_THICKNESS)
        points = _fixed_point(ink.points, origin)
        cv2.polylines(canvas, [points], ink.closed, color, thickness, cv2.LINE_AA, _SHIFT)


def _is_dot(points: np.ndarray) -> bool:
    """Return whether points are less than a pixel apart."""
    first, middle = points[0], points[len(points) // 2]
    if abs(first[0] - middle[0]) >= 1 or abs(first[1] - middle[1]) >= 1:  # as of most lines
        return False
    return bool(np.ptp(points, axis=0).max() < 1)


def _fixed_point(points: np.ndarray, origin: tuple[int, int]) -> np.ndarray:
    """Convert image coordinates to cv2's, where whole numbers are the centers of pixels."""
    x, y = origin
    moved = points * (1 << _SHIFT) - ((x + 0.5) * (1 << _SHIFT), (y + 0.5) * (1 << _SHIFT))
    return np.rint(moved).astype(np.int32)
