"""`Ground`: the image below the markers, and which of them stand out from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from langchain_vipllava.markers.assignment import Look
from langchain_vipllava.markers.contrast import (
    MarkerPixels,
    SeenImage,
    clear_shares,
    different_shares,
    marked_shares,
)
from langchain_vipllava.markers.extent import Extent
from langchain_vipllava.markers.ink import Ink, Layer
from langchain_vipllava.markers.kinds import MarkerColor, MarkerKind, spec_of
from langchain_vipllava.markers.layout import Sizes
from langchain_vipllava.markers.marker import FAINT_SHARE
from langchain_vipllava.markers.style import Style

_WIDE = 1.5
"""Line width in model pixels from which on a line shows its full color. Chosen: as the smallest constant line."""

_AT_ONCE = 32
"""Markers whose pixels are compared at once. Chosen: 200 half transparent markers take 22 MB at their peak."""


class Ground:
    """An image before it is marked, as the model sees it.

    Args:
        seen: the image.
        extents: what is marked.
        sizes: the sizes that the caller asked for.
    """

    def __init__(self, seen: SeenImage, extents: Sequence[Extent], sizes: Sizes) -> None:
        self._seen, self._extents, self._sizes = seen, extents, sizes
        self._styles: dict[MarkerKind, Style] = {}
        self._alone: dict[tuple[int, MarkerKind], tuple[Style, list[Ink]]] = {}
        self._shares: dict[tuple[int, MarkerKind], dict[MarkerColor, float]] = {}
        self._pixels: dict[tuple[int, MarkerKind], MarkerPixels] = {}

    def expect(self, markers: Iterable[tuple[int, MarkerKind]]) -> None:
        """Look at the pixels of several markers at once, which takes half the time of one after the other.

        Args:
            markers: the index of a region, and a kind that `clear_share` will be asked about.
        """
        by_opacity: dict[float, list[tuple[int, MarkerKind]]] = {}
        for index, kind in markers:
            style, inks = self._draw_alone(index, kind)
            self._pixels[index, kind] = self._seen.pixels_of(inks)
            by_opacity.setdefault(style.opacity, []).append((index, kind))
        for opacity, group in by_opacity.items():
            for start in range(0, len(group), _AT_ONCE):
                some = group[start : start + _AT_ONCE]
                shares = clear_shares(self._seen, [self._pixels[marker] for marker in some], opacity)
                self._shares.update(zip(some, shares, strict=True))

    def clear_share(self, index: int, look: Look) -> float:
        """Return the share of the pixels at a marker on the region `index` from which its color would stand out."""
        color, kind = look
        if (index, kind) not in self._shares:
            self.expect([(index, kind)])
        return self._shares[index, kind][color]

    def draw(self, index: int, kind: MarkerKind, style: Style) -> list[Ink]:
        """Draw the marker of a region in its style."""
        known, inks = self._alone.get((index, kind), (None, []))
        return inks if known == style else spec_of(kind).ink(self._extents[index], style)

    def check(
        self, drawn: Image.Image, layers: Sequence[Layer], looks: Sequence[Look], styles: Sequence[Style]
    ) -> list[tuple[float, MarkerColor | None]]:
        """Return for each marker which share of it is visible, and a clearer color for a faint one.

        Args:
            drawn: the image with all markers.
            layers: what was drawn for each marker.
            looks: color and kind of each marker.
            styles: sizes of each marker.
        """
        pixels = [self._pixels_of(index, look, layers[index]) for index, look in enumerate(looks)]
        colors, shares = [color for color, _ in looks], [0.0] * len(looks)
        by_check: dict[float | None, list[int]] = {}
        for index, alone in enumerate(_stand_alone(layers, drawn.size)):
            is_sure = alone and layers[index].opacity >= 1 and styles[index].width >= _WIDE
            by_check.setdefault(None if is_sure else layers[index].opacity, []).append(index)
        after = SeenImage.of(drawn) if set(by_check) - {None} else self._seen
        for opacity, group in by_check.items():
            given = [pixels[index] for index in group], [colors[index] for index in group]
            found = (
                different_shares(self._seen, *given)
                if opacity is None
                else marked_shares(self._seen, after, *given, opacity, set(colors))
            )
            for index, share in zip(group, found, strict=True):
                shares[index] = share
        return [
            (share, self._clearer(index, looks[index], looks) if share < FAINT_SHARE else None)
            for index, share in enumerate(shares)
        ]

    def _draw_alone(self, index: int, kind: MarkerKind) -> tuple[Style, list[Ink]]:
        """Return the constant marker of a region as if there were no other one."""
        if (index, kind) not in self._alone:
            if kind not in self._styles:
                self._styles[kind] = self._sizes.choose(kind)
            style = self._sizes.fit_alone(self._extents[index], self._styles[kind])
            self._alone[index, kind] = style, spec_of(kind).draw(self._extents[index], style)
        return self._alone[index, kind]

    def _pixels_of(self, index: int, look: Look, layer: Layer) -> MarkerPixels:
        known = self._pixels.get((index, look[1]))
        is_alone = known is not None and layer.inks is self._alone[index, look[1]][1]
        return known if known is not None and is_alone else self._seen.pixels_of(layer.inks)

    def _clearer(self, index: int, look: Look, looks: Sequence[Look]) -> MarkerColor | None:
        """Return the unused color that would stand out most, if it does so more than the present one."""
        self.clear_share(index, look)
        shares = self._shares[index, look[1]]
        unused = [color for color in shares if all(color != other for other, _ in looks)]
        best = max(unused, key=shares.__getitem__, default=None)
        return best if best is not None and shares[best] > max(shares[look[0]], FAINT_SHARE) else None


def _stand_alone(layers: Sequence[Layer], size: tuple[int, int]) -> list[bool]:
    """Return whether no other marker is near enough to cover a marker."""
    windows = np.array([layer.bounds(size) for layer in layers])
    starts, ends = windows[:, :2], windows[:, 2:]
    overlap = np.all((starts[:, None] < ends[None]) & (starts[None] < ends[:, None]), axis=2)
    return [int(count) == 1 for count in overlap.sum(axis=1)]
