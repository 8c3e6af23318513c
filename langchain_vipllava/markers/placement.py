"""Where the number of a region is placed: a raster of the image, and what each place would cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from langchain_vipllava.locks import cached_property
from langchain_vipllava.markers.extent import Extent
from langchain_vipllava.markers.ink import Layer, draw, with_edge
from langchain_vipllava.markers.kinds import MarkerKind
from langchain_vipllava.markers.raster import FAR, Part, Patch, box_mean, distance_to, find_containing, grow, within
from langchain_vipllava.markers.scaled import scale_ink
from langchain_vipllava.markers.territories import Territories
from langchain_vipllava.regions.region import Box

_RASTER_SIDE = 480
"""Longer side of the raster in pixels. Chosen for speed: 80 numbers take some 20 ms."""

_CONTAINS = 0.9
"""Share of a region from which on another one contains it. Chosen: its number cannot stay out of that one."""

_NEAR, _REACH = 1.5, 2.0
"""How far from a region a place is looked for first, in label heights, and at most, in label sizes. Chosen for speed:
nine of ten places lie within the first."""

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

_MANY = 20
"""Regions, or labels of one size, from which on what they share is computed once for all of the raster. Chosen for
speed: maps of the raster take as long as parts of it around some 20 regions."""


class Placement:
    """Places for the labels of one image.

    Args:
        extents: one per region.
        kinds: kind of each marker.
        layers: what is drawn for each marker.
        size: (width, height) of the image.
        labels: (width, height) of each label in pixels.
    """

    def __init__(
        self,
        extents: Sequence[Extent],
        kinds: Sequence[MarkerKind],
        layers: Sequence[Layer],
        size: tuple[int, int],
        labels: Sequence[tuple[int, int]],
    ) -> None:
        self._extents, self._kinds, self._size, self._labels = extents, kinds, size, labels
        self._scale = min(_RASTER_SIDE / max(size), 1.0)
        self._shape = tuple(max(round(side * self._scale), 1) for side in size[::-1])
        # uint8 holds the 200 numbers of an image
        self._cover, self._ink_cover = np.zeros((2, *self._shape), np.uint8)
        self._owns = [self._region(extent) for extent in extents]
        self._inks = [self._ink(layer) for layer in layers]
        for cover, patches in ((self._cover, self._owns), (self._ink_cover, self._inks)):
            for patch in patches:
                cover[patch.part] += patch.pixels
        self._areas = np.array([np.count_nonzero(own.pixels) for own in self._owns], np.float32)
        self._containing = find_containing(self._owns, self._areas, _CONTAINS)
        self._numbers = np.zeros(self._shape, np.float32)
        self._to_numbers = np.full(self._shape, FAR, np.float32)
        self._felt = 2 * self._scale * max(height for _, height in labels)
        self._centers = [np.arange(side, dtype=np.float32) + 0.5 for side in self._shape]
        self._sizes = Counter(map(self._in_raster, labels))
        self._shared: dict[tuple[float, float], np.ndarray] = {}

    @cached_property
    def _territories(self) -> Territories:
        return Territories.of(self._owns, self._cover)

    def place(self, index: int) -> Box:
        """Choose the place of one label, and keep it free from then on.

        Where the label fits neither in its region nor beside it, it becomes smaller.
        """
        found: list[tuple[float, tuple[float, float], tuple[int, int]]] = []
        for shrink in _SHRINK:
            size = (max(round(side * shrink), 1) for side in self._labels[index])
            width, height = (min(side, length) for side, length in zip(size, self._size, strict=True))
            center, cost = self._search(index, self._in_raster((width, height)))
            found.append((cost, center, (width, height)))
            if cost < _BAD:
                break
        _, center, (width, height) = min(found)
        center_x, center_y = (n / self._scale for n in center)
        x = min(max(round(center_x - width / 2), 0), self._size[0] - width)
        y = min(max(round(center_y - height / 2), 0), self._size[1] - height)
        if not self._extents[index].has_outline:
            x, y = self._flush(self._extents[index].box, (x, y, x + width, y + height))
        self._keep_free((x, y, x + width, y + height))
        return x, y, x + width, y + height

    def _keep_free(self, place: tuple[int, int, int, int]) -> None:
        """Take note of a label that is placed."""
        left, top, right, bottom = (round(n * self._scale) for n in place)
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        self._numbers[top:bottom, left:right] = _ON_NUMBER
        part = grow((slice(top, bottom), slice(left, right)), (self._felt, self._felt), self._shape)
        down, across = (
            np.maximum(abs(at[p] - (first + last) / 2) - (last - first - 1) / 2, 0) ** 2
            for at, p, first, last in zip(self._centers, part, (top, left), (bottom, right), strict=True)
        )
        nearest = self._to_numbers[part]
        np.minimum(nearest, np.sqrt(down[:, None] + across), out=nearest)

    def _search(self, index: int, label: tuple[float, float]) -> tuple[tuple[float, float], float]:
        """Return the center (x, y) of the cheapest place for a label, and its cost: near the region, else anywhere."""
        reach, farthest = _NEAR * label[1], _REACH * max(label)
        # what contains a point is nearer nearly everywhere
        contained_point = bool(self._containing[index]) and self._extents[index].region.is_point
        exactly = contained_point or len(self._extents) < _MANY
        center, cost = self._best(index, label, self._window(index, reach), exactly=exactly)
        # a place farther off costs at least its distance
        needed = (cost + 1.5 * _READING_ORDER) * label[1] / _AWAY + _MARGIN
        if needed > reach:
            center, cost = self._best(index, label, self._window(index, min(needed, farthest)), exactly=exactly)
        if cost >= _WRONG:
            anywhere = slice(0, self._shape[0]), slice(0, self._shape[1])
            center, cost = self._best(index, label, anywhere, exactly=True)
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
        self, index: int, label: tuple[float, float], part: Part, *, exactly: bool
    ) -> tuple[tuple[float, float], float]:
        """Return the center (x, y) of the cheapest place in a part of the raster, and its cost."""
        cost = self._cost(index, label, part, exactly=exactly)
        row, column = divmod(int(cost.argmin()), cost.shape[1])
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

    def _cost(self, index: int, label: tuple[float, float], part: Part, *, exactly: bool) -> np.ndarray:
        """Return what a label with its center on each pixel of a part of the raster costs."""
        extent, own = self._extents[index], self._owns[index]
        at_ink = self._kinds[index] in _INK_ANCHORED and extent.short_side >= _LARGE * label[1] / self._scale
        hides_some = extent.has_outline and not at_ink
        hides = _HIDES * label[0] * label[1] / self._areas[index]
        cost = self._mean_cover(index, label, part, 0.0 if hides_some else hides + _IN_BOX * (not at_ink))
        cost += _nearness(self._to_numbers[part], label)
        if at_ink:
            cost += (_AWAY / label[1]) * distance_to(self._inks[index].cut(part))
        elif hides_some:
            around = grow(part, label, self._shape)
            hidden = hides * box_mean(own.cut(around).astype(np.float32), label)[within(part, around)]
            cost += np.maximum(hidden - _HIDES * _HIDES_FREE, 0) + _OFF_CENTER
        cost[within(own.part, part)] += (-_OFF_CENTER if hides_some else _AT_CENTER) * _depths(own.pixels)
        rows, columns = (self._order(extent, axis, part[axis]) for axis in (0, 1))
        cost += rows[:, None]
        cost += columns
        if exactly:
            away, to_others, wrong = self._measure(index, label, part)
            cost += self._common_cost(label, part, away, to_others)
            # where every place is wrong, the nearest one is the least so
            cost += _WRONG * (1 + away / label[1]) * wrong
        else:
            wrong = self._territories.nearest[part] != index
            wrong[within(own.part, part)] &= ~self._safely_inside(index)
            cost += self._shared_cost(label, part)
            cost += np.float32(_WRONG) * wrong
        return cost

    def _order(self, extent: Extent, axis: int, part: slice) -> np.ndarray:
        """Return what the rows or columns of a part cost for the reading order."""
        low, high = (extent.box[side] * self._scale for side in (1 - axis, 3 - axis))
        length, most = max(high - low, 1.0), _READING_ORDER / (1 + axis)
        order = np.interp(self._centers[axis][part], (low - length, low + 2 * length), (-most, 2 * most))
        costs: np.ndarray = order.astype(np.float32)
        return costs

    def _mean_cover(self, index: int, label: tuple[float, float], part: Part, on_own: float) -> np.ndarray:
        """Return what the pixels under a label cost, with its center on each pixel of a part.

        What lies there costs the same for all regions, as `_common_cost` has it, but for the region, its marker and
        what contains it. This is the difference, and the numbers.

        Args:
            index: of the region.
            label: (width, height) in pixels of the raster.
            part: of the raster.
            on_own: what it costs if all of the label is on its own region.
        """
        around = grow(part, (label[0] / 2 + 1, label[1] / 2 + 1), self._shape)
        own, ink, weights = self._owns[index], self._inks[index], self._numbers[around].copy()
        if self._containing[index]:
            others = self._others(index, around, own.cut(around))
            weights += _ON_OTHER * (others - (self._cover[around] > 0).astype(np.float32))
            own.add_to(weights, around, np.float32(on_own))
        else:
            own.add_to(weights, around, on_own - np.float32(_ON_OTHER) * (self._cover[own.part] == 1))
        on_ink = _ON_OWN_INK.get(self._kinds[index], _ON_OWN_FRAME)
        ink.add_to(weights, around, on_ink - np.float32(_ON_OTHER_INK) * (self._ink_cover[ink.part] == 1))
        return box_mean(weights, label)[within(part, around)]

    def _shared_cost(self, label: tuple[float, float], part: Part) -> np.ndarray:
        """Return what a label costs where its own region is the nearest one: see `_common_cost`."""
        is_common = self._sizes[label] >= _MANY
        if is_common and label in self._shared:
            return self._shared[label][part]
        where = (slice(0, self._shape[0]), slice(0, self._shape[1])) if is_common else part
        cost = self._common_cost(label, where, self._territories.away[where], self._territories.to_next[where])
        if is_common:
            self._shared[label] = cost
        return cost[part] if is_common else cost

    def _common_cost(
        self, label: tuple[float, float], part: Part, away: np.ndarray, to_others: np.ndarray
    ) -> np.ndarray:
        """Return what a label costs in a part whichever region it belongs to; infinity where it leaves the image.

        Args:
            label: (width, height) in pixels of the raster.
            part: of the raster.
            away: distance of its pixels to the region.
            to_others: the same to the next other one.
        """
        around = grow(part, (label[0] / 2 + 1, label[1] / 2 + 1), self._shape)
        covered = (self._cover[around] > 0) * np.float32(_ON_OTHER)
        covered += (self._ink_cover[around] > 0) * np.float32(_ON_OTHER_INK)
        cost = box_mean(covered, label)[within(part, around)]
        cost += np.float32(_AWAY / label[1]) * away
        cost += _nearness(to_others, label)
        for axis, by_axis in enumerate((cost, cost.T)):
            start, side, half = part[axis].start, self._shape[axis], label[1 - axis] / 2
            # at least one pixel, in an image that is too small
            by_axis[: max(math.ceil(min(half, side / 2 - 0.5) - 0.5) - start, 0)] = np.inf
            by_axis[max(math.floor(max(side - half, side / 2 + 0.5) + 0.5) - start, 0) :] = np.inf
        return cost

    def _measure(self, index: int, label: tuple[float, float], part: Part) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return for each pixel of a part how far a region and the next other one are, and whether it is wrong.

        `Territories` has them for all regions, but not where the nearest one does not count, nor where all is wrong.
        """
        around = grow(part, (2 * label[1], 2 * label[1]), self._shape)
        inner, own = within(part, around), self._owns[index].cut(around)
        away, to_others = distance_to(own)[inner], distance_to(self._others(index, around, own))[inner]
        # wrong is what is nearer to another region
        to_rest = to_others
        if self._containing[index] and not self._extents[index].region.is_point:
            # what contains a point is always nearer, except on the point itself
            to_rest = distance_to(self._cover[around] > own)[inner]
        wrong = away + _MARGIN > to_rest
        wrong[within(self._owns[index].part, part)] &= ~self._safely_inside(index)
        return away, np.where(away > 0, to_others, FAR), wrong

    def _safely_inside(self, index: int) -> np.ndarray:
        """Return at which pixels of its patch a region's label may have its center even if another region is there."""
        own = self._owns[index].pixels
        if self._areas[index] > _SMALL:
            own = cv2.erode(own, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
        return own > 0

    def _others(self, index: int, part: Part, inside: np.ndarray) -> np.ndarray:
        """Return the pixels of the other regions, but for those that contain this one, which lies `inside`."""
        for other in self._containing[index]:
            inside = inside + self._owns[other].cut(part)
        others: np.ndarray = self._cover[part] > inside
        return others

    def _in_raster(self, label: tuple[int, int]) -> tuple[float, float]:
        return max(label[0] * self._scale, 1.0), max(label[1] * self._scale, 1.0)

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
    """Return what a place costs beside something: nothing from two label heights away on."""
    nearness: np.ndarray = distance * np.float32(-_CROWDED / (2 * label[1]))
    nearness += _CROWDED
    np.maximum(nearness, 0, out=nearness)
    return nearness
