"""Fit markers to their regions and to one another: thinner on small regions, apart where they would coincide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from langchain_vipllava.markers.extent import Extent
from langchain_vipllava.markers.kinds import MarkerKind, spec_of
from langchain_vipllava.markers.style import LINE_WIDTH, POINT_RADIUS, Style, choose_style

_FULL_SIDE = 30.0
"""Breadth in model pixels from which on a region gets the sizes of training. Chosen: a constant line of 3 px covers a
tenth of it. The smallest object that the bundled checkpoint was trained on has 40."""

_MIN_WIDTH = 1.5
"""Smallest line in model pixels. Chosen: wherever it lies, most of a pixel of the model's square is ink."""

_DOT = 3.0
"""Long side in model pixels below which a region is a dot, and keeps the line of training: a thinner one would be lost.
Chosen: that line."""

_MIN_INSET_WIDTH = 1.0
"""Smallest line that lies inside its region because neighbors touch. Chosen: one pixel of the model's square."""

_MIN_RADIUS = 2.0
"""Smallest point in model pixels. Chosen by looking: below, its color is lost."""

_PITCH = 1.6
"""Distance between the lines of equal boxes, in line widths. Chosen by looking: a gap shows between them."""

_NEAR = 1.2
"""Distance of their sides below which two boxes count as equal, in line widths. Chosen: farther apart, a gap shows."""

_DEPTH = 0.3
"""Share of a region's short side that the lines of equal boxes may fill. Chosen: two fifths remain in the middle."""

_TOUCHING = 1.0
"""Overlap in model pixels up to which boxes count as side by side. Chosen: detectors round cells of a grid outwards."""

_FACING = 0.5
"""Share of the shorter side along which two boxes must face one another to count as neighbors. Chosen."""

_FRAMES = ("rectangle", "mask contour")


@dataclass(frozen=True)
class Sizes:
    """The sizes that the caller asked for; None where a size is chosen and may shrink.

    Attributes:
        width: line width in model pixels.
        radius: radius of points in model pixels.
        opacity: 0 to 1.
    """

    width: float | None = None
    radius: float | None = None
    opacity: float | None = None

    def check(self) -> None:
        """Check the sizes.

        Raises:
            MarkerError: a size that is not positive or larger than the model's square, or an opacity outside 0..1.
        """
        self.choose("rectangle")

    def choose(self, kind: MarkerKind, rng: np.random.Generator | None = None, unit: float = 1.0) -> Style:
        """Choose the sizes of a marker on a large region; `unit` pixels of the image are one of the model's square."""
        return choose_style(spec_of(kind), rng, unit, width=self.width, radius=self.radius, opacity=self.opacity)

    def choose_each(self, kinds: Sequence[MarkerKind], rng: np.random.Generator | None, unit: float) -> list[Style]:
        """Choose the sizes of several markers, as `choose` does; constant ones of a kind are all the same."""
        if rng is not None:
            return [self.choose(kind, rng, unit) for kind in kinds]
        constant = {kind: self.choose(kind) for kind in set(kinds)}
        return [constant[kind] for kind in kinds]

    def fit(self, extents: Sequence[Extent], kinds: Sequence[MarkerKind], styles: Sequence[Style]) -> list[Style]:
        """Fit the sizes of markers to their regions, and move markers of equal regions apart."""
        rooms = _rooms_outside(extents)
        fitted = [
            self._fit(style, extent, room if kind in _FRAMES else np.inf)
            for style, extent, kind, room in zip(styles, extents, kinds, rooms, strict=True)
        ]
        for group in _equal_groups(extents, kinds, fitted):
            _spread(fitted, extents, group)
        return fitted

    def fit_alone(self, extent: Extent, style: Style) -> Style:
        """Fit the sizes of a marker to its region, as if there were no other one."""
        return self._fit(style, extent, np.inf)

    def _fit(self, style: Style, extent: Extent, room: float) -> Style:
        """Shrink a marker on a small region; `room` outside the box is in model pixels.

        Hand-drawn markers keep the sizes of training, whose lines lie inside the box.
        """
        if style.rng is not None:
            return replace(style, inset=style.width / 2)
        shrink = min(extent.breadth / extent.unit / _FULL_SIDE, 1.0)
        is_dot = extent.long_side / extent.unit < _DOT
        width = style.width if self.width or is_dot else max(style.width * shrink, min(style.width, _MIN_WIDTH))
        outside = width - min(style.width * shrink, width) / 2
        if outside > room and not is_dot:
            if not self.width:
                width = max(style.width * shrink, min(style.width, _MIN_INSET_WIDTH))
            outside = min(room, width / 2)
        radius = style.radius if self.radius else max(style.radius * shrink, min(style.radius, _MIN_RADIUS))
        return Style(width, radius, style.opacity, style.ellipse_scale, width / 2 - outside, shrink)


CHOSEN_SIZES = Sizes()
"""The sizes of training, as far as the regions allow."""


def draw_order(extents: Sequence[Extent], kinds: Sequence[MarkerKind]) -> list[int]:
    """Return the indices of markers in the order in which none hides another: as they come, where none would.

    Otherwise filled masks come first, then large regions, then small ones.
    """
    boxes = np.array([extent.box for extent in extents])
    sizes = boxes[:, 2:] - boxes[:, :2]
    areas = sizes.prod(axis=1)
    shared = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    overlap = shared.clip(0).prod(axis=2)
    filled = np.array([kind == "mask" for kind in kinds])
    earlier = np.triu(np.ones((len(kinds), len(kinds)), bool), 1)
    contained = (overlap >= 0.8 * areas[:, None]) & (areas[:, None] < areas[None, :])  # 0.8: all but a strip
    covered = (overlap > 0) & filled[None, :] & ~filled[:, None]
    if not (earlier & (contained | covered)).any():
        return list(range(len(kinds)))
    return sorted(range(len(kinds)), key=lambda index: (not filled[index], -areas[index]))


def _rooms_outside(extents: Sequence[Extent]) -> list[float]:
    """Return how far the line of each box may reach outside it: half the gap to a neighbor, in model pixels."""
    if len(extents) == 1:
        return [np.inf]
    boxes = np.array([extent.box for extent in extents]) / extents[0].unit
    low, high = boxes[:, :2], boxes[:, 2:]
    gaps = np.maximum(low[None] - high[:, None], low[:, None] - high[None])  # (n, n, 2), negative where they overlap
    shorter = np.minimum((high - low)[:, None], (high - low)[None])
    rooms = np.full(gaps.shape[:2], np.inf)
    for axis in (0, 1):
        facing = -gaps[..., 1 - axis] >= _FACING * shorter[..., 1 - axis]
        beside = facing & (gaps[..., axis] >= -_TOUCHING) & (shorter[..., axis] > 2 * _TOUCHING)
        rooms = np.minimum(rooms, np.where(beside, gaps[..., axis].clip(0) / 2, np.inf))
    np.fill_diagonal(rooms, np.inf)
    return [float(room) for room in rooms.min(axis=1)]


def _equal_groups(extents: Sequence[Extent], kinds: Sequence[MarkerKind], styles: Sequence[Style]) -> list[list[int]]:
    """Return the groups, of two or more markers, that would be drawn on the same pixels."""
    boxes = np.array([extent.box for extent in extents])
    widths = np.array([style.width for style in styles])
    near = abs(boxes[:, None] - boxes[None]).max(axis=2) <= _NEAR * widths[:, None] * extents[0].unit
    groups: dict[int, list[int]] = {}  # by their first marker
    for index, candidates in enumerate(np.tril(near)):
        family = _family(extents[index], kinds[index])
        equal = (
            first
            for first in np.flatnonzero(candidates).tolist()
            if first in groups and _family(extents[first], kinds[first]) == family
        )
        groups.setdefault(next(equal, index), []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def _family(extent: Extent, kind: MarkerKind) -> str:
    """Return what is drawn: the contour of a bare box is a rectangle."""
    return "rectangle" if kind == "mask contour" and not extent.has_outline else kind


def _spread(styles: list[Style], extents: Sequence[Extent], group: Sequence[int]) -> None:
    """Number the markers of equal regions, and thin their lines until they fit inside one another."""
    unit, first = extents[group[0]].unit, extents[group[0]]
    for index in group:
        if styles[index].rng is not None:  # of random sizes, one would hide another
            width, radius = min(styles[index].width, LINE_WIDTH.constant), POINT_RADIUS.constant
            styles[index] = replace(styles[index], width=width, radius=radius, inset=0.0)
    short = min(extents[index].short_side for index in group) / unit
    unequal = max(first.difference(extents[index]) for index in group) / unit
    widest = max(styles[index].width for index in group)
    pitch = min(_PITCH * widest + unequal, _DEPTH * short / (len(group) - 1))
    for rank, index in enumerate(group):
        styles[index] = replace(
            styles[index],
            width=min(styles[index].width, pitch / _PITCH),
            inset=styles[index].inset + rank * pitch,
            ellipse_scale=styles[group[0]].ellipse_scale,
            rank=rank,
            ranks=len(group),
        )
