"""A plain segmenter that really segments the bundled world: what is of the color at the point, and touches it."""

from __future__ import annotations

import cv2
import numpy as np


def segment_by_color(image, prompt):
    pixels = np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
    x0, y0, x1, y1 = prompt.box
    seed = (min(int((x0 + x1) / 2), image.width - 1), min(int((y0 + y1) / 2), image.height - 1))
    mask = np.zeros((image.height + 2, image.width + 2), np.uint8)
    cv2.floodFill(pixels, mask, seed, (0, 0, 0), (12,) * 3, (12,) * 3, cv2.FLOODFILL_MASK_ONLY | (255 << 8) | 4)
    return mask[1:-1, 1:-1] > 0
