"""Crop an image around its marked regions, so that the model sees more than a few pixels of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from langchain_vipllava.images.view import VIEW_SIZE, View
from langchain_vipllava.regions.region import Region

MIN_SIDE = 42
"""Side of the smallest crop in pixels. Below 336 / 8 = 42, one pixel exceeds the training's line of 8 model pixels."""

READABLE = 32.0
"""Short side of a readable region in model pixels. Chosen: a little over two 14 px patches of the vision tower."""

CONTEXT = 0.5
"""Context on each side of the regions, in units of their common box. Chosen by looking."""

Crop = tuple[int, int, int, int]


def choose_crop(
    regions: Sequence[Region], size: tuple[int, int], context: float = CONTEXT, view_size: int = VIEW_SIZE
) -> Crop | None:
    """Choose the largest square in which every region is at least `READABLE` pixels wide.

    It is never smaller than `MIN_SIDE`, so that a marker does not cover its region.

    Args:
        regions: what must stay visible, in pixels of the image.
        size: (width, height) of the image.
        context: on each side of the regions, in units of their common box.
        view_size: side of the model's square in pixels.

    Returns:
        `(left, top, right, bottom)`, or None when every region is readable in the whole image, or no crop would help.
        For regions that are far apart, the crop shows all of them with their context.
    """
    width, height = size
    all_boxes = np.array([region.box for region in regions]).clip(0, (width, height, width, height))
    boxes = [box for box, region in zip(all_boxes, regions, strict=True) if not region.is_point]
    if not boxes or min(min(View(size, view_size).size_of(box)) for box in boxes) >= READABLE:
        return None
    (x0, y0), (x1, y1) = all_boxes[:, :2].min(axis=0), all_boxes[:, 2:].max(axis=0)
    smallest = min((box[2:] - box[:2]).min() for box in boxes)
    readable = math.floor(smallest * view_size / READABLE)
    side = max(readable, math.ceil(max(x1 - x0, y1 - y0) * (1 + 2 * context)), MIN_SIDE)
    if side >= max(size):
        return None
    left = _place(side, (x0 + x1) / 2, width)
    top = _place(side, (y0 + y1) / 2, height)
    return left, top, min(left + side, width), min(top + side, height)


def is_readable_together(
    regions: Sequence[Region], size: tuple[int, int], context: float, view_size: int = VIEW_SIZE
) -> bool:
    """Whether one view can show these regions, each as readable as a crop around it alone.

    Args:
        regions: in pixels of the image.
        size: (width, height) of the image.
        context: see `choose_crop`.
        view_size: see `choose_crop`.
    """
    together = choose_crop(regions, size, context, view_size) or (0, 0, *size)
    side = max(together[2] - together[0], together[3] - together[1])
    for region in regions:
        if region.is_point:
            continue
        alone = choose_crop([region], size, context, view_size) or (0, 0, *size)
        x0, y0, x1, y1 = region.box
        short = min(min(x1, size[0]) - max(x0, 0), min(y1, size[1]) - max(y0, 0))
        if short * view_size / side < READABLE and side > max(alone[2] - alone[0], alone[3] - alone[1]):
            return False
    return True


def move_region(region: Region, crop: Crop) -> Region:
    """Return a region in the coordinates of a crop of its image."""
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


def _place(side: int, center: float, length: int) -> int:
    return round(min(max(center - side / 2, 0), max(length - side, 0)))
