"""`encode_png`: pixels as bytes, for messages, ids and files."""

from __future__ import annotations

import io
from contextlib import suppress

from PIL import Image

_PILLOW_LEVEL = 1
"""zlib level of Pillow. Chosen: the fastest that compresses."""

_MAX_SIDE = 1_000_000
"""Longest side that libpng writes (PNG_USER_WIDTH_MAX); beyond it, cv2 prints errors."""


def encode_png(image: Image.Image) -> bytes:
    """Encode pixels as PNG. Not as JPEG: the model would see other pixels, and blurred colors beside a marker.

    RGB is encoded by cv2 with its defaults, the filter "sub" and run lengths: a quarter of Pillow's time, for no more
    bytes on photographs (`python -m benchmarks --only encode`). Pillow encodes what cv2 refuses, such as other modes.

    Args:
        image: decoded.

    Raises:
        MemoryError: there is not enough memory.
    """
    if image.mode == "RGB" and max(image.size) <= _MAX_SIDE:
        import cv2  # noqa: PLC0415  # a message that is only read needs no OpenCV
        import numpy as np  # noqa: PLC0415

        pixels = np.frombuffer(image.tobytes("raw", "BGR"), np.uint8).reshape(image.height, image.width, 3)
        with suppress(cv2.error):
            is_encoded, data = cv2.imencode(".png", pixels)
            if is_encoded:
                return data.tobytes()
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=_PILLOW_LEVEL)
    return buffer.getvalue()
