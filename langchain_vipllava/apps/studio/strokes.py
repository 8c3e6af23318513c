"""Free hand: what was drawn with a brush becomes the mask of a region, so that the marker is the drawing itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from langchain_vipllava.errors import RegionError, shorten

BRUSH_SHARE = 1 / 60
"""Width of the brush, in units of the image's longer side. Chosen: 5.6 of the 336 pixels that the model reads, in the
middle of the line widths of the training."""


def brush_width(size: tuple[int, int]) -> int:
    """Return the width of the brush in pixels of an image of this (width, height)."""
    return max(2, round(max(size) * BRUSH_SHARE))


def stroke_mask(points: Sequence[tuple[float, float]], size: tuple[int, int], width: int | None = None) -> np.ndarray:
    """Return the mask of a stroke of a round brush.

    Args:
        points: (x, y) in pixels of the image, in the order in which they were drawn.
        size: (width, height) of the image.
        width: of the brush, in pixels; None takes `brush_width(size)`.

    Returns:
        (H, W) bool array.

    Raises:
        RegionError: no points.

    Example:
        >>> int(stroke_mask([(10, 10), (50, 10)], (60, 20), width=4).any(axis=0).sum())
        45
    """
    if not points:
        raise RegionError(f"points={shorten(points)}; expected at least one (x, y).")
    width = width or brush_width(size)
    mask = Image.new("1", size)
    draw = ImageDraw.Draw(mask)
    corners = [(float(x), float(y)) for x, y in points]
    if len(corners) > 1:
        draw.line(corners, fill=1, width=width, joint="curve")
    for x, y in (corners[0], corners[-1]):
        draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=1)
    return np.array(mask)
