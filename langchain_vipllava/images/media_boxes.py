"""The boxes of ISO media (ISO/IEC 14496-12), in which AVIF and HEIF keep streams and EXIF."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

from langchain_vipllava.images.tiff_tags import is_tagged, read_tags

_MAX_ENTRIES = 10_000
"""Boxes of one level, and items, that are looked at. Chosen: a picture has some ten; more would only take time."""

_MAX_PARTS = 16
"""Blocks of EXIF, and parts of one. Chosen: encoders write one."""

_HEAD = 64
"""Bytes by which EXIF is known. Chosen: its four, the signature of a TIFF, and some of the "Exif" before it."""

_CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")

Extent = tuple[int, int]
"""The offset and the length of a part of an item, in bytes of the file. A length of 0 is what remains of the file."""


def stream_offsets(data: bytes) -> Iterator[int]:
    """Yield where each item begins, and the first chunk of each track."""
    for name, start, stop in _all_boxes(data, 0, len(data)):
        if name == b"meta":
            yield from (extents[0][0] for extents in _items(data, start, stop) if extents)
        elif name in (b"stco", b"co64"):
            yield struct.unpack_from(">L" if name == b"stco" else ">Q", data, start + 8)[0]


def has_excessive_exif(data: bytes) -> bool:
    """Return whether reading the EXIF of an AVIF takes more memory than it should, or cannot be told.

    Every item counts that looks like EXIF behind the 4 bytes that such an item begins with (ISO/IEC 23008-12, A.2.1).
    """
    blocks = 0
    try:
        for name, start, stop in _all_boxes(data, 0, len(data)):
            for extents in _items(data, start, stop) if name == b"meta" else ():
                if is_tagged(_joined(data, extents, _HEAD)[4:]):
                    blocks += 1
                    if max(blocks, len(extents)) > _MAX_PARTS or read_tags(_joined(data, extents)[4:]).excessive:
                        return True
    except (struct.error, IndexError, RecursionError):  # libavif says what is wrong with it
        pass
    return False


def _joined(data: bytes, extents: list[Extent], limit: int = sys.maxsize) -> bytes:
    joined = bytearray()
    for start, length in extents:
        end = min(start + length if length else len(data), start + limit - len(joined))
        joined += data[start:end]
    return bytes(joined)


def _all_boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield boxes as `_boxes` does, and those inside of the boxes that lead to streams."""
    for name, begin, end in _boxes(data, start, stop):
        yield name, begin, end
        if name in _CONTAINERS:
            yield from _all_boxes(data, begin, end)


def _boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, the start and the end of each box."""
    for _ in range(_MAX_ENTRIES):
        if start + 8 > stop:
            return
        size, name = struct.unpack_from(">L4s", data, start)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, start + 8), 16
        end = stop if size == 0 else start + size
        if end > stop or end < start + head:
            return
        yield name, start + head, end
        start = end


def _items(data: bytes, start: int, stop: int) -> Iterator[list[Extent]]:
    """Yield the extents of each item of a `meta` box."""
    inner = list(_boxes(data, start + 4, stop))
    idat = next((begin for child, begin, _ in inner if child == b"idat"), 0)
    for child, begin, end in inner:
        if child == b"iloc":
            yield from _locations(data[begin:end], idat)


def _locations(box: bytes, idat: int) -> Iterator[list[Extent]]:
    """Yield the extents of each item of an `iloc` box."""
    version, sizes = box[0], struct.unpack_from(">H", box, 4)[0]
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    index_size = index_size if version else 0
    wide = 4 if version == 2 else 2
    count, at = int.from_bytes(box[6 : 6 + wide], "big"), 6 + wide
    for _ in range(min(count, _MAX_ENTRIES)):
        at += wide
        in_idat = version > 0 and box[at + 1] & 15 == 1
        at += 4 if version else 2
        base = int.from_bytes(box[at : at + base_size], "big") + (idat if in_idat else 0)
        at += base_size
        (extents,) = struct.unpack_from(">H", box, at)
        first, step = at + 2, index_size + offset_size + length_size
        at = first + extents * step
        yield [
            (
                base + int.from_bytes(box[start : start + offset_size], "big"),
                int.from_bytes(box[start + offset_size : start + offset_size + length_size], "big"),
            )
            for start in (first + index_size + step * part for part in range(min(extents, _MAX_PARTS + 1)))
        ]
