"""Convert the boxes, masks and polygons of detectors to pixels of the upright image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from langchain_vipllava.errors import DetectionError, RegionError, shorten
from langchain_vipllava.regions.limits import MaskBudget, RegionLimits
from langchain_vipllava.regions.region import Box, Point
from langchain_vipllava.regions.rle import MAX_PIXELS, decode_rle, rle_size
from langchain_vipllava.regions.values import describe, numbers, plain

BoxFormat = Literal["xyxy", "xywh", "cxcywh", "yxyx", "xyxyn", "xywhn", "cxcywhn", "yxyxn"]
"""Layout of a box's numbers: two corners, corner and size, center and size, or two corners with y first; with `n` in
0..1, else in pixels."""

BOX_FORMATS: tuple[BoxFormat, ...] = get_args(BoxFormat)

Size = tuple[int, int]
"""`(width, height)` in pixels."""

MAX_NORMALIZED = 2.0
"""Largest absolute value of a box in 0..1. Chosen: boxes extend past the image a little, and a box in pixels whose
numbers are all at most 2 is smaller than any detector reports."""


_FAR = 2.0**31
"""Coordinates beyond this are moved to it. Chosen: far outside of any image, and differences stay exact."""


def parse_box_format(box_format: object) -> BoxFormat:
    """Check the name of a layout.

    Raises:
        DetectionError: it is not one of `BOX_FORMATS`.
    """
    for name in BOX_FORMATS:
        if box_format == name:
            return name
    raise DetectionError(f"box_format={describe(box_format)}; expected one of {', '.join(BOX_FORMATS)}.")


def with_unit(box_format: BoxFormat, *, normalized: bool) -> BoxFormat:
    """Return the same layout in fractions of the image's sides, or in pixels."""
    return parse_box_format(box_format.removesuffix("n") + ("n" if normalized else ""))


def span(scale: float) -> str:
    """Return how the range of coordinates is called in which a side of the image has a length."""
    return "percent" if scale == 100 else f"0..{scale:g}"


def pixel_box(values: Any, box_format: BoxFormat, image_size: Size | None, scale: float = 1.0) -> Box:
    """Convert four numbers to `(x0, y0, x1, y1)` in pixels.

    Args:
        values: four numbers.
        box_format: their layout.
        image_size: `(width, height)` in pixels, for fractions.
        scale: length of a side of the image in the numbers, if they are fractions.

    Raises:
        DetectionError: not four finite numbers, not in the layout `box_format`, inverted, empty, or in fractions
            while the image's size is unknown.
    """
    raw = numbers(values, "box").ravel()
    if raw.size != 4:
        raise DetectionError(f"box is {describe(values)}; expected the four numbers of {box_format}.")
    shown = tuple(round(number, 4) for number in raw.tolist())
    if not np.isfinite(raw).all():
        raise DetectionError(f"box {shown} contains NaN or infinity; expected finite numbers. Drop the row.")
    layout = box_format.removesuffix("n")
    if layout == "yxyx":
        raw, layout = raw[[1, 0, 3, 2]], "xyxy"
    raw = _in_pixels(raw, shown, box_format, image_size, scale)
    a, b, c, d = raw.tolist()
    if layout == "xywh":
        c, d = a + c, b + d
    elif layout == "cxcywh":
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    if c <= a or d <= b:
        raise DetectionError(
            f"box {shown} read as {box_format} is inverted or empty; expected a width and a height above 0. "
            "Check box_format, or drop the row."
        )
    return a, b, c, d


def _in_pixels(
    raw: np.ndarray, shown: tuple[float, ...], box_format: BoxFormat, image_size: Size | None, scale: float
) -> np.ndarray:
    largest = float(np.abs(raw).max())
    if box_format.endswith("n"):
        if image_size is None:
            raise DetectionError(
                f"box {shown} is in {span(scale)} of the image's sides ({box_format}); pass image_size=(width, height)."
            )
        if largest > MAX_NORMALIZED * scale:
            raise DetectionError(
                f"box {shown} is not {box_format}: expected values in {span(scale)}. "
                f"If these are pixels, and the format has no layout of its own, pass box_format={box_format[:-1]!r}."
            )
        return raw * (image_size * 2) / scale
    if 0 < largest <= 1 or (largest <= MAX_NORMALIZED and (raw % 1).any()):
        raise DetectionError(
            f"box {shown} has all its values in or near 0..1, so it is not {box_format} in pixels. If they are "
            f"fractions of the image's sides, pass box_format={box_format + 'n'!r} and image_size=(width, height)."
        )
    return raw


def clipped(box: Box, image_size: Size | None) -> Box:
    """Clip a box to the image.

    Raises:
        DetectionError: the box lies outside the image.
    """
    if image_size is None:
        return box
    width, height = image_size
    x0, y0, x1, y1 = box
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        raise DetectionError(
            f"box {tuple(round(side, 2) for side in box)} (x0, y0, x1, y1) is outside the image of {width} x "
            f"{height} pixels. Did the detector run on another size or orientation, or is box_format wrong?"
        )
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))


@dataclass(frozen=True, eq=False)
class SegmentMask:
    """One segment of a map of segments. The mask is made where it is needed: a map of a few bytes can hold thousands.

    Attributes:
        segments: (H, W) array of the segment of each pixel.
        id: of the segment.
    """

    segments: np.ndarray
    id: Any

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the (H, W) bool mask."""
        del dtype, copy
        mask: np.ndarray = self.segments == self.id
        return mask


def described_size(mask: Any) -> Size | None:
    """Return the `(width, height)` of a mask that is described by less than its pixels; None for any other."""
    if isinstance(mask, SegmentMask) and mask.segments.ndim == 2:
        return mask.segments.shape[1], mask.segments.shape[0]
    if isinstance(mask, Mapping):
        with suppress(RegionError):  # `bool_mask` says what is wrong with it
            return rle_size(mask)
    return None


def bool_mask(mask: Any, image_size: Size | None, limits: RegionLimits) -> np.ndarray:
    """Convert an array, tensor, PIL image, COCO RLE or segment to a (H, W) bool mask. Probabilities from 0.5 are set.

    Raises:
        DetectionError: not a mask, a mask of another size than the image, or more than the limits allow.
    """
    if isinstance(mask, Mapping):
        try:
            width, height = rle_size(mask)
        except RegionError as error:
            raise DetectionError(f"{error} Or pass an array.") from error
        _check_mask_size(width, height, image_size)
        return decode_rle(mask, limits)
    array = np.asarray(plain(mask))
    # torchvision leaves axes of length 1 in front, OpenCV behind.
    if set(array.shape[:-2]) == {1}:
        array = array.reshape(array.shape[-2:])
    elif set(array.shape[2:]) == {1}:
        array = array.reshape(array.shape[:2])
    if array.ndim != 2 or array.dtype.kind not in "buif":
        raise DetectionError(f"mask is {describe(mask)}; expected (H, W) as bool, 0/1, 0/255 or probabilities.")
    _check_mask_size(array.shape[1], array.shape[0], image_size)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DetectionError("mask contains NaN or infinity; expected probabilities in 0..1.")
    if array.dtype.kind == "f" and array.size:
        _check_probabilities(array)
    if array.dtype.kind == "f":
        threshold = 0.5
    else:  # the noise of a mask that was a JPEG is not set
        threshold = 128 if array.dtype == np.uint8 and array.size and array.max() == 255 else 1
    mask_array: np.ndarray = array >= threshold if array.dtype.kind in "fu" else array != 0
    return mask_array


def _check_probabilities(array: np.ndarray) -> None:
    low, high = float(array.min()), float(array.max())
    if low < 0 or (high > MAX_NORMALIZED and not np.isin(array, (0, high)).all()):  # 0 and 255 are a mask, too
        raise DetectionError(
            f"mask has values from {low:g} to {high:g}; expected probabilities in 0..1. For logits, pass mask > 0; for "
            "0..255, divide by 255."
        )


def _check_mask_size(width: int, height: int, image_size: Size | None) -> None:
    if image_size is not None and (width, height) != tuple(image_size):
        raise DetectionError(
            f"mask is {shorten(width)} x {shorten(height)} pixels, the image {image_size[0]} x {image_size[1]} "
            "(width x height). Let the detector resize its masks to the image (target_sizes in post-processing), or "
            "pass the image_size that it saw."
        )
    if width * height > MAX_PIXELS:
        raise DetectionError(
            f"mask of {shorten(width)} x {shorten(height)} pixels; expected at most {MAX_PIXELS} in total."
        )


def ring_points(ring: Any, limits: RegionLimits) -> list[Point]:
    """Convert a polygon, flat `[x, y, x, y, ...]` or `[(x, y), ...]`, to a list of points.

    Raises:
        DetectionError: not pairs of numbers, or too many.
    """
    values = numbers(ring, "polygon")
    if values.size % 2 or (values.ndim > 1 and values.shape[-1] != 2):
        raise DetectionError(f"polygon is {describe(ring)}; expected [x, y, x, y, ...] or [(x, y), ...].")
    limits.check_points(values.size // 2)
    return [(x, y) for x, y in values.reshape(-1, 2).tolist()]


def fill(rings: Sequence[Sequence[Point]], image_size: Size, budget: MaskBudget) -> np.ndarray:
    """Return the (H, W) bool mask of the pixels whose center lies in any of the polygons.

    Raises:
        DetectionError: the mask, or the parts of it that are filled, are more than the budget.
    """
    width, height = image_size
    _check_mask_size(width, height, None)
    budget.spend(width, height)
    placed = []
    for ring in rings:
        corners = np.array(ring).clip(-_FAR, _FAR)
        left, top = np.floor(corners.min(axis=0)).clip(0, image_size).astype(int).tolist()
        right, bottom = np.ceil(corners.max(axis=0)).clip(0, image_size).astype(int).tolist()
        budget.spend(right - left, bottom - top)  # thousands of rings may each cover the image
        placed.append((corners, left, top, right, bottom))
    inside = np.zeros((height, width), dtype=bool)
    for corners, left, top, right, bottom in placed:
        if left < right and top < bottom:
            inside[top:bottom, left:right] |= _fill_one(corners - (left, top), right - left, bottom - top)
    return inside


def _fill_one(corners: np.ndarray, width: int, height: int) -> np.ndarray:
    # Per pixel row, flip where edges cross the line through the centers; odd sums along the row are inside.
    flips = np.zeros((height, width + 1), dtype=np.uint8)
    points = corners.tolist()
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        top, bottom = max(min(y0, y1), 0.0), min(max(y0, y1), float(height))
        if top >= bottom:
            continue
        rows = np.arange(max(math.ceil(top - 0.5), 0), min(math.ceil(bottom - 0.5), height))
        x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        flips[rows, np.clip(np.ceil(x - 0.5), 0, width).astype(np.intp)] ^= 1
    filled: np.ndarray = np.bitwise_xor.accumulate(flips, axis=1)[:, :width] == 1
    return filled
