"""What an encoded image says about itself, read without Pillow where Pillow would allocate memory to read it."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

MAX_TAG_VALUES = 2**20
"""Numbers in all tags of a TIFF. Pillow makes a Python object of each, of 300 bytes for a fraction; the tiles of 90
megapixels, at 16 x 16, have 700,000 offsets and sizes."""

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")
"""The first bytes of what Pillow reads as TIFF: of either byte order, classic or BigTIFF, also with swapped magic."""

_NUMBER_TYPES = frozenset({3, 4, 5, 8, 9, 10, 11, 12, 13, 16, 17, 18})
"""TIFF's types but those of texts and bytes, which stay as they are."""

MAX_TAGS = 2**16
"""Tags of a TIFF: their numbers have 16 bits. A BigTIFF can claim more, and Pillow reads them one by one."""

MAX_PARTS = 2**17
"""Segments of a JPEG, chunks of a PNG, blocks of a GIF, and single bytes between them. Pillow reads each in Python, in
some microseconds and up to 180 bytes: 9.5 MB of them took 319 MiB, 10 MB took 16 seconds. Chosen: 20 times the chunks
of a PNG of 50 MiB at 8 KiB each, as libpng writes them."""

MAX_SCANS = 100
"""Scans of a JPEG, each of which goes over the whole image. Chosen: as libtiff (JPEG_MAX_ALLOWED_SCAN_NUMBER); encoders
write 10. A scan of 122 bytes took 11 ms, and 50 MiB hold 400,000 of them."""

_SOS, _EOI, _APP1 = 0xDA, 0xD9, 0xE1
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LONE_MARKERS = frozenset({0x00, 0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})
"""Markers that Pillow passes over without a length: escaped bytes, restarts, extensions and the like."""
_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Return the (width, height) that a WebP file claims; None if it has no header that libwebp reads.

    libwebp allocates the canvas when Pillow opens the file.
    """
    chunk = data[12:16] if data.startswith(b"RIFF") else b""
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
    """What stands beside the pixels of a JPEG.

    Attributes:
        buffered_components: components that libjpeg keeps as coefficients until the last scan has come: none if all
            come in one scan.
        exif_bytes: size of the EXIF block, which Pillow joins from any number of segments.
        parts: segments, and bytes between them; counting ends above `MAX_PARTS`.
        scans: scans that libjpeg goes through; counting ends above `MAX_SCANS`.
    """

    buffered_components: int
    exif_bytes: int
    parts: int
    scans: int


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Read the segments of a JPEG, as Pillow and libjpeg do. One without a frame counts as progressive, in CMYK."""
    position, parts, scans, exif = 2, 0, 0, 0
    components, progressive = 4, True
    while parts <= MAX_PARTS and scans <= MAX_SCANS:
        found = data.find(b"\xff", position)
        if found < 0 or found + 4 >= len(data):
            break
        marker = data[found + 1]
        parts += 1 + found - position
        if marker == _EOI and scans:
            break
        if marker == 0xFF or marker in _LONE_MARKERS:
            position = found + (1 if marker == 0xFF else 2)
            continue
        length = int.from_bytes(data[found + 2 : found + 4], "big")
        position = found + 2 + length
        if marker in _FRAMES and found + 10 <= len(data):
            components, progressive = data[found + 9], marker in _PROGRESSIVE
        elif marker == _APP1 and data[found + 4 : found + 8] == b"Exif":
            exif += length
        elif marker == _SOS:
            if not scans and not progressive and data[found + 4] == components:
                return JpegHeader(0, exif, parts, 1)
            scans += 1
            after = _AFTER_SCAN.search(data, position)
            position = len(data) if after is None else after.start()
    return JpegHeader(components, exif, parts, scans)


def png_chunks(data: bytes) -> int:
    """Return how many chunks a PNG has; counting ends above `MAX_PARTS`. Other formats have none."""
    position, chunks = 8, 0
    while data.startswith(b"\x89PNG") and position + 12 <= len(data) and chunks <= MAX_PARTS:
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        chunks += 1
    return chunks


def tiff_numbers(data: bytes) -> int:
    """Return how many numbers the tags of a TIFF's first image claim to have; with too many tags, too many."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    head, count_at, entry = ("Q", 8, "HHQ8x") if big else ("L", 4, "HHL4x")
    count_format = "Q" if big else "H"
    try:
        (first,) = struct.unpack_from(order + head, data, count_at)
        (count,) = struct.unpack_from(order + count_format, data, first)
        at = first + struct.calcsize(order + count_format)
        size = struct.calcsize(order + entry)
        if count > MAX_TAGS:
            return MAX_TAG_VALUES + 1
        total = 0
        for index in range(count):
            _, kind, values = struct.unpack_from(order + entry, data, at + index * size)
            total += values if kind in _NUMBER_TYPES else 0
    except struct.error:  # Pillow says what is wrong with it
        return 0
    return total
