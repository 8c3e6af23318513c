"""Where the number of a region is placed: a raster of the image, and what each place would cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from langchain_vipllava.markers.extent import Extent
from langchain_vipllava.markers.ink import Layer, draw, with_edge
from langchain_vipllava.markers.kinds import MarkerKind
from langchain_vipllava.markers.raster import Part, Patch, box_mean, distance_to, find_containing, weighted_sum, within
from langchain_vipllava.markers.scaled import scale_ink
from langchain_vipllava.regions.region import Box

_RASTER_SIDE = 480
"""Longer side of the raster in pixels. Chosen for speed: 80 numbers take a tenth of a second."""

_CONTAINS = 0.9
"""Share of a region from which on another one contains it. Chosen: its number cannot stay out of that one."""

_NEAR, _REACH = 1.0, 2.0
"""How far from a region a place is looked for first, and how far what counts may lie, in label sizes. Chosen for speed:
nearly every place lies within one."""

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

_INK_ANCHORED = ("arrow", "point", "scribble", "triangle")


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
        # uint8 holds the 200 numbers of an image
        self._cover, self._ink_cover, self._numbers = np.zeros((3, *self._shape), np.uint8)
        self._owns = [self._region(extent) for extent in extents]
        self._inks = [self._ink(layer) for layer in layers]
        for cover, patches in ((self._cover, self._owns), (self._ink_cover, self._inks)):
            for patch in patches:
                cover[patch.part] += patch.pixels
        self._areas = np.array([np.count_nonzero(own.pixels) for own in self._owns], np.float32)
        self._containing = find_containing(self._owns, self._areas, _CONTAINS)

    def place(self, index: int, label: tuple[int, int]) -> Box:
        """Choose the place of one label of `(width, height)` pixels, and keep it free from then on.

        Where the label fits neither in its region nor beside it, it becomes smaller.
        """
        found: list[tuple[float, tuple[float, float], tuple[int, int]]] = []
        for shrink in _SHRINK:
            size = max(round(label[0] * shrink), 1), max(round(label[1] * shrink), 1)
            width, height = (min(side, length) for side, length in zip(size, self._size, strict=True))
            center, cost = self._search(index, (max(width * self._scale, 1.0), max(height * self._scale, 1.0)))
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

    def _search(self, index: int, label: tuple[float, float]) -> tuple[tuple[float, float], float]:
        """Return the center (x, y) of the cheapest place for a label, and its cost: near the region, else anywhere."""
        near, far = (self._window(index, reach * max(label)) for reach in (_NEAR, _REACH))
        center, cost = self._best(index, label, near, far)
        # a place farther off costs at least its distance
        if cost >= _AWAY * (_NEAR * max(label) - _MARGIN) / label[1] - 1.5 * _READING_ORDER:
            center, cost = self._best(index, label, far, far)
        if cost >= _WRONG:
            anywhere = slice(0, self._shape[0]), slice(0, self._shape[1])
            center, cost = self._best(index, label, anywhere, anywhere)
        return center, cost

    def _window(self, index: int, reach: float) -> Part:
        """Return the rows and columns up to `reach` around a region's box."""
        x0, y0, x1, y1 = (n * self._scale for n in self._extents[index].box)
        height, width = self._shape
        return (
            slice(max(int(y0 - reach), 0), min(int(y1 + reach) + 1, height)),
            slice(max(int(x0 - reach), 0), min(int(x1 + reach) + 1, width)),
        )

    def _best(
        self, index: int, label: tuple[float, float], part: Part, around: Part
    ) -> tuple[tuple[float, float], float]:
        """Return the center (x, y) of the cheapest place in a part of the raster, and its cost.

        What lies in the part `around` it counts.
        """
        cost = self._cost(index, label, part, around)
        row, column = np.unravel_index(int(cost.argmin()), cost.shape)
        return (column + 0.5 + part[1].start, row + 0.5 + part[0].start), float(cost[row, column])

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

    def _cost(self, index: int, label: tuple[float, float], part: Part, around: Part) -> np.ndarray:
        """Return what a label with its center on each pixel of a part of the raster costs."""
        kind, extent, inner = self._kinds[index], self._extents[index], within(part, around)
        own_around = self._owns[index].cut(around)
        own, others = own_around[inner], self._others(index, around, own_around)
        ink, numbers = self._inks[index].cut(around), self._numbers[around]
        away, to_others = distance_to(own), distance_to(others)[inner]
        at_ink = kind in _INK_ANCHORED and extent.short_side >= _LARGE * label[1] / self._scale
        hides_some = extent.has_outline and not at_ink
        hides = _HIDES * label[0] * label[1] / self._areas[index]
        covered = (
            (others, _ON_OTHER),
            (numbers, _ON_NUMBER),
            (self._ink_cover[around] > ink, _ON_OTHER_INK),
            (ink, _ON_OWN_INK.get(kind, _ON_OWN_FRAME)),
            (own_around, 0.0 if hides_some else hides + _IN_BOX * (not at_ink)),
        )
        cost = box_mean(weighted_sum(covered), label)[inner]
        cost += _CROWDED * _nearness(to_others, label) * (away > 0)
        if numbers.any():
            cost += _CROWDED * _nearness(distance_to(numbers)[inner], label)
        cost += away * (_AWAY / label[1])
        rows, columns = self._by_axis(extent, label, part)
        cost += rows[:, None]
        cost += columns
        # wrong is what is nearer to another region; where every place is, the nearest one is the least so
        to_rest = to_others
        if self._containing[index] and not extent.region.is_point:
            # what contains a point is always nearer, except on the point itself
            to_rest = distance_to(self._cover[around] > own_around)[inner]
        is_large = self._areas[index] > _SMALL
        safely_inside = cv2.erode(own, np.ones((3, 3), np.uint8), borderValue=1) if is_large else own
        wrong = (away + _MARGIN > to_rest) & (safely_inside == 0)
        cost[wrong] += _WRONG * (1 + away[wrong] / label[1])
        depths = _depths(own)
        if at_ink:
            cost += (_AWAY / label[1]) * distance_to(ink)[inner] + _AT_CENTER * depths
        elif hides_some:
            hidden = hides * box_mean(own_around.astype(np.float32), label)[inner]
            cost += (hidden - _HIDES * _HIDES_FREE).clip(0) + _OFF_CENTER * (1 - depths)
        else:
            cost += _AT_CENTER * depths
        return cost

    def _others(self, index: int, part: Part, inside: np.ndarray) -> np.ndarray:
        """Return the pixels of the other regions, but for those that contain this one, which lies `inside`."""
        for other in self._containing[index]:
            inside = inside + self._owns[other].cut(part)
        others: np.ndarray = self._cover[part] > inside
        return others

    def _by_axis(self, extent: Extent, label: tuple[float, float], part: Part) -> list[np.ndarray]:
        """Return what the rows and the columns cost: the reading order, and infinity where a label leaves the image."""
        x0, y0, x1, y1 = (n * self._scale for n in extent.box)
        costs = []
        for axis, (low, high, share) in enumerate(((y0, y1, 1.0), (x0, x1, 0.5))):
            side, half = self._shape[axis], label[1 - axis] / 2
            centers = np.arange(part[axis].start, part[axis].stop) + 0.5
            order = share * _READING_ORDER * ((centers - low) / max(high - low, 1.0)).clip(-1, 2)
            # at least one pixel, in an image that is too small
            fits = (centers >= min(half, side / 2 - 0.5)) & (centers <= max(side - half, side / 2 + 0.5))
            costs.append(np.where(fits, order, np.inf).astype(np.float32))
        return costs

    def _region(self, extent: Extent) -> Patch:
        """Return the pixels of a region in the raster, at least one."""
        height, width = self._shape
        x0, y0, x1, y1 = (n * self._scale for n in (extent.box if extent.inside is None else extent.window))
        if extent.region.is_point:
            x0, y0, x1, y1 = (n * self._scale - 0.5 for n in extent.center * 2)  # of the pixel that contains it
        left, top = min(max(round(x0), 0), width - 1), min(max(round(y0), 0), height - 1)
        right, bottom = min(max(round(x1), left + 1), width), min(max(round(y1), top + 1), height)
        pixels = np.ones((bottom - top, right - left), np.uint8)
        if extent.inside is not None:
            inside = cv2.resize(extent.inside * np.uint8(255), pixels.shape[::-1], interpolation=cv2.INTER_AREA) > 127
            if inside.any():
                pixels = inside.astype(np.uint8)
        return Patch(pixels, left, top)

    def _ink(self, layer: Layer) -> Patch:
        """Return the pixels of a marker in the raster, without the fill of a mask."""
        if layer.opacity < 1:
            return Patch(np.zeros((0, 0), np.uint8), 0, 0)
        scaled = replace(layer, inks=[scale_ink(ink, (self._scale, self._scale)) for ink in layer.inks])
        height, width = self._shape
        left, top, right, bottom = with_edge(scaled.bounds((width, height)), (width, height))
        pixels = np.zeros((max(bottom - top, 0), max(right - left, 0), 1), np.uint8)
        for ink in scaled.inks:
            draw(pixels, ink, (1,), (left, top))
        return Patch(pixels[..., 0], left, top)


def _depths(own: np.ndarray) -> np.ndarray:
    """Return how deep inside a region each pixel lies, from 0 to 1 at the deepest one."""
    padded = cv2.copyMakeBorder(own, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0,))
    depths: np.ndarray = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    return depths / max(float(depths.max()), 1e-6)


def _nearness(distance: np.ndarray, label: tuple[float, float]) -> np.ndarray:
    """Return 1 at something, and 0 from two label heights away on."""
    nearness: np.ndarray = (1 - distance / (2 * label[1])).clip(0)
    return nearness
