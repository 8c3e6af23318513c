"""Converting every pixel format to 8-bit RGB, a band of rows at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from langchain_vipllava.errors import ImageError

_BAND_PIXELS = 2**18
"""Pixels that are converted at once. Chosen: 8 MiB where a conversion takes 32 bytes per pixel (RGBA as float64)."""

_ROUNDING = 1e-3
"""By how much a float may leave 0..1. Chosen: float16 and resizing; a step of 8 bits is four times as large."""

_DEEPEST_SHALLOW = 4095
"""Brightest value of a picture of 12 bits: in 16 bits it comes out at most 6% bright."""

_ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")


_SIDEWAYS = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)
"""Transpositions that swap width and height."""

_FROM_THE_RIGHT = (Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE)
_FROM_THE_BOTTOM = (Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM)
"""Transpositions that put the first row of an image at the right, or at the bottom."""


def image_to_rgb(image: Image.Image, transpose: Image.Transpose | None = None) -> Image.Image:
    """Convert a decoded PIL image of any mode to a new RGB one; transparent pixels become white.

    Takes 4 bytes per pixel beside the image itself.

    Args:
        image: a loaded image.
        transpose: how the result is turned.

    Raises:
        ImageError: NaN or infinity among the pixels.
    """
    if image.mode == "RGB" and transpose is None and "transparency" not in image.info:
        return Image.Image.copy(image)
    width, height = image.size
    to_rgb = _band_converter(image)
    rgb = Image.new("RGB", (height, width) if transpose in _SIDEWAYS else (width, height))
    for top, bottom in _bands(width, height):
        band = to_rgb(image.crop((0, top, width, bottom)))
        if transpose is not None:
            band = band.transpose(transpose)
        rgb.paste(band, _place(top, bottom, height, transpose))
    return rgb


def array_to_rgb(array: np.ndarray, *, bgr: bool = False) -> Image.Image:
    """Convert a (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) array to an RGB image.

    Takes 4 bytes per pixel beside the array itself.

    Raises:
        ImageError: another shape or dtype, no pixels, floats outside 0..1.
    """
    array = check_shape(array)
    height, width = array.shape[:2]
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        _warn_if_dark(float(array.max()))
    rgb = Image.new("RGB", (width, height))
    for top, bottom in _bands(width, height):
        pixels = _to_uint8(array[top:bottom])
        if bgr and pixels.ndim == 3:
            pixels = pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
        band = Image.fromarray(np.ascontiguousarray(pixels))
        rgb.paste(_band_converter(band)(band), (0, top))
    return rgb


def check_shape(array: np.ndarray) -> np.ndarray:
    """Return an array as (H, W), (H, W, 3) or (H, W, 4).

    Raises:
        ImageError: another shape, or no pixels.
    """
    array = np.asarray(array)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        hint = ""
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = " It looks like (C, H, W): use array.transpose(1, 2, 0)."
        raise ImageError(f"array of shape {array.shape}; expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).{hint}")
    if array.size == 0:
        raise ImageError(f"array of shape {array.shape} has no pixels; expected at least 1 x 1.")
    return array


def _bands(width: int, height: int) -> Iterator[tuple[int, int]]:
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def _place(top: int, bottom: int, height: int, transpose: Image.Transpose | None) -> tuple[int, int]:
    """Return where the rows from `top` to `bottom` of an image begin in the transposed image."""
    if transpose in _FROM_THE_RIGHT:
        return height - bottom, 0
    if transpose in _FROM_THE_BOTTOM:
        return 0, height - bottom
    return (top, 0) if transpose in _SIDEWAYS else (0, top)


def _band_converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Return the function that converts bands of an image to RGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        top = _white(image)
        return lambda band: _deep_gray_to_rgb(band, top)
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return _over_white
    return lambda band: band.convert("RGB")


def _over_white(band: Image.Image) -> Image.Image:
    if band.mode == "La":
        band = band.convert("LA")  # the only mode to which Pillow converts "La"
    rgba = band.convert("RGBA")
    rgb = Image.new("RGB", band.size, "white")
    rgb.paste(rgba, mask=rgba.getchannel("A"))
    return rgb


def _white(image: Image.Image) -> float:
    """Return the value that becomes white: Pillow's own conversion clips 16-bit gray."""
    highest = -np.inf
    for top, bottom in _bands(*image.size):
        values = np.asarray(image.crop((0, top, image.width, bottom)))
        if not np.isfinite(values).all():
            raise ImageError("gray image with NaN or infinity among its pixels; fill the gaps first.")
        highest = max(highest, float(values.max()))
    if image.mode == "F" and highest <= 1:
        return 1.0
    if highest <= 255 and not image.mode.startswith("I;16"):
        return 255.0
    _warn_if_dark(highest)
    return 65535.0


class DarkImageWarning(UserWarning):
    """A 16-bit image is nearly black, as those of 10 and 12 bits are that were not scaled."""


def _warn_if_dark(highest: float) -> None:
    if 0 < highest <= _DEEPEST_SHALLOW:
        warnings.warn(
            DarkImageWarning(
                f"16-bit image whose brightest value is {highest:g} of 65535: it is nearly black. If it has 10 or 12 "
                "bits, scale it first: array << 6, array << 4."
            ),
            stacklevel=2,
        )


def _deep_gray_to_rgb(band: Image.Image, white: float) -> Image.Image:
    values = np.asarray(band).astype(np.float64)
    scaled = np.clip(values / white * 255, 0, 255).astype(np.uint8)
    return Image.fromarray(scaled).convert("RGB")


def _float_to_uint8(array: np.ndarray) -> np.ndarray:
    low, high = array.min(), array.max()
    if np.isfinite([low, high]).all() and low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return (array.clip(0, 1) * 255).round().astype(np.uint8)
    if not np.isfinite([low, high]).all():
        advice = "Fill NaN and infinity first."
    elif low >= 0 and 2 < high <= 255:
        advice = "For 0..255: array.round().astype('uint8')."
    elif low >= -1 and high <= 1:
        advice = "For -1..1: (array + 1) / 2."
    else:
        advice = "Undo the normalization of the model's input, or array.clip(0, 1)."
    raise ImageError(f"float array with values from {low:g} to {high:g}; expected 0..1. {advice}")


def _to_uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # of either byte order
        return (array // 257).astype(np.uint8)
    if array.dtype.kind == "f":
        return _float_to_uint8(array)
    if array.dtype.kind in "iu" and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)
    raise ImageError(f"array of dtype {array.dtype}; expected uint8, uint16, bool, or float in 0..1.")
