"""Label Studio's run-length encoding of brush masks: thi.ng's rle-pack of an RGBA image."""

from __future__ import annotations

from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.geometry import Size

_CHANNELS = 4
"""Values of a pixel; the fourth is the mask."""


class _Bits:
    """Reads numbers of any width from bytes, the highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._size = data, 0, len(data) * 8

    def read(self, width: int) -> int:
        """Return the next number.

        Raises:
            DetectionError: the data ends before it.
        """
        end = self._at + width
        if end > self._size:
            raise DetectionError("its brush mask ends in the middle of a number; expected the whole list 'rle'.")
        first, last = self._at // 8, -(-end // 8)
        value = int.from_bytes(self._data[first:last], "big") >> (last * 8 - end)
        self._at = end
        return value & ((1 << width) - 1)


def decode_brush(rle: Any, size: Size | None, context: Context) -> np.ndarray:
    """Return the (H, W) bool mask of a brush.

    Raises:
        DetectionError: the size of the image is unknown, another size, not such an encoding, or more than the limits
            allow.
    """
    if size is None:
        raise DetectionError("its brush mask does not say its size; pass image_size=(width, height).")
    width, height = size
    context.masks.spend(width * _CHANNELS, height)
    context.limits.check_values(len(rle))
    try:
        bits = _Bits(bytes(rle))
    except (TypeError, ValueError) as error:
        raise DetectionError("its 'rle' is not a list of bytes, 0 to 255.") from error
    count = bits.read(32)
    if count != width * height * _CHANNELS:
        raise DetectionError(f"its brush mask has {count} values; expected {_CHANNELS} for each of {width} x {height}.")
    word = bits.read(5) + 1
    lengths = [bits.read(4) + 1 for _ in range(4)]
    values = np.zeros(count, dtype=np.uint32)
    at = 0
    while at < count:
        is_run = bits.read(1)
        end = at + 1 + bits.read(lengths[bits.read(2)])
        if end > count:
            raise DetectionError("its brush mask has more values than pixels.")
        if is_run:
            values[at:end] = bits.read(word)
        else:
            values[at:end] = [bits.read(word) for _ in range(at, end)]
        at = end
    mask: np.ndarray = values.reshape(height, width, _CHANNELS)[:, :, 3] > 0
    return mask
