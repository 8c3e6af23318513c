"""What the samples share: a cup and a cat in an image of 640 x 480 pixels, and a cup that is turned by 30 degrees."""

from __future__ import annotations

import math
from types import SimpleNamespace as Stand  # noqa: F401  # carries the attributes that a library documents

import numpy as np

from tests.regions.layouts.layout import SIZE

CUP, CAT = (300, 100, 400, 200), (40, 60, 140, 260)
BOXES = (CUP, CAT)
WIDTH, HEIGHT = SIZE

CENTER, SIDES, DEGREES = (300, 200), (200, 40), 30.0


def turned(degrees: float, center=CENTER, sides=SIDES) -> tuple[tuple[float, float], ...]:
    """Return the corners of a box that is turned clockwise as seen on the image, the former top left one first."""
    (cx, cy), (w, h) = center, sides
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = ((-w / 2, -h / 2), (w / 2, -h / 2), (w / 2, h / 2), (-w / 2, h / 2))
    return tuple((cx + x * cos - y * sin, cy + x * sin + y * cos) for x, y in corners)


TURNED = turned(DEGREES)


def rectangle(box) -> tuple[tuple[float, float], ...]:
    """Return the corners of an upright box."""
    x0, y0, x1, y1 = box
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def mask_of(*boxes) -> np.ndarray:
    """Return a (H, W) bool mask of boxes."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def xywh(box) -> list[float]:
    """Return corner and size."""
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


def cxcywh(box) -> list[float]:
    """Return center and size."""
    x0, y0, x1, y1 = box
    return [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]


def fractions(values, scale=1.0) -> list[float]:
    """Return numbers that alternate between x and y as fractions of the image's sides."""
    return [value * scale / SIZE[number % 2] for number, value in enumerate(values)]


def tensor(values, **kwargs):
    """Return a torch tensor."""
    import torch

    return torch.tensor(values, **kwargs)
