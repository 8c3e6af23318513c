"""Cropping an image around its marked regions, so that the model sees more than a few pixels of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from langchain_vipllava.images.view import VIEW_SIZE, View
from langchain_vipllava.regions.region import Region

LEAST_SIDE = 42
"""Side of the smallest crop in pixels: below it, even a line of one pixel is over 8 model pixels wide."""

READABLE = 32.0
"""Short side in model pixels that a zoom aims at: a bit over two of the vision tower's 14 px patches."""

_CONTEXT = 0.5
"""Image kept around the regions, in units of their common box' sides, on either side."""

Crop = tuple[int, int, int, int]


def choose_crop(regions: Sequence[Region], size: tuple[int, int]) -> Crop | None:
    """Choose the largest square that shows every region at least `READABLE` pixels wide.

    It is never smaller than `LEAST_SIDE`, so that the marker leaves something of its region to see.

    Args:
        regions: what has to stay visible, in pixels of the image.
        size: (width, height) of the image.

    Returns:
        `(left, top, right, bottom)`, or None when the whole image is readable already or
        no crop would help. If the regions lie too far apart, the crop shows all of them and is
        as tight as its context allows.
    """
    width, height = size
    every = np.array([region.box for region in regions]).clip(0, (width, height, width, height))
    boxes = [box for box, region in zip(every, regions, strict=True) if not region.is_point]
    if not boxes or min(min(View(size).size_of(box)) for box in boxes) >= READABLE:
        return None
    (x0, y0), (x1, y1) = every[:, :2].min(axis=0), every[:, 2:].max(axis=0)
    smallest = min((box[2:] - box[:2]).min() for box in boxes)
    readable = math.floor(smallest * VIEW_SIZE / READABLE)
    side = max(readable, math.ceil(max(x1 - x0, y1 - y0) * (1 + 2 * _CONTEXT)), LEAST_SIDE)
    if side >= max(size):
        return None
    left = _place(side, (x0 + x1) / 2, width)
    top = _place(side, (y0 + y1) / 2, height)
    return left, top, min(left + side, width), min(top + side, height)


def move_region(region: Region, crop: Crop) -> Region:
    """Give a region in the coordinates of a crop of its image."""
    left, top, right, bottom = crop
    x0, y0, x1, y1 = region.box
    width, height = right - left, bottom - top
    moved: dict[str, object] = {"box": (x0 - left, y0 - top, x1 - left, y1 - top)}
    if region.mask is not None:
        part = region.mask[top:bottom, left:right]
        moved["mask"] = part if part.shape == (height, width) else None
    if region.polygon is not None:
        moved["polygon"] = tuple((x - left, y - top) for x, y in region.polygon)
    if region.point is not None:
        moved["point"] = (region.point[0] - left, region.point[1] - top)
    return region.model_copy(update=moved)


def _place(side: int, middle: float, length: int) -> int:
    return round(min(max(middle - side / 2, 0), max(length - side, 0)))
