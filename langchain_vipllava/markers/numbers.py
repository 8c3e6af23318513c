"""Number labels beside regions, as in Set-of-Mark prompting."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import cv2
import numpy as np
from PIL import Image

from langchain_vipllava.errors import MarkerError
from langchain_vipllava.regions.region import Box

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TEXT_HEIGHT = 14.0
"""Height of a digit in model pixels."""


def place_numbers(boxes: Sequence[Box], size: tuple[int, int], scale: float) -> list[Box]:
    """Find a place for each label: in the image, off its own region, off every other label.

    Places that also keep off the other regions are preferred, and near ones over far ones.

    Args:
        boxes: what must not be covered, one per region, in pixels.
        size: (width, height) of the image.
        scale: image pixels per model pixel.

    Raises:
        MarkerError: there is no such place.
    """
    placed: list[Box] = []
    for index, box in enumerate(boxes):
        width, height = _label_size(str(index + 1), scale)
        others = [other for k, other in enumerate(boxes) if k != index]
        free = [
            place
            for place in _candidates(box, (width, height), size)
            if not _overlap(place, box) and not any(_overlap(place, taken) for taken in placed)
        ]
        if not free:
            raise MarkerError(
                f"no room for number {index + 1} beside its region {tuple(round(n) for n in box)} in an image of "
                f"{size[0]} x {size[1]} pixels; mark fewer regions at once, or leave numbers=False."
            )
        placed.append(min(free, key=lambda place: (any(_overlap(place, o) for o in others), _distance(place, box))))
    return placed


def draw_number(image: Image.Image, number: int, place: Box, color: tuple[int, int, int]) -> None:
    """Draw a number on a patch of its marker's color, in place."""
    x0, y0, x1, y1 = (round(n) for n in place)
    patch = np.full((y1 - y0, x1 - x0, 3), color, np.uint8)
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    text, ink = str(number), (0, 0, 0) if luminance > 110 else (255, 255, 255)
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, 1.0, 1)
    font_scale = 0.7 * min((x1 - x0) / text_width, (y1 - y0) / text_height)
    thickness = max(1, round((y1 - y0) / 10))
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, font_scale, thickness)
    corner = (round((x1 - x0 - text_width) / 2), round((y1 - y0 + text_height) / 2))
    cv2.putText(patch, text, corner, _FONT, font_scale, ink, thickness, cv2.LINE_AA)
    image.paste(Image.fromarray(patch), (x0, y0))


def _label_size(text: str, scale: float) -> tuple[int, int]:
    height = max(6, round(_TEXT_HEIGHT * 1.3 * scale))
    return round(height * (0.4 + 0.6 * len(text))), height


def _candidates(box: Box, label: tuple[int, int], size: tuple[int, int]) -> list[Box]:
    """Places around the box first, then a grid over the whole image."""
    (width, height), (image_width, image_height) = label, size
    x0, y0, x1, y1 = np.floor(box[0]), np.floor(box[1]), np.ceil(box[2]), np.ceil(box[3])
    xs = [x0, x1 - width, (x0 + x1 - width) // 2, x1, x0 - width]
    ys = [y0 - height, y1, y0, y1 - height, (y0 + y1 - height) // 2]
    corners = list(product(xs, ys))
    corners += product(
        range(0, max(image_width - width, 0) + 1, max(width // 2, 1)),
        range(0, max(image_height - height, 0) + 1, max(height // 2, 1)),
    )
    return [
        (x, y, x + width, y + height)
        for x, y in corners
        if 0 <= x <= image_width - width and 0 <= y <= image_height - height
    ]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _distance(a: Box, b: Box) -> float:
    dx = max(a[0] - b[2], b[0] - a[2], 0)
    dy = max(a[1] - b[3], b[1] - a[3], 0)
    return float(np.hypot(dx, dy))
