"""The sizes of the video streams inside of an AVIF, which its header need not name."""

from __future__ import annotations

import struct

from langchain_vipllava.images.media_boxes import stream_offsets

_TEMPORAL_DELIMITER, _SEQUENCE_HEADER = 2, 1


def stream_sizes(data: bytes) -> list[tuple[int, int]]:
    """Return the (width, height) of each AV1 stream of an AVIF; libavif decodes a stream at its own size.

    Streams that do not begin where the table of items says, with their sequence header, are left out.
    """
    try:
        return [size for offset in stream_offsets(data) if (size := _sequence_size(data[offset : offset + 64]))]
    except (struct.error, IndexError, RecursionError):  # libavif says what is wrong with it
        return []


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
