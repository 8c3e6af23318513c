"""Number labels at regions, as in Set-of-Mark prompting: their size and their drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from langchain_vipllava.markers.extent import Extent
from langchain_vipllava.markers.ink import Layer, Stroke, image_of, paint
from langchain_vipllava.markers.kinds import RGB, MarkerKind
from langchain_vipllava.markers.placement import Placement
from langchain_vipllava.regions.region import Box, Point

_FONT = cv2.FONT_HERSHEY_SIMPLEX

# Sizes were chosen by looking at what the model sees: the smallest labels whose digits stay readable.
_HEIGHTS = (9.0, 16.0)
"""Smallest and largest height of a label in model pixels."""

_REGION_SHARE = 0.3
"""Height of a label in units of its region's thickness, within these limits. Chosen by looking."""

_MASK_SHARE = 0.5
"""The same in units of a mask's thickness at its widest place, where the label lies."""

_MIN_LABEL_HEIGHT = 6
"""Smallest height of a label in pixels of the image."""

_LABEL_MARGIN, _DIGIT_WIDTH = 0.4, 0.6
"""Width of a label's margins and of a digit, in label heights. cv2's digits are 2/3 as wide as high (18 x 27)."""

_LEADER_WIDTH = 1.5
"""Width in model pixels of the line from a label to a region that it does not touch. Chosen: as the thinnest marker."""

_LEADER_FROM = 2.0
"""Gap in model pixels between a label and its region from which on there is a line. Chosen by looking."""

_TEXT_SHARE = 0.7
"""Share of a label that its text fills."""

_STROKES_PER_HEIGHT = 10
"""Height of a label, in line widths of its digits."""

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""

_BRIGHT = 110
"""Brightness above which text is black. Chosen so that red (76), blue (29), purple (53) and fuchsia (105) get white
text, and lime (150) and the others black."""


def place_numbers(
    extents: Sequence[Extent],
    kinds: Sequence[MarkerKind],
    layers: Sequence[Layer],
    size: tuple[int, int],
    numbers: Sequence[int],
) -> list[Box]:
    """Find a place for each label, in pixels: in its region or against it, and never nearer to another one.

    Args:
        extents: one per region.
        kinds: kind of each marker.
        layers: what is drawn for each marker.
        size: (width, height) of the image.
        numbers: one per region.
    """
    labels = [_label_size(str(number), extent) for number, extent in zip(numbers, extents, strict=True)]
    placement = Placement(extents, kinds, layers, size, labels)
    places: dict[int, Box] = {}
    # the smallest regions have the fewest places
    for index in sorted(range(len(extents)), key=lambda k: extents[k].short_side):
        places[index] = placement.place(index)
    return [places[index] for index in range(len(extents))]


def draw_leader(image: Image.Image, extent: Extent, place: Box, color: RGB) -> None:
    """Draw a line from a label to its region, unless it touches it. Changes the image."""
    start, end = _nearest_points(place, extent)
    gap = math.dist(start, end)
    if gap >= _LEADER_FROM * extent.unit:
        inward = min(gap, 2 * extent.unit) / gap  # the line ends inside the label
        start = (start[0] + (start[0] - end[0]) * inward, start[1] + (start[1] - end[1]) * inward)
        line = Stroke(np.array([start, end]), max(_LEADER_WIDTH * extent.unit, 1.0), closed=False)
        paint(image, [Layer([line], color)])


def draw_number(image: Image.Image, number: int, place: Box, color: tuple[int, int, int]) -> None:
    """Draw a number on a patch of its marker's color. Changes the image."""
    x0, y0, x1, y1 = (round(n) for n in place)
    patch = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
    cv2.rectangle(patch, (0, 0), (x1 - x0, y1 - y0), color, cv2.FILLED)
    brightness = sum(weight * value for weight, value in zip(_LUMA, color, strict=True))
    text, ink = str(number), (0, 0, 0) if brightness > _BRIGHT else (255, 255, 255)
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, 1.0, 1)
    font_scale = _TEXT_SHARE * min((x1 - x0) / text_width, (y1 - y0) / text_height)
    thickness = max(1, round((y1 - y0) / _STROKES_PER_HEIGHT))
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, font_scale, thickness)
    corner = (round((x1 - x0 - text_width) / 2), round((y1 - y0 + text_height) / 2))
    cv2.putText(patch, text, corner, _FONT, font_scale, ink, thickness, cv2.LINE_AA)
    image.paste(image_of(patch), (x0, y0))


def _label_size(text: str, extent: Extent) -> tuple[int, int]:
    share = _MASK_SHARE if extent.has_outline else _REGION_SHARE
    seen = min(max(share * extent.thickness / extent.unit, _HEIGHTS[0]), _HEIGHTS[1])
    height = max(_MIN_LABEL_HEIGHT, round(seen * extent.unit))
    return round(height * (_LABEL_MARGIN + _DIGIT_WIDTH * len(text))), height


def _nearest_points(place: Box, extent: Extent) -> tuple[Point, Point]:
    """Return the nearest points of a label and of its region."""
    x0, y0, x1, y1 = place
    middle = ((x0 + x1) / 2, (y0 + y1) / 2)
    if extent.has_outline or extent.region.is_point:
        end = extent.center if extent.region.is_point else extent.pull_inside(middle)
    else:
        left, top, right, bottom = extent.box
        end = (min(max(middle[0], left), right), min(max(middle[1], top), bottom))
    return (min(max(end[0], x0), x1), min(max(end[1], y0), y1)), end
