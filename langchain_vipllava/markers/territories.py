"""`Territories`: which of several regions each pixel is nearest to, and how far the next one is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from langchain_vipllava.markers.raster import FAR, Patch, distance_to

_AROUND = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Territories:
    """A raster's division among regions: the distances of all of them at once, instead of a map for each.

    Attributes:
        nearest: (rows, columns) int16, the index of the nearest region; -1 where another one is about as near.
        away: (rows, columns) float32, the distance to it in pixels.
        to_next: (rows, columns) float32, the distance to the next region, to which the way leads across the border of
            the territory; far inside of regions.
    """

    nearest: np.ndarray
    away: np.ndarray
    to_next: np.ndarray

    @classmethod
    def of(cls, patches: Sequence[Patch], cover: np.ndarray) -> Territories:
        """Divide a raster.

        Args:
            patches: the pixels of each region.
            cover: (rows, columns) uint8, how many of them are set at each pixel.
        """
        owners = np.full(cover.shape, -1, np.int16)
        for index, patch in enumerate(patches):
            np.putmask(owners[patch.part], patch.pixels, np.int16(index))
        owners[cover > 1] = -1
        away, sources = cv2.distanceTransformWithLabels(
            (cover == 0).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        # cv2 numbers the pixels of regions from 1 in their order
        nearest = np.concatenate([np.array([-1], np.int16), owners[cover > 0]])[sources]
        border = cv2.dilate(nearest, _AROUND) != cv2.erode(nearest, _AROUND)
        to_next = away + 2 * distance_to(border.view(np.uint8))
        nearest[border] = -1
        to_next[cover > 0] = FAR
        return cls(nearest, away, to_next)
