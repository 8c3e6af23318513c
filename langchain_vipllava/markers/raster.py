"""Arithmetic on rasters of 0 and 1: what covers a place, and how far the next thing is."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

Part = tuple[slice, slice]
"""Rows and columns of a raster."""

_FAR = 1e4
"""Pixels to what is not there."""

_BITS = np.arange(256)[:, None] >> np.arange(8) & 1
"""(256, 8): the bits of every byte."""


def within(part: Part, around: Part) -> Part:
    """Return where a part lies in a larger one."""
    rows, columns = (slice(p.start - a.start, p.stop - a.start) for p, a in zip(part, around, strict=True))
    return rows, columns


def weighted_sum(rasters: Iterable[tuple[np.ndarray, float]]) -> np.ndarray:
    """Return at each pixel the sum of the weights of the rasters that are set there, as float32.

    Args:
        rasters: up to eight, of 0 and 1 as uint8 or bool, each with its weight.
    """
    codes, weights = np.zeros((), np.uint8), np.zeros(8)
    for bit, (raster, weight) in enumerate(rasters):
        codes = codes | raster.view(np.uint8) << np.uint8(bit)
        weights[bit] = weight
    summed: np.ndarray = cv2.LUT(codes, (_BITS @ weights).astype(np.float32))
    return summed


def box_mean(values: np.ndarray, size: tuple[float, float]) -> np.ndarray:
    """Return the mean of float32 values in a box of (width, height) around each pixel; outside they are 0."""
    sides = tuple(max(round(side), 1) for side in size)
    return cv2.blur(values, sides, borderType=cv2.BORDER_CONSTANT)


def distance_to(raster: np.ndarray) -> np.ndarray:
    """Return each pixel's distance to the nearest one that is set; far away if there is none."""
    if not raster.any():
        return np.full(raster.shape, _FAR, np.float32)
    distances: np.ndarray = cv2.distanceTransform((raster == 0).view(np.uint8), cv2.DIST_L2, 5)
    return distances


def find_containing(rasters: np.ndarray, boxes: np.ndarray, areas: np.ndarray, share: float) -> list[list[int]]:
    """Return for each raster the indices of the larger ones that contain it.

    Args:
        rasters: (n, rows, columns), 0 or 1.
        boxes: (n, 4) whole pixels `(left, top, right, bottom)` around what is set in each.
        areas: (n,) pixels that are set in each.
        share: of its pixels, from which on a raster counts as contained.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    sides = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    at_most = sides.clip(0).prod(axis=2)  # what two share lies where their boxes overlap
    candidates = (at_most >= share * areas[:, None]) & (areas[None] >= areas[:, None])
    np.fill_diagonal(candidates, val=False)
    containing: list[list[int]] = [[] for _ in rasters]
    for index, other in np.argwhere(candidates):
        left, top = np.maximum(low[index], low[other])
        right, bottom = np.minimum(high[index], high[other])
        place = np.s_[top:bottom, left:right]
        if np.count_nonzero(rasters[index][place] & rasters[other][place]) >= share * areas[index]:
            containing[index].append(int(other))
    return containing
