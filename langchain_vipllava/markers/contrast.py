"""How well a marker stands out from an image, where the model looks: in CIELAB, after the model's downscaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from PIL import Image

from langchain_vipllava.images.view import VIEW_SIZE
from langchain_vipllava.markers.ink import Ink, draw, ink_bounds
from langchain_vipllava.markers.kinds import COLOR_NAMES, COLORS, MarkerColor
from langchain_vipllava.markers.scaled import scale_ink

CLEAR_DISTANCE = 40.0
"""CIELAB distance from which on a color stands out. Chosen by looking: orange on gold (30) and gold on yellow (24) are
hard to tell apart, yellow on orange (53) and purple on fuchsia (55) are not."""

CLEAR_SHARE = 0.7
"""Share of the pixels at a marker from which its color has to stand out to be assigned. Chosen: an outline
that stands out on one side only is not enough, and a photograph that shows the color here and there keeps the order."""

FAINT_DISTANCE = 15.0
"""CIELAB distance by which a pixel has to move towards a marker's color to count as marked. Chosen below gold on yellow
(24), which the bundled checkpoint still reads (`python -m training.grounds --pairs`)."""

_SAMPLES = 3
"""Pixels per model pixel, in each direction, that are averaged. Chosen for speed: a mean of all takes twice as long."""

_AROUND = 3
"""Reach of the pixels around an ink, in model pixels. Chosen: as wide as a constant line."""

_MAX_PIXELS = 300
"""Pixels of a marker that are looked at. Chosen for speed: the share of 300 pixels is right within five points."""

Places = tuple[np.ndarray, np.ndarray]
"""Rows and columns of pixels."""

_NEIGHBORS = np.ones((2 * _AROUND + 1, 2 * _AROUND + 1), np.uint8)


def _lab(rgb: np.ndarray) -> np.ndarray:
    """Convert (h, w, 3) RGB uint8 to CIELAB as float32. Eight bits are exact enough, and several times as fast."""
    lab = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2LAB).astype(np.float32)
    lab[..., 0] *= 100 / 255
    return lab


_RGB = np.array([COLORS[name] for name in COLOR_NAMES], dtype=np.float32)
_OPAQUE = _lab(_RGB[None].astype(np.uint8))


@dataclass(frozen=True)
class SeenImage:
    """An image in the size in which the model sees it.

    Attributes:
        rgb: (h, w, 3) uint8.
        lab: (h, w, 3) float32, CIELAB: L in 0..100.
        scale: (x, y), model pixels per pixel of the image.
    """

    rgb: np.ndarray
    lab: np.ndarray
    scale: tuple[float, float]

    @classmethod
    def of(cls, image: Image.Image, side: int = VIEW_SIZE) -> SeenImage:
        """Scale an RGB image down to a side of at most `side`; a smaller one keeps its size."""
        factor = min(side / max(image.size), 1.0)
        width, height = (max(round(length * factor), 1) for length in image.size)
        fine = (width * _SAMPLES, height * _SAMPLES)
        if fine[0] < image.width and fine[1] < image.height:
            image_small = image.resize(fine, Image.Resampling.NEAREST).reduce(_SAMPLES)
        else:
            image_small = image.resize((width, height), Image.Resampling.BOX)
        rgb = np.asarray(image_small)
        return cls(rgb, _lab(rgb), (width / image.width, height / image.height))

    def pixels_of(self, inks: Sequence[Ink]) -> MarkerPixels:
        """Return where inks lie, which are in pixels of the image."""
        scaled = [scale_ink(ink, self.scale) for ink in inks]
        boxes = np.array([ink_bounds(ink) for ink in scaled])
        height, width = self.rgb.shape[:2]
        left, top = (max(int(n) - _AROUND - 1, 0) for n in np.floor(boxes[:, :2].min(axis=0)))
        right, bottom = np.ceil(boxes[:, 2:].max(axis=0)).astype(int) + _AROUND + 1
        window = (min(left, width - 1), min(top, height - 1), min(int(right), width), min(int(bottom), height))
        canvas = np.zeros((max(window[3] - window[1], 1), max(window[2] - window[0], 1), 1), np.uint8)
        for ink in scaled:
            draw(canvas, ink, (255,), window[:2])
        return MarkerPixels(canvas[..., 0], window[:2])


@dataclass(frozen=True)
class MarkerPixels:
    """Where a marker lies in a `SeenImage`: how much ink covers each pixel, 0 to 255, from `origin` (x, y) on."""

    coverage: np.ndarray
    origin: tuple[int, int]

    @cached_property
    def under(self) -> Places:
        """Some of the pixels that are at least half covered; the most covered ones if none is."""
        half = self.coverage > 127
        return _some(half if half.any() else self.coverage == max(int(self.coverage.max()), 1), self.origin)

    @cached_property
    def near(self) -> Places:
        """Some of the pixels under the ink or around it."""
        return _some(cv2.dilate(self.coverage, _NEIGHBORS) > 0, self.origin)


def clear_shares(seen: SeenImage, pixels: MarkerPixels, opacity: float) -> dict[MarkerColor, float]:
    """Return the share of the pixels at a marker from which each of the nine colors stands out."""
    rows, columns = pixels.near
    painted = _painted(seen.rgb[rows, columns], opacity)
    clear = _squared(seen.lab[rows, columns][:, None], painted) >= (CLEAR_DISTANCE * min(opacity, 1)) ** 2
    if opacity < 1:  # a mixture has to look like its own color: lime on red is olive
        to_colors = _squared(painted[:, :, None], _OPAQUE[0])
        clear &= to_colors.argmin(axis=2) == np.arange(len(COLOR_NAMES))
    return dict(zip(COLOR_NAMES, clear.mean(axis=0).tolist(), strict=True))


def different_share(seen: SeenImage, pixels: MarkerPixels, color: MarkerColor) -> float:
    """Return the share of the pixels at an opaque marker, which nothing covers, that differ from its color."""
    rows, columns = pixels.near
    gaps = _squared(seen.lab[rows, columns], _OPAQUE[0, COLOR_NAMES.index(color)])
    return float((gaps >= FAINT_DISTANCE**2).mean())


def marked_share(
    before: SeenImage,
    after: SeenImage,
    pixels: MarkerPixels,
    color: MarkerColor,
    opacity: float,
    colors: Sequence[MarkerColor],
) -> float:
    """Return the share of a marker's pixels that show its color where the image without markers did not.

    Args:
        before: the image without markers.
        after: the same with all of them.
        pixels: of this marker.
        color: of this marker.
        opacity: of this marker.
        colors: of all markers; a pixel that is nearer to another one of them shows that one.
    """
    rows, columns = pixels.under
    painted = _painted(before.rgb[rows, columns], opacity)
    to_before = np.sqrt(_squared(before.lab[rows, columns][:, None], painted))
    to_after = np.sqrt(_squared(after.lab[rows, columns][:, None], painted))
    own, all_of_them = COLOR_NAMES.index(color), [COLOR_NAMES.index(name) for name in colors]
    moved = to_before[:, own] - to_after[:, own] >= FAINT_DISTANCE
    nearest = to_after[:, own] <= to_after[:, all_of_them].min(axis=1) + 1e-3
    return float((moved & nearest).mean())


def _painted(rgb: np.ndarray, opacity: float) -> np.ndarray:
    """Return pixels (N, 3) painted with each of the nine colors, in CIELAB: (N, 9, 3), or (1, 9, 3) if opaque."""
    if opacity >= 1:
        return _OPAQUE
    return _lab((rgb[:, None] * (1 - opacity) + _RGB * opacity).round().astype(np.uint8))


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return squared distances of vectors of three along the last axis. By axis: loops over three numbers are slow."""
    x, y, z = (a[..., axis] - b[..., axis] for axis in range(3))
    squared: np.ndarray = x * x + y * y + z * z
    return squared


def _some(where: np.ndarray, origin: tuple[int, int]) -> Places:
    rows, columns = np.nonzero(where)
    step = -(-rows.size // _MAX_PIXELS) or 1
    return rows[::step] + origin[1], columns[::step] + origin[0]
