"""Where the number of a region is placed: a raster of the image, and what each place would cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from langchain_vipllava.markers.extent import Extent
from langchain_vipllava.markers.ink import Layer, draw
from langchain_vipllava.markers.kinds import MarkerKind
from langchain_vipllava.markers.scaled import scale_ink
from langchain_vipllava.regions.region import Box

_RASTER_SIDE = 480
"""Longer side of the raster in pixels. Chosen for speed: 80 numbers take a tenth of a second."""

_CONTAINS = 0.9
"""Share of a region from which on another one contains it. Chosen: its number cannot stay out of that one."""

_REACH = 2.0
"""How far from a region a place is looked for first, in label sizes. Chosen: nearly every place lies within two."""

_SMALL = 25
"""Raster pixels of a region up to which a label may have its center on any of them. Chosen: 5 x 5."""

_MARGIN = 2.0
"""Raster pixels by which the own region must be nearer than any other. Chosen above the raster's rounding."""

# Costs, in units of "half a label away from the region". Chosen by looking at grids, screens, shelves and random boxes.
_WRONG = 1000.0
"""A place that is nearer to another region."""
_SHRINK = (1.0, 0.8, 0.6)
"""Sizes of a label that are tried. Chosen: the smallest one has digits of 4 model pixels."""
_BAD = 20.0
"""Cost from which on a smaller label is tried. Chosen above a label in a small region, below one on another label."""
_ON_NUMBER = 60.0
"""All of the label on other labels."""
_ON_OTHER = 8.0
"""All of the label on other regions."""
_ON_OTHER_INK = 4.0
"""All of the label on other markers."""
_ON_OWN_INK = {"arrow": 40.0, "point": 40.0, "scribble": 20.0, "triangle": 12.0}
"""All of the label on its own marker. A label may cover a little of a frame, but not the tip of an arrow."""
_ON_OWN_FRAME = 1.5
_IN_BOX = 6.0
"""All of the label in its own box, whose content it hides."""
_HIDES = 4.0
"""All of its own region under the label."""
_HIDES_FREE = 0.15
"""Share of a mask that a label may hide. Chosen: Set-of-Mark's labels hide about as much."""
_OFF_CENTER = 1.5
"""A place at the edge of a mask, instead of at its widest place."""
_AWAY = 2.0
"""A label's height away from the region, or from the ink of a marker that is no frame."""
_AT_CENTER = 1.0
"""The deepest place of a large region, where its content is, for a marker that is no frame."""
_CROWDED = 1.0
"""A place at another region or label, instead of two label heights away."""
_LARGE = 3.0
"""Short side in label heights from which on the number of an arrow or point lies at its ink, not at the region."""
_READING_ORDER = 0.05
"""The lower right end of a region, instead of its upper left: between equal places."""

_FAR = 1e4
"""Raster pixels to what is not there."""

_INK_ANCHORED = ("arrow", "point", "scribble", "triangle")


Part = tuple[slice, slice]
"""Rows and columns of the raster."""


class Placement:
    """Places for the labels of one image.

    Args:
        extents: one per region.
        kinds: kind of each marker.
        layers: what is drawn for each marker.
        size: (width, height) of the image.
    """

    def __init__(
        self, extents: Sequence[Extent], kinds: Sequence[MarkerKind], layers: Sequence[Layer], size: tuple[int, int]
    ) -> None:
        self._extents, self._kinds, self._size = extents, kinds, size
        self._scale = min(_RASTER_SIDE / max(size), 1.0)
        self._shape = tuple(max(round(side * self._scale), 1) for side in size[::-1])
        self._owns = np.stack([self._region(extent) for extent in extents])
        self._inks = np.stack([self._ink(layer) for layer in layers])
        self._numbers = np.zeros(self._shape, np.uint8)
        flat = self._owns.reshape(len(self._owns), -1).astype(np.float32)
        self._shared = flat @ flat.T
        self._areas = np.diag(self._shared)
        self._cover = self._owns.sum(axis=0, dtype=np.int32)
        self._ink_cover = self._inks.sum(axis=0, dtype=np.int32)

    def place(self, index: int, label: tuple[int, int]) -> Box:
        """Choose the place of one label of `(width, height)` pixels, and keep it free from then on.

        Where the label fits neither in its region nor beside it, it becomes smaller.
        """
        found: list[tuple[float, tuple[float, float], tuple[int, int]]] = []
        for shrink in _SHRINK:
            size = max(round(label[0] * shrink), 1), max(round(label[1] * shrink), 1)
            width, height = (min(side, length) for side, length in zip(size, self._size, strict=True))
            raster_size = max(width * self._scale, 1.0), max(height * self._scale, 1.0)
            center, cost = self._best(index, raster_size, self._window(index, raster_size))
            if cost >= _WRONG:
                center, cost = self._best(index, raster_size, (slice(None), slice(None)))
            found.append((cost, center, (width, height)))
            if cost < _BAD:
                break
        _, center, (width, height) = min(found)
        center_x, center_y = (n / self._scale for n in center)
        x = min(max(round(center_x - width / 2), 0), self._size[0] - width)
        y = min(max(round(center_y - height / 2), 0), self._size[1] - height)
        if not self._extents[index].has_outline:
            x, y = self._flush(self._extents[index].box, (x, y, x + width, y + height))
        left, top, right, bottom = (round(n * self._scale) for n in (x, y, x + width, y + height))
        self._numbers[top : max(bottom, top + 1), left : max(right, left + 1)] = 1
        return x, y, x + width, y + height

    def _window(self, index: int, label: tuple[float, float]) -> Part:
        """Return the rows and columns around a region in which a place is looked for first."""
        x0, y0, x1, y1 = (n * self._scale for n in self._extents[index].box)
        reach = _REACH * max(label)
        return (
            slice(max(int(y0 - reach), 0), int(y1 + reach) + 1),
            slice(max(int(x0 - reach), 0), int(x1 + reach) + 1),
        )

    def _best(self, index: int, label: tuple[float, float], part: Part) -> tuple[tuple[float, float], float]:
        """Return the center (x, y) of the cheapest place in a part of the raster, and its cost."""
        cost = self._cost(index, label, part) + self._outside(label, part)
        row, column = np.unravel_index(int(cost.argmin()), cost.shape)
        return (column + 0.5 + (part[1].start or 0), row + 0.5 + (part[0].start or 0)), float(cost[row, column])

    def _flush(self, own: Box, place: tuple[int, int, int, int]) -> tuple[int, int]:
        """Move a label, by as much as the raster is coarse, to where it touches its box from outside."""
        corner = []
        for axis in (0, 1):
            low, high = place[axis], place[axis + 2]
            before, after = math.floor(own[axis]) - (high - low), math.ceil(own[axis + 2])
            best = min((before, after), key=lambda start: abs(start - low))
            fits = 0 <= best <= self._size[axis] - (high - low)
            corner.append(best if fits and abs(best - low) <= _MARGIN / 2 / self._scale else low)
        return corner[0], corner[1]

    def _cost(self, index: int, label: tuple[float, float], part: Part) -> np.ndarray:
        """Return what a label with its center on each pixel of a part of the raster costs."""
        own, ink = self._owns[index][part], self._inks[index][part]
        kind, extent = self._kinds[index], self._extents[index]
        others, numbers = self._others(index, part), self._numbers[part]
        away, to_others, to_numbers = _distance_to(own), _distance_to(others), _distance_to(numbers)
        in_own = _box_mean(own, label)
        cost: np.ndarray = _ON_OTHER * _box_mean(others, label) + _ON_NUMBER * _box_mean(numbers, label)
        cost += _ON_OTHER_INK * _box_mean(self._ink_cover[part] - ink > 0, label)
        cost += _ON_OWN_INK.get(kind, _ON_OWN_FRAME) * _box_mean(ink, label)
        cost += _CROWDED * (1 - to_others / (2 * label[1])).clip(0) * (away > 0)
        cost += _CROWDED * (1 - to_numbers / (2 * label[1])).clip(0)
        cost += _AWAY * away / label[1] + self._reading_order(extent, part)
        # where every place is wrong, the nearest one is the least so
        cost += _WRONG * self._is_wrong(index, part, away, to_others) * (1 + away / label[1])
        hidden = _HIDES * in_own * label[0] * label[1] / self._areas[index]
        depths: np.ndarray = cv2.distanceTransform(np.pad(own, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        depths = depths / max(float(depths.max()), 1e-6)
        if kind in _INK_ANCHORED and extent.short_side >= _LARGE * label[1] / self._scale:
            cost += hidden + _AWAY * _distance_to(ink) / label[1] + _AT_CENTER * depths
        elif extent.has_outline:
            cost += (hidden - _HIDES * _HIDES_FREE).clip(0) + _OFF_CENTER * (1 - depths)
        else:
            cost += _IN_BOX * in_own + hidden + _AT_CENTER * depths
        return cost

    def _is_wrong(self, index: int, part: Part, away: np.ndarray, to_others: np.ndarray) -> np.ndarray:
        """Return where a label's center is nearer to another region than to its own."""
        own = self._owns[index][part]
        # what contains a point is always nearer, except on the point itself
        is_point = self._extents[index].region.is_point
        to_rest = to_others if is_point else _distance_to(self._cover[part] - own > 0)
        is_large = self._areas[index] > _SMALL
        safely_inside = cv2.erode(own, np.ones((3, 3), np.uint8), borderValue=1) if is_large else own
        wrong: np.ndarray = (away + _MARGIN > to_rest) & (safely_inside == 0)
        return wrong

    def _others(self, index: int, part: Part) -> np.ndarray:
        """Return the pixels of the other regions, but for those that contain this one."""
        containing = (self._shared[index] >= _CONTAINS * self._areas[index]) & (self._areas >= self._areas[index])
        containing[index] = True
        rows, columns = part
        inside = self._owns[containing, rows, columns].sum(axis=0, dtype=np.int32)
        others: np.ndarray = self._cover[part] - inside > 0
        return others

    def _reading_order(self, extent: Extent, part: Part) -> np.ndarray:
        rows, columns = self._centers(part)
        x0, y0, x1, y1 = (n * self._scale for n in extent.box)
        down, right = (rows - y0) / max(y1 - y0, 1.0), (columns - x0) / max(x1 - x0, 1.0)
        order: np.ndarray = _READING_ORDER * (down.clip(-1, 2)[:, None] + right.clip(-1, 2) / 2)
        return order

    def _outside(self, label: tuple[float, float], part: Part) -> np.ndarray:
        """Return infinity where a label would leave the image."""
        outside = []
        for centers, side, half in zip(self._centers(part), self._shape, (label[1] / 2, label[0] / 2), strict=True):
            # at least one pixel, in an image that is too small
            low, high = min(half, side / 2 - 0.5), max(side - half, side / 2 + 0.5)
            outside.append((centers < low) | (centers > high))
        return np.where(outside[0][:, None] | outside[1], np.float32(np.inf), np.float32(0))

    def _centers(self, part: Part) -> list[np.ndarray]:
        """Return the centers of the rows and of the columns of a part."""
        return [(np.arange(side) + 0.5)[piece] for side, piece in zip(self._shape, part, strict=True)]

    def _region(self, extent: Extent) -> np.ndarray:
        """Return the pixels of a region in the raster, at least one."""
        raster = np.zeros(self._shape, np.uint8)
        height, width = self._shape
        x0, y0, x1, y1 = (n * self._scale for n in (extent.box if extent.inside is None else extent.window))
        if extent.region.is_point:
            x0, y0, x1, y1 = (n * self._scale - 0.5 for n in extent.center * 2)  # of the pixel that contains it
        left, top = min(max(round(x0), 0), width - 1), min(max(round(y0), 0), height - 1)
        right, bottom = min(max(round(x1), left + 1), width), min(max(round(y1), top + 1), height)
        raster[top:bottom, left:right] = 1
        if extent.inside is not None:
            inside = cv2.resize(
                extent.inside * np.uint8(255), (right - left, bottom - top), interpolation=cv2.INTER_AREA
            )
            if (inside > 127).any():
                raster[top:bottom, left:right] = inside > 127
        return raster

    def _ink(self, layer: Layer) -> np.ndarray:
        """Return the pixels of a marker in the raster, without the fill of a mask."""
        raster = np.zeros((*self._shape, 1), np.uint8)
        if layer.opacity >= 1:
            for ink in layer.inks:
                draw(raster, scale_ink(ink, (self._scale, self._scale)), (1,), (0, 0))
        return raster[..., 0]


def _box_mean(values: np.ndarray, label: tuple[float, float]) -> np.ndarray:
    """Return the mean of the values under a label around each pixel."""
    size = tuple(max(round(side), 1) for side in label)
    return cv2.blur(values.astype(np.float32), size, borderType=cv2.BORDER_CONSTANT)


def _distance_to(values: np.ndarray) -> np.ndarray:
    """Return each pixel's distance to the nearest one that is set; far away if there is none."""
    if not values.any():
        return np.full(values.shape, _FAR, np.float32)
    distances: np.ndarray = cv2.distanceTransform((values == 0).astype(np.uint8), cv2.DIST_L2, 5)
    return distances
