"""Arithmetic on rasters of 0 and 1: what covers a place, and how far the next thing is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Part = tuple[slice, slice]
"""Rows and columns of a raster."""

FAR = 1e4
"""Pixels to what is not there."""


@dataclass(frozen=True)
class Patch:
    """Pixels of a raster around what is set in it; all others are 0. A whole raster per region would be 8 MB for 60.

    Attributes:
        pixels: (rows, columns) uint8, 0 or 1.
        left, top: of the first pixel, in the raster.
    """

    pixels: np.ndarray
    left: int
    top: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """`(left, top, right, bottom)`."""
        return self.left, self.top, self.left + self.pixels.shape[1], self.top + self.pixels.shape[0]

    @property
    def part(self) -> Part:
        """The rows and columns that it has."""
        left, top, right, bottom = self.box
        return slice(top, bottom), slice(left, right)

    def add_to(self, raster: np.ndarray, part: Part, weights: np.ndarray | np.generic) -> None:
        """Add weights to the pixels that are set, in a part of the raster. Changes it.

        Args:
            raster: the pixels of the part.
            part: which part of the raster it is.
            weights: one for each pixel of the patch, or for all.
        """
        rows, columns = part
        left, top, right, bottom = self.box
        y0, y1 = max(top, rows.start), min(bottom, rows.stop)
        x0, x1 = max(left, columns.start), min(right, columns.stop)
        if y0 < y1 and x0 < x1:
            added = (self.pixels * weights)[y0 - top : y1 - top, x0 - left : x1 - left]
            raster[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start] += added

    def cut(self, part: Part) -> np.ndarray:
        """Return a part of the raster, as a new array."""
        rows, columns = part
        cut = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        self.add_to(cut, part, np.uint8(1))
        return cut


def within(part: Part, around: Part) -> Part:
    """Return where a part lies in a larger one."""
    rows, columns = (slice(p.start - a.start, p.stop - a.start) for p, a in zip(part, around, strict=True))
    return rows, columns


def grow(part: Part, by: tuple[float, float], shape: Sequence[int]) -> Part:
    """Return a part with what lies up to `by` (x, y) around it, in a raster of this shape."""
    rows, columns = part
    x, y = (math.ceil(n) for n in by)
    return (
        slice(max(rows.start - y, 0), min(rows.stop + y, shape[0])),
        slice(max(columns.start - x, 0), min(columns.stop + x, shape[1])),
    )


def box_mean(values: np.ndarray, size: tuple[float, float]) -> np.ndarray:
    """Return the mean of float32 values in a box of (width, height) around each pixel; outside they are 0."""
    sides = tuple(max(round(side), 1) for side in size)
    return cv2.blur(values, sides, borderType=cv2.BORDER_CONSTANT)


def distance_to(raster: np.ndarray) -> np.ndarray:
    """Return each pixel's distance to the nearest one that is set; far away if there is none."""
    if not raster.any():
        return np.full(raster.shape, FAR, np.float32)
    distances: np.ndarray = cv2.distanceTransform((raster == 0).view(np.uint8), cv2.DIST_L2, 5)
    return distances


def find_containing(patches: Sequence[Patch], areas: np.ndarray, share: float) -> list[list[int]]:
    """Return for each patch the indices of the larger ones that contain it.

    Args:
        patches: as many as there are areas.
        areas: (n,) pixels that are set in each.
        share: of its pixels, from which on a patch counts as contained.
    """
    boxes = np.array([patch.box for patch in patches])
    low, high = boxes[:, :2], boxes[:, 2:]
    sides = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    at_most = sides.clip(0).prod(axis=2)  # what two share lies where their boxes overlap
    candidates = (at_most >= share * areas[:, None]) & (areas[None] >= areas[:, None])
    np.fill_diagonal(candidates, val=False)
    containing: list[list[int]] = [[] for _ in patches]
    for index, other in np.argwhere(candidates).tolist():
        shared = patches[index].pixels & patches[other].cut(patches[index].part)
        if np.count_nonzero(shared) >= share * areas[index]:
            containing[index].append(other)
    return containing
