"""Inks in another size: as the model sees them."""

from __future__ import annotations

import cv2
import numpy as np

from langchain_vipllava.markers.ink import Bar, Disc, Fill, Ink, Stencil, Stroke


def scale_ink(ink: Ink, scale: tuple[float, float]) -> Ink:
    """Return an ink in an image that is scaled by (x, y); nothing vanishes."""
    x, y = scale
    if isinstance(ink, Bar):
        left, top, right, bottom = (round(n * by) for n, by in zip(ink.window, (x, y, x, y), strict=True))
        return Bar((left, top, max(right, left + 1), max(bottom, top + 1)))
    if isinstance(ink, Stencil):
        height, width = ink.pixels.shape
        size = max(round(width * x), 1), max(round(height * y), 1)
        pixels = cv2.resize(ink.pixels * np.uint8(255), size, interpolation=cv2.INTER_AREA) > 127
        return Stencil(pixels.astype(np.uint8), (round(ink.origin[0] * x), round(ink.origin[1] * y)))
    if isinstance(ink, Disc):
        return Disc((ink.center[0] * x, ink.center[1] * y), ink.radius * x)
    if isinstance(ink, Fill):
        return Fill(ink.points * scale)
    return Stroke(ink.points * scale, ink.width * x, ink.closed)
