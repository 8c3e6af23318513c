"""The sizes of the video streams inside of an AVIF, which its header need not name."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_TEMPORAL_DELIMITER, _SEQUENCE_HEADER = 2, 1

_MAX_ENTRIES = 10_000
"""Boxes of one level, and items, that are looked at. Chosen: a picture has some ten; more would only take time."""


def stream_sizes(data: bytes) -> list[tuple[int, int]]:
    """Return the (width, height) of each AV1 stream of an AVIF; libavif decodes a stream at its own size.

    Streams that do not begin where the table of items says, with their sequence header, are left out.
    """
    try:
        return [size for offset in _item_offsets(data) if (size := _sequence_size(data[offset : offset + 64]))]
    except (struct.error, IndexError, RecursionError):  # libavif says what is wrong with it
        return []


def _boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, the start and the end of each box of ISO media (ISO/IEC 14496-12)."""
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


def _item_offsets(data: bytes) -> Iterator[int]:
    for name, start, stop in _boxes(data, 0, len(data)):
        if name == b"meta":
            inner = list(_boxes(data, start + 4, stop))
            idat = next((begin for child, begin, _ in inner if child == b"idat"), 0)
            for child, begin, end in inner:
                if child == b"iloc":
                    yield from _item_locations(data[begin:end], idat)
        elif name == b"moov":
            yield from _chunk_offsets(data, start, stop)


def _chunk_offsets(data: bytes, start: int, stop: int) -> Iterator[int]:
    """Yield where the first chunk of each track begins."""
    for name, begin, end in _boxes(data, start, stop):
        if name in (b"trak", b"mdia", b"minf", b"stbl"):
            yield from _chunk_offsets(data, begin, end)
        elif name in (b"stco", b"co64"):
            yield struct.unpack_from(">L" if name == b"stco" else ">Q", data, begin + 8)[0]


def _item_locations(box: bytes, idat: int) -> Iterator[int]:
    """Yield where each item begins, from an `iloc` box."""
    version, sizes = box[0], struct.unpack_from(">H", box, 4)[0]
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    index_size = index_size if version else 0
    wide = 4 if version == 2 else 2
    count, at = int.from_bytes(box[6 : 6 + wide], "big"), 6 + wide
    for _ in range(min(count, _MAX_ENTRIES)):
        at += wide
        in_idat = version > 0 and box[at + 1] & 15 == 1
        at += 4 if version else 2
        base = int.from_bytes(box[at : at + base_size], "big")
        at += base_size
        (extents,) = struct.unpack_from(">H", box, at)
        at += 2
        if extents:
            first = at + index_size
            yield (idat if in_idat else 0) + base + int.from_bytes(box[first : first + offset_size], "big")
        at += extents * (index_size + offset_size + length_size)


def _sequence_size(stream: bytes) -> tuple[int, int] | None:
    """Return the (width, height) of a sequence header at the beginning of an AV1 stream (AV1 specification, 5.5)."""
    at = 0
    while at + 2 <= len(stream):
        kind, extended, sized = stream[at] >> 3 & 15, stream[at] & 4, stream[at] & 2
        at += 2 if extended else 1
        size = stream[at] if sized else 0
        at += 1 if sized else 0
        if kind == _SEQUENCE_HEADER:
            return _Bits(stream[at:]).frame_size()
        if kind != _TEMPORAL_DELIMITER:
            return None
        at += size
    return None


class _Bits:
    """Bits of a sequence header, read one field after the other."""

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise IndexError("the sequence header is cut off")
        return self._bits >> self._left & ((1 << count) - 1)

    def frame_size(self) -> tuple[int, int]:
        """Read up to max_frame_height_minus_1."""
        self.read(3 + 1)  # seq_profile, still_picture
        if self.read(1):  # reduced_still_picture_header
            self.read(5)
        else:
            self._skip_operating_points()
        width_bits, height_bits = self.read(4) + 1, self.read(4) + 1
        return self.read(width_bits) + 1, self.read(height_bits) + 1

    def _skip_operating_points(self) -> None:
        delay_bits = 0
        decoder_model = False
        if self.read(1):  # timing_info_present_flag
            self.read(32 + 32)
            if self.read(1):  # equal_picture_interval: a number in as many bits as zeros stand before it
                zeros = 0
                while not self.read(1):
                    zeros += 1
                self.read(zeros)
            if decoder_model := bool(self.read(1)):
                delay_bits = self.read(5) + 1
                self.read(32 + 5 + 5)
        initial_delay = self.read(1)
        for _ in range(self.read(5) + 1):
            self.read(12)
            if self.read(5) > 7:  # seq_level_idx
                self.read(1)
            if decoder_model and self.read(1):
                self.read(2 * delay_bits + 1)
            if initial_delay and self.read(1):
                self.read(4)
