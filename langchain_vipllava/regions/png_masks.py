"""Masks that annotation tools and models write as PNG, of a part of the image."""

from __future__ import annotations

import base64
import binascii
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from langchain_vipllava.errors import DetectionError, shorten
from langchain_vipllava.regions.context import Context


def png_bytes(text: Any) -> bytes:
    """Decode base64, with or without `data:image/png;base64,` in front.

    Raises:
        DetectionError: not base64.
    """
    try:
        return base64.b64decode(str(text).rpartition("base64,")[2], validate=True)
    except (ValueError, binascii.Error) as error:
        raise DetectionError(f"its mask {shorten(text, 30)} is not base64; expected a PNG in base64.") from error


def png_values(data: bytes, context: Context, size: tuple[int, int] | None = None) -> np.ndarray:
    """Return the (H, W) values of a PNG: its opacity where it has one, else its brightness, 0 to 255.

    Args:
        data: the PNG.
        context: whose budget of masks pays for it.
        size: `(width, height)` to which it is stretched.

    Raises:
        DetectionError: not a PNG, or larger than the limits allow.
    """
    try:
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            context.masks.spend(*image.size)  # before it is decoded
            if "A" in image.mode or "transparency" in image.info:
                plane = image.convert("RGBA").getchannel("A")
            elif image.mode == "P":
                plane = image.convert("L")
            else:
                # The 1 of a mask in 0 and 1 is as set as 255; a map of probabilities has both.
                plane = image if image.mode == "L" else image.convert("L")
            if size is not None:
                plane = plane.resize(size, Image.Resampling.BILINEAR)
            return np.asarray(plane)
    except DetectionError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DetectionError("its mask is not a PNG in base64.") from error


def placed(part: np.ndarray, left: int, top: int, context: Context) -> np.ndarray:
    """Return the (H, W) bool mask of the image with a part of it set.

    Raises:
        DetectionError: the size of the image is unknown, or the part is not inside of it.
    """
    if context.image_size is None:
        raise DetectionError("its mask is a part of the image; pass image_size=(width, height).")
    width, height = context.image_size
    down, across = part.shape
    if left < 0 or top < 0 or left + across > width or top + down > height:
        raise DetectionError(
            f"its mask of {across} x {down} pixels at ({left}, {top}) is not inside of the image of {width} x {height}."
        )
    context.masks.spend(width, height)
    mask = np.zeros((height, width), dtype=bool)
    mask[top : top + down, left : left + across] = part
    return mask
