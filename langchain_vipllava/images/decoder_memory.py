"""What Pillow's decoders take, in bytes of memory per pixel.

Measured with `tests/images/test_memory.py`; the reasons are in the sources of the libraries.
"""

from __future__ import annotations

import math

from PIL import Image

from langchain_vipllava.images.headers import read_jpeg_header

_RGB = 4
"""An RGB image of Pillow."""

_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Images of Pillow by mode; all others take 4 bytes."""

_COEFFICIENT = 2
"""One coefficient of a JPEG, of which a component has one per pixel at most."""

WEBP = 18
"""libwebp: two canvases of 4 bytes and what it decodes, Pillow's copy of one, and the image."""

UNMEASURED = 32
"""Any format that was not measured here, and AVIF: up to 12 bits per channel, with alpha and film grain."""

_BUFFERED_TIFF = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "group3", "group4", "tiff_ccitt")
"""Compressions of TIFF whose decoders need no image of their own beside the strip."""


def bytes_per_pixel(image: Image.Image, data: bytes) -> float:
    """Return what decoding an opened image takes at its peak, and converting it to RGB.

    Args:
        image: opened by Pillow, not loaded.
        data: the encoded image.
    """
    loaded = _PIXEL_BYTES.get(image.mode, 4)
    return max(loaded + _decoder_bytes(image, data, loaded), loaded + _RGB)


def _decoder_bytes(image: Image.Image, data: bytes, loaded: int) -> float:
    if image.format in ("PNG", "BMP", "GIF"):
        return 1
    if image.format in ("JPEG", "MPO"):
        return _COEFFICIENT * read_jpeg_header(data).buffered_components
    if image.format == "TIFF":
        return _tiff_bytes(image)
    return (WEBP if image.format == "WEBP" else UNMEASURED) - loaded


def _tiff_bytes(image: Image.Image) -> float:
    """A strip, or a tile, may be the whole image; JPEG and WebP inside of it need as much again, and coefficients."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(258, (1,))  # BitsPerSample: one for each sample, or one for all
    samples = tags.get(277, 1)  # SamplesPerPixel
    strip: float = max(sum(bits), max(bits) * samples) / 8
    tile = int(tags.get(322, 0)) * int(tags.get(323, 0))  # TileWidth, TileLength
    strip *= max(1.0, tile / (image.width * image.height))  # a tile may be far larger than its image
    return math.ceil(strip) if image.info.get("compression") in _BUFFERED_TIFF else strip + 12
