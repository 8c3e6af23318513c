"""`Ground`: the image below the markers, and which of them stand out from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from langchain_vipllava.markers.assignment import Look
from langchain_vipllava.markers.contrast import MarkerPixels, SeenImage, clear_shares, different_share, marked_share
from langchain_vipllava.markers.extent import Extent
from langchain_vipllava.markers.ink import Layer
from langchain_vipllava.markers.kinds import MarkerColor, MarkerKind, spec_of
from langchain_vipllava.markers.layout import Sizes
from langchain_vipllava.markers.marker import FAINT_SHARE
from langchain_vipllava.markers.style import Style

_WIDE = 1.5
"""Line width in model pixels from which on a line shows its full color. Chosen: as the smallest constant line."""


class Ground:
    """An image before it is marked, as the model sees it.

    Args:
        seen: the image.
        extents: what is marked.
        sizes: the sizes that the caller asked for.
    """

    def __init__(self, seen: SeenImage, extents: Sequence[Extent], sizes: Sizes) -> None:
        self._seen, self._extents, self._sizes = seen, extents, sizes
        self._shares: dict[tuple[int, MarkerKind], dict[MarkerColor, float]] = {}
        self._pixels: dict[tuple[int, MarkerKind], tuple[Style, MarkerPixels]] = {}

    def clear_share(self, index: int, look: Look) -> float:
        """Return the share of the pixels at a marker on the region `index` from which its color would stand out."""
        color, kind = look
        if (index, kind) not in self._shares:
            extent = self._extents[index]
            (style,) = self._sizes.fit([extent], [kind], [self._sizes.choose(kind)])
            pixels = self._seen.pixels_of(spec_of(kind).draw(extent, style))
            self._pixels[index, kind] = (style, pixels)
            self._shares[index, kind] = clear_shares(self._seen, pixels, style.opacity)
        return self._shares[index, kind][color]

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
        alone = _stand_alone(layers, drawn.size)
        after, colors = None, [color for color, _ in looks]
        results: list[tuple[float, MarkerColor | None]] = []
        for index, (layer, look, style) in enumerate(zip(layers, looks, styles, strict=True)):
            known, pixels = self._pixels.get((index, look[1]), (None, None))
            if pixels is None or known != style:
                pixels = self._seen.pixels_of(layer.inks)
            if alone[index] and layer.opacity >= 1 and style.width >= _WIDE:
                share = different_share(self._seen, pixels, look[0])
            else:
                after = after or SeenImage.of(drawn)
                share = marked_share(self._seen, after, pixels, look[0], layer.opacity, colors)
            results.append((share, self._clearer(index, look, looks) if share < FAINT_SHARE else None))
        return results

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
