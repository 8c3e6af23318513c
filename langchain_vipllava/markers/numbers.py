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

# Sizes were chosen by looking at what the model sees: the smallest labels whose digits stay readable.
_TEXT_HEIGHT = 14.0
"""Height of the text area of a label in model pixels: one patch of the vision tower."""

_LABEL_HEIGHT = 1.3
"""Height of a label, in heights of its text area."""

_MIN_LABEL_HEIGHT = 6
"""Smallest height of a label in pixels of the image."""

_LABEL_MARGIN, _DIGIT_WIDTH = 0.4, 0.6
"""Width of a label's margins and of a digit, in label heights. cv2's digits are 2/3 as wide as high (18 x 27)."""

_TEXT_SHARE = 0.7
"""Share of a label that its text fills."""

_STROKES_PER_HEIGHT = 10
"""Height of a label, in line widths of its digits."""

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""

_BRIGHT = 110
"""Brightness above which text is black. Chosen so that red (76), blue (29), purple (53) and fuchsia (105) get white
text, and lime (150) and the others black."""


def place_numbers(boxes: Sequence[Box], size: tuple[int, int], unit: float) -> list[Box]:
    """Find a place for each label: in the image, and on neither its own region nor another label.

    Places that are on no other region are preferred, then places near the region.

    Args:
        boxes: one per region, in pixels.
        size: (width, height) of the image.
        unit: one pixel of the model's square, in image pixels.

    Raises:
        MarkerError: there is no such place.
    """
    placed: list[Box] = []
    for index, box in enumerate(boxes):
        width, height = _label_size(str(index + 1), unit)
        others = [other for k, other in enumerate(boxes) if k != index]
        free = [
            place
            for place in _candidates(box, (width, height), size)
            if not _overlap(place, box) and not any(_overlap(place, label) for label in placed)
        ]
        if not free:
            raise MarkerError(
                f"no room for number {index + 1} beside its region {tuple(round(n) for n in box)} in an image of "
                f"{size[0]} x {size[1]} pixels; mark fewer regions at once, or omit numbers=True."
            )
        placed.append(min(free, key=lambda place: (any(_overlap(place, o) for o in others), _distance(place, box))))
    return placed


def draw_number(image: Image.Image, number: int, place: Box, color: tuple[int, int, int]) -> None:
    """Draw a number on a patch of its marker's color. Changes the image."""
    x0, y0, x1, y1 = (round(n) for n in place)
    patch = np.full((y1 - y0, x1 - x0, 3), color, np.uint8)
    brightness = sum(weight * value for weight, value in zip(_LUMA, color, strict=True))
    text, ink = str(number), (0, 0, 0) if brightness > _BRIGHT else (255, 255, 255)
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, 1.0, 1)
    font_scale = _TEXT_SHARE * min((x1 - x0) / text_width, (y1 - y0) / text_height)
    thickness = max(1, round((y1 - y0) / _STROKES_PER_HEIGHT))
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, font_scale, thickness)
    corner = (round((x1 - x0 - text_width) / 2), round((y1 - y0 + text_height) / 2))
    cv2.putText(patch, text, corner, _FONT, font_scale, ink, thickness, cv2.LINE_AA)
    image.paste(Image.fromarray(patch), (x0, y0))


def _label_size(text: str, unit: float) -> tuple[int, int]:
    height = max(_MIN_LABEL_HEIGHT, round(_TEXT_HEIGHT * _LABEL_HEIGHT * unit))
    return round(height * (_LABEL_MARGIN + _DIGIT_WIDTH * len(text))), height


def _candidates(box: Box, label: tuple[int, int], size: tuple[int, int]) -> list[Box]:
    """Return places around the box, then a grid over the whole image."""
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
