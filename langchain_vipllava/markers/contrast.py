"""How well a marker stands out from an image, where the model looks: in CIELAB, after the model's downscaling."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from langchain_vipllava.images.view import VIEW_SIZE
from langchain_vipllava.locks import cached_property
from langchain_vipllava.markers.ink import Ink, bounds_of, draw
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
    """Convert (h, w, 3) RGB uint8 to CIELAB as uint8. Eight bits are exact enough, and several times as fast."""
    return cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2LAB) if rgb.size else rgb


def _axes(lab: np.ndarray) -> np.ndarray:
    """Convert (..., 3) CIELAB as uint8 to (3, ...) float32, L in 0..100. Loops over the pixels of an axis are fast."""
    axes = np.ascontiguousarray(np.moveaxis(lab, -1, 0)).astype(np.float32)
    axes[0] *= 100 / 255
    return axes


_RGB = np.array([COLORS[name] for name in COLOR_NAMES], dtype=np.float32)
_OPAQUE = _axes(_lab(_RGB[:, None].astype(np.uint8)))
"""(3, 9, 1): the nine colors."""


@dataclass(frozen=True)
class SeenImage:
    """An image in the size in which the model sees it.

    Attributes:
        rgb: (h, w, 3) uint8.
        scale: (x, y), model pixels per pixel of the image.
    """

    rgb: np.ndarray
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
        return cls(np.asarray(image_small), (width / image.width, height / image.height))

    def pixels_of(self, inks: Sequence[Ink]) -> MarkerPixels:
        """Return where inks lie, which are in pixels of the image."""
        scaled = [scale_ink(ink, self.scale) for ink in inks]
        x0, y0, x1, y1 = bounds_of(scaled)
        height, width = self.rgb.shape[:2]
        left, top = (max(math.floor(n) - _AROUND - 1, 0) for n in (x0, y0))
        right, bottom = (math.ceil(n) + _AROUND + 1 for n in (x1, y1))
        left, top, right, bottom = min(left, width - 1), min(top, height - 1), min(right, width), min(bottom, height)
        canvas = np.zeros((max(bottom - top, 1), max(right - left, 1), 1), np.uint8)
        for ink in scaled:
            draw(canvas, ink, (255,), (left, top))
        return MarkerPixels(canvas[..., 0], (left, top))

    def lab_at(self, places: Places) -> np.ndarray:
        """Return the CIELAB of pixels as (3, 1, N) float32."""
        return _axes(_lab(self.rgb[places][None]))


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
        return _some(cv2.dilate(self.coverage, _NEIGHBORS), self.origin)


def clear_shares(seen: SeenImage, pixels: Sequence[MarkerPixels], opacity: float) -> list[dict[MarkerColor, float]]:
    """Return for each marker the share of the pixels at it from which each of the nine colors stands out.

    Args:
        seen: the image.
        pixels: of the markers.
        opacity: of all of them.
    """
    places, sizes = _join([each.near for each in pixels])
    painted = _painted(seen.rgb[places], opacity)
    clear = _squared(seen.lab_at(places), painted) >= (CLEAR_DISTANCE * min(opacity, 1)) ** 2
    if opacity < 1:  # a mixture has to look like its own color: lime on red is olive
        to_colors = _squared(painted[:, None], _OPAQUE[..., None])
        clear &= to_colors.argmin(axis=0) == np.arange(len(COLOR_NAMES))[:, None]
    return [dict(zip(COLOR_NAMES, shares, strict=True)) for shares in _shares(clear, sizes).T.tolist()]


def different_shares(seen: SeenImage, pixels: Sequence[MarkerPixels], colors: Sequence[MarkerColor]) -> list[float]:
    """Return the share of the pixels at each opaque marker, which nothing covers, that differ from its color.

    Args:
        seen: the image.
        pixels: of the markers.
        colors: of the same markers.
    """
    places, sizes = _join([each.near for each in pixels])
    own = np.repeat([COLOR_NAMES.index(color) for color in colors], sizes)
    gaps = _squared(seen.lab_at(places)[:, 0], _OPAQUE[:, own, 0])
    shares: list[float] = _shares(gaps >= FAINT_DISTANCE**2, sizes).tolist()
    return shares


def marked_shares(
    before: SeenImage,
    after: SeenImage,
    pixels: Sequence[MarkerPixels],
    colors: Sequence[MarkerColor],
    opacity: float,
    drawn: Collection[MarkerColor],
) -> list[float]:
    """Return the share of each marker's pixels that show its color where the image without markers did not.

    Args:
        before: the image without markers.
        after: the same with all of them.
        pixels: of the markers.
        colors: of the same markers.
        opacity: of the same markers.
        drawn: colors of all markers; a pixel that is nearer to another one of them shows that one.
    """
    places, sizes = _join([each.under for each in pixels])
    own = np.repeat([COLOR_NAMES.index(color) for color in colors], sizes)
    at = np.arange(own.size)
    painted = np.broadcast_to(_painted(before.rgb[places], opacity), (3, len(COLOR_NAMES), own.size))
    to_before = np.sqrt(_squared(before.lab_at(places)[:, 0], painted[:, own, at]))
    to_after = np.sqrt(_squared(after.lab_at(places), painted))
    moved = to_before - to_after[own, at] >= FAINT_DISTANCE
    nearest = to_after[own, at] <= to_after[[COLOR_NAMES.index(color) for color in drawn]].min(axis=0) + 1e-3
    shares: list[float] = _shares(moved & nearest, sizes).tolist()
    return shares


def _join(places: Sequence[Places]) -> tuple[Places, np.ndarray]:
    """Return the places of several markers one after the other, and how many each has."""
    rows, columns = (np.concatenate(axis) for axis in zip(*places, strict=True))
    return (rows, columns), np.array([len(place[0]) for place in places])


def _shares(found: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the share of each marker's pixels at which something was found; 0 for a marker without pixels.

    Args:
        found: (..., N) bool, at the pixels of one marker after the other.
        sizes: how many each has.
    """
    shares = np.zeros((*found.shape[:-1], sizes.size))
    if found.size:
        has_some = sizes > 0
        starts = (np.cumsum(sizes) - sizes)[has_some]
        counts = np.add.reduceat(found.view(np.uint8), starts, axis=-1, dtype=np.intp)
        shares[..., has_some] = counts / sizes[has_some]
    return shares


def _painted(rgb: np.ndarray, opacity: float) -> np.ndarray:
    """Return pixels (N, 3) painted with each of the nine colors, in CIELAB: (3, 9, N), or (3, 9, 1) if opaque."""
    if opacity >= 1:
        return _OPAQUE
    return _axes(_lab((rgb * (1 - opacity) + _RGB[:, None] * opacity).round().astype(np.uint8)))


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return squared distances of (3, ...) vectors."""
    x, y, z = (first - second for first, second in zip(a, b, strict=True))
    squared: np.ndarray = x * x + y * y + z * z
    return squared


def _some(where: np.ndarray, origin: tuple[int, int]) -> Places:
    flat = np.flatnonzero(where)
    step = -(-flat.size // _MAX_PIXELS) or 1
    rows, columns = np.divmod(flat[::step], where.shape[1])
    return rows + origin[1], columns + origin[0]
