"""Converting every pixel format to 8-bit RGB."""

from __future__ import annotations

import numpy as np
from PIL import Image

from langchain_vipllava.errors import ImageError


def image_to_rgb(image: Image.Image) -> Image.Image:
    """Convert a decoded PIL image of any mode to a new RGB one; transparent pixels become white.

    Raises:
        ImageError: NaN or infinity among the pixels.
    """
    if image.mode == "La":
        image = image.convert("LA")  # the only mode to which Pillow converts "La"
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        rgb = _deep_gray_to_rgb(image)
    elif image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        rgb = Image.new("RGB", image.size, "white")
        rgb.paste(rgba, mask=rgba.getchannel("A"))
    else:
        rgb = image.convert("RGB") if image.mode != "RGB" else image.copy()
    return rgb


def array_to_rgb(array: np.ndarray, *, bgr: bool = False) -> Image.Image:
    """Convert a (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) array to an RGB image.

    Raises:
        ImageError: another shape or dtype, no pixels, floats outside 0..1.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        hint = ""
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = " It looks like (C, H, W): use array.transpose(1, 2, 0)."
        raise ImageError(f"array of shape {array.shape}; expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).{hint}")
    if array.size == 0:
        raise ImageError(f"array of shape {array.shape} has no pixels; expected at least 1 x 1.")
    pixels = _to_uint8(array)
    if bgr and pixels.ndim == 3:
        pixels = pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    return image_to_rgb(Image.fromarray(np.ascontiguousarray(pixels)))


def _to_uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # of either byte order
        return (array // 257).astype(np.uint8)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise ImageError(
                "float array with values outside 0..1 (or NaN); expected 0..1. For 0..255: array.astype('uint8')."
            )
        return (array * 255).round().astype(np.uint8)
    if array.dtype.kind in "iu" and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)
    raise ImageError(f"array of dtype {array.dtype}; expected uint8, uint16, bool, or float in 0..1.")


def _deep_gray_to_rgb(image: Image.Image) -> Image.Image:
    """Scale 16-bit gray to 8 bits; Pillow's own conversion clips it to white."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ImageError("gray image with NaN or infinity among its pixels; fill the gaps first.")
    top = 255.0 if values.max() <= 255 and not image.mode.startswith("I;16") else 65535.0
    if image.mode == "F" and values.max() <= 1:
        top = 1.0
    scaled = np.clip(values / top * 255, 0, 255).astype(np.uint8)
    return Image.fromarray(scaled).convert("RGB")
