"""Masks as COCO run-length encoding (RLE): lossless, and small enough for JSON.

COCO counts pixels column by column (Fortran order), and starts with the number of zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from langchain_vipllava.errors import RegionError, shorten
from langchain_vipllava.regions.limits import DEFAULT_LIMITS, RegionLimits

MAX_PIXELS = 2**28
"""Pixels of the largest single mask that is decoded. Chosen: 16384 x 16384. A few bytes of RLE can claim any size."""


def encode_rle(mask: np.ndarray) -> dict[str, list[int]]:
    """Encode a (H, W) bool mask as uncompressed COCO RLE.

    Example:
        >>> import numpy as np
        >>> encode_rle(np.array([[0, 1], [0, 1]], dtype=bool))
        {'size': [2, 2], 'counts': [2, 2]}
    """
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes.tolist(), flat.size]).tolist()
    if flat.size and flat[0]:
        counts = [0, *counts]
    return {"size": [int(side) for side in mask.shape], "counts": counts}


def rle_size(rle: Mapping[str, Any]) -> tuple[int, int]:
    """Return the `(width, height)` that an RLE states.

    Raises:
        RegionError: it states none.
    """
    try:
        height, width = (int(side) for side in rle["size"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RegionError(f"mask {shorten(rle)} is not COCO RLE; expected {{size: [H, W], counts: ...}}.") from error
    return width, height


def decode_rle(rle: Mapping[str, Any], limits: RegionLimits = DEFAULT_LIMITS) -> np.ndarray:
    """Decode COCO RLE to a (H, W) bool mask. `counts` is a list, or a string if compressed.

    Raises:
        RegionError: not `{"size": [H, W], "counts": ...}`, counts that do not fill the size, or more pixels or counts
            than `MAX_PIXELS` and the limits allow.
    """
    width, height = rle_size(rle)
    if height * width > min(MAX_PIXELS, limits.max_mask_bytes):
        raise RegionError(f"mask of {shorten(width)} x {shorten(height)} pixels; expected at most {MAX_PIXELS}.")
    try:
        counts = rle["counts"]
        limits.check_values(len(counts))
        if isinstance(counts, (str, bytes)):
            counts = _decompress(counts)
        counts = np.asarray(counts, dtype=np.int64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RegionError(f"mask {shorten(rle)} is not COCO RLE; expected {{size: [H, W], counts: ...}}.") from error
    # Sum Python integers: an int64 sum can wrap around to the right total, and np.repeat would crash the process.
    total = sum(counts.ravel().tolist())
    if height < 1 or width < 1 or (counts < 0).any() or total != height * width:
        raise RegionError(f"mask counts add up to {shorten(total)}; expected {height} x {width} = {height * width}.")
    values = np.arange(counts.size) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")


def _decompress(text: str | bytes) -> list[int]:
    """Decode COCO's string form: 5 bits per character, low bits first, each count minus the one two before it."""
    counts: list[int] = []
    value = shift = 0
    for byte in text.encode("ascii") if isinstance(text, str) else text:
        bits = byte - 48
        if not 0 <= bits < 64:
            raise ValueError(f"character {byte} in compressed counts")
        if shift > 60:
            raise ValueError("a compressed count of more than 64 bits")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value |= -1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("compressed counts end in the middle of a number")
    return counts
