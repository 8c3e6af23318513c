"""Boxes, masks and polygon rings of detectors, brought to pixels of the upright image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.formats.values import describe, numbers, plain
from langchain_vipllava.regions.rle import MOST_PIXELS, decode_rle

BOX_FORMATS = ("xyxy", "xywh", "cxcywh", "xyxyn", "xywhn", "cxcywhn")

Box = tuple[float, float, float, float]
Size = tuple[int, int]

# Boxes of detectors stick out of the image a little; pixel coordinates exceed 2 nearly always.
_FARTHEST_NORMALISED = 2.0


def pixel_box(values: Any, box_format: str, image_size: Size | None) -> Box:
    """Turn four numbers of a known layout into `(x0, y0, x1, y1)` in pixels, clipped to the image."""
    raw = numbers(values, "box").ravel()
    if raw.size != 4:
        raise DetectionError(f"box is {describe(values)}; expected the four numbers of {box_format}.")
    shown = tuple(round(number, 4) for number in raw.tolist())
    if not np.isfinite(raw).all():
        raise DetectionError(f"box {shown} holds NaN or infinity; expected finite numbers. Drop the row.")
    farthest = float(np.abs(raw).max())
    if box_format.endswith("n"):
        if image_size is None:
            raise DetectionError(
                f"box {shown} is {box_format}, in 0..1 of the image's sides; pass image_size=(width, height)."
            )
        if farthest > _FARTHEST_NORMALISED:
            raise DetectionError(
                f"box {shown} is not {box_format}: expected values in 0..1. "
                f"If these are pixels, pass box_format={box_format[:-1]!r} where the format has no fixed layout."
            )
        raw = raw * (image_size * 2)
    elif 0 < farthest <= 1 or (farthest <= _FARTHEST_NORMALISED and (raw % 1).any()):
        raise DetectionError(
            f"box {shown} has all its values about 0..1, which cannot be {box_format} in pixels. If they are fractions "
            f"of the image's sides, pass box_format={box_format + 'n'!r} and image_size=(width, height)."
        )
    a, b, c, d = raw.tolist()
    layout = box_format.removesuffix("n")
    if layout == "xywh":
        c, d = a + c, b + d
    elif layout == "cxcywh":
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    if c <= a or d <= b:
        raise DetectionError(
            f"box {shown} read as {box_format} is inverted or empty; expected a width and a height above 0. "
            "Check box_format, or drop the row."
        )
    return clipped((a, b, c, d), image_size)


def clipped(box: Box, image_size: Size | None) -> Box:
    """Cut off what sticks out of the image; raise where nothing is left."""
    if image_size is None:
        return box
    width, height = image_size
    x0, y0, x1, y1 = box
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        raise DetectionError(
            f"box {tuple(round(side, 2) for side in box)} (x0, y0, x1, y1) is wholly outside the image of {width} x "
            f"{height} pixels. The detector ran on an image of another size or orientation, or box_format is wrong."
        )
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))


def bool_mask(mask: Any, image_size: Size | None) -> np.ndarray:
    """Read an array, tensor, PIL image or COCO RLE as a (H, W) bool mask; probabilities are cut at 0.5."""
    if isinstance(mask, Mapping):
        width, height = _rle_size(mask)
        _check_mask_size(width, height, image_size)
        return decode_rle(mask)
    array = np.asarray(plain(mask))
    # Detectors leave axes of length 1 in front (torchvision) or behind (OpenCV).
    if set(array.shape[:-2]) == {1}:
        array = array.reshape(array.shape[-2:])
    elif set(array.shape[2:]) == {1}:
        array = array.reshape(array.shape[:2])
    if array.ndim != 2 or array.dtype.kind not in "buif":
        raise DetectionError(f"mask is {describe(mask)}; expected (H, W) as bool, 0/1, 0/255 or probabilities.")
    _check_mask_size(array.shape[1], array.shape[0], image_size)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DetectionError("mask holds NaN or infinity; expected probabilities in 0..1.")
    hard: np.ndarray = array >= 0.5 if array.dtype.kind == "f" else array != 0
    return hard


def _rle_size(rle: Mapping[str, Any]) -> Size:
    try:
        height, width = (int(side) for side in rle["size"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DetectionError(
            f"mask is {describe(rle)}; expected COCO RLE {{size: [H, W], counts: ...}} or an array."
        ) from error
    return width, height


def _check_mask_size(width: int, height: int, image_size: Size | None) -> None:
    if image_size is not None and (width, height) != tuple(image_size):
        raise DetectionError(
            f"mask is {width} x {height} pixels, the image {image_size[0]} x {image_size[1]} (width x height). "
            "Have the detector resize its masks to the image (post-processing calls it target_sizes), or pass "
            "the image_size that it saw."
        )
    if width * height > MOST_PIXELS:
        raise DetectionError(f"mask claims {width} x {height} pixels; expected at most {MOST_PIXELS} in all.")


def ring_points(ring: Any) -> list[tuple[float, float]]:
    """Read a ring, flat `[x, y, x, y, ...]` or `[(x, y), ...]`, as points in pixels."""
    values = numbers(ring, "polygon")
    if values.size % 2 or (values.ndim > 1 and values.shape[-1] != 2):
        raise DetectionError(f"polygon is {describe(ring)}; expected [x, y, x, y, ...] or [(x, y), ...].")
    return [(x, y) for x, y in values.reshape(-1, 2).tolist()]


def fill(rings: Sequence[Sequence[tuple[float, float]]], image_size: Size) -> np.ndarray:
    """Mask of the pixels whose centre lies in any of the rings."""
    width, height = image_size
    _check_mask_size(width, height, None)
    inside = np.zeros((height, width), dtype=bool)
    for ring in rings:
        inside |= _fill_one(ring, width, height)
    return inside


def _fill_one(ring: Sequence[tuple[float, float]], width: int, height: int) -> np.ndarray:
    crossings = np.zeros((height, width + 1), dtype=np.int32)
    for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
        top, bottom = max(min(y0, y1), 0.0), min(max(y0, y1), float(height))
        if top >= bottom:
            continue
        rows = np.arange(max(math.ceil(top - 0.5), 0), min(math.ceil(bottom - 0.5), height))
        x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        crossings[rows, np.clip(np.ceil(x - 0.5), 0, width).astype(np.intp)] += 1
    filled: np.ndarray = crossings.cumsum(axis=1)[:, :width] % 2 == 1
    return filled
