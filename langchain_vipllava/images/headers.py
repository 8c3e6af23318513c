"""What an encoded image says about itself, read without Pillow where Pillow would allocate memory to read it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX_TAG_VALUES = 2**20
"""Numbers in all tags of a TIFF. Pillow makes a Python object of each, of 300 bytes for a fraction; the tiles of 90
megapixels, at 16 x 16, have 700,000 offsets and sizes."""

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")
"""The first bytes of what Pillow reads as TIFF: of either byte order, classic or BigTIFF, also with swapped magic."""

_NUMBER_TYPES = frozenset({3, 4, 5, 8, 9, 10, 11, 12, 13, 16, 17, 18})
"""TIFF's types but those of texts and bytes, which stay as they are."""

_SOS, _EOI, _APP1 = 0xDA, 0xD9, 0xE1
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LONE_MARKERS = frozenset({0x01, 0xFF, *range(0xD0, 0xD9)})
"""Markers without a length: fill bytes, restarts and the like."""


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Return the (width, height) that a WebP file claims; None if it has no header that libwebp reads.

    libwebp allocates the canvas when Pillow opens the file.
    """
    chunk = data[12:16]
    if chunk == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if chunk == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    if chunk == b"VP8 " and len(data) >= 30:
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


@dataclass(frozen=True)
class JpegHeader:
    """What stands before the first scan of a JPEG.

    Attributes:
        buffered_components: components that libjpeg keeps as coefficients until the last scan has come: none if all
            come in one scan.
        exif_bytes: size of the EXIF block, which Pillow joins from any number of segments.
    """

    buffered_components: int
    exif_bytes: int


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Read the segments of a JPEG up to its first scan. One that cannot be read counts as progressive, in CMYK."""
    position, components, progressive, exif = 2, 4, True, 0
    while position + 5 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _LONE_MARKERS:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == _SOS and not progressive and data[position + 4] == components:
            return JpegHeader(0, exif)
        if marker in (_SOS, _EOI):
            break
        if marker in _FRAMES and position + 10 <= len(data):
            components, progressive = data[position + 9], marker in _PROGRESSIVE
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _APP1 and data[position + 4 : position + 8] == b"Exif":
            exif += length
        position += 2 + length
    return JpegHeader(components, exif)


def tiff_numbers(data: bytes) -> int:
    """Return how many numbers the tags of a TIFF's first image claim to have."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    head, count_at, entry = ("Q", 8, "HHQ8x") if big else ("L", 4, "HHL4x")
    count_format = "Q" if big else "H"
    try:
        (first,) = struct.unpack_from(order + head, data, count_at)
        (count,) = struct.unpack_from(order + count_format, data, first)
        at = first + struct.calcsize(order + count_format)
        size = struct.calcsize(order + entry)
        total = 0
        for index in range(count):
            _, kind, values = struct.unpack_from(order + entry, data, at + index * size)
            total += values if kind in _NUMBER_TYPES else 0
    except struct.error:  # Pillow says what is wrong with it
        return 0
    return total
