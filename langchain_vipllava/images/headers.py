"""What an encoded image says about itself, read without Pillow where Pillow would allocate memory to read it."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

MAX_PARTS = 2**17
"""Segments of a JPEG, chunks of a PNG, blocks of a GIF, and single bytes between them. Pillow reads each in Python, in
some microseconds and up to 180 bytes: 9.5 MB of them took 319 MiB, 10 MB took 16 seconds. Chosen: 20 times the chunks
of a PNG of 50 MiB at 8 KiB each, as libpng writes them."""

MAX_SCANS = 100
"""Scans of a JPEG, each of which goes over the whole image. Chosen: as libtiff (JPEG_MAX_ALLOWED_SCAN_NUMBER); encoders
write 10. A scan of 122 bytes took 11 ms, and 50 MiB hold 400,000 of them."""

MAX_EXIF_BYTES = 2**20
"""EXIF that is looked at. Chosen: 16 times what a segment of a JPEG can have."""

_SOS, _EOI, _APP1, _APP2 = 0xDA, 0xD9, 0xE1, 0xE2
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
        exif: the EXIF block, which Pillow joins from any number of segments; joining ends above `MAX_EXIF_BYTES`.
        index: the index of a JPEG with several images (MPO), whose tags Pillow reads as those of a TIFF.
        parts: segments, and bytes between them; counting ends above `MAX_PARTS`.
        scans: scans that libjpeg goes through; counting ends above `MAX_SCANS`.
    """

    buffered_components: int
    parts: int
    scans: int
    exif: bytes
    index: bytes


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Read the segments of a JPEG, as Pillow and libjpeg do. One without a frame counts as progressive, in CMYK."""
    position, parts, scans, exif, index = 2, 0, 0, bytearray(), b""
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
        elif marker == _APP1 and data[found + 4 : found + 10] == b"Exif\0\0" and not scans:
            exif += data[found + 10 : position] if len(exif) <= MAX_EXIF_BYTES else b""
        elif marker == _APP2 and data[found + 4 : found + 8] == b"MPF\0" and not scans:
            index = data[found + 8 : position]
        elif marker == _SOS:
            if not scans and not progressive and data[found + 4] == components:
                return JpegHeader(0, parts, 1, bytes(exif), index)
            scans += 1
            after = _AFTER_SCAN.search(data, position)
            position = len(data) if after is None else after.start()
    return JpegHeader(components, parts, scans, bytes(exif), index)


def png_chunks(data: bytes) -> int:
    """Return how many chunks a PNG has; counting ends above `MAX_PARTS`. Other formats have none."""
    position, chunks = 8, 0
    while data.startswith(b"\x89PNG") and position + 12 <= len(data) and chunks <= MAX_PARTS:
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        chunks += 1
    return chunks
