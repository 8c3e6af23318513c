"""What the tags of a TIFF claim to have, read before Pillow makes objects of them. EXIF is a TIFF, too."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX_TAG_VALUES = 2**20
"""Numbers in all tags. Pillow makes a Python object of each, of 300 bytes for a fraction; the tiles of 90 megapixels,
at 16 x 16, have 700,000 offsets and sizes."""

MAX_TAGS = 2**16
"""Tags: their numbers have 16 bits. A BigTIFF can claim more, and Pillow reads them one by one."""

MAX_SHARED = 2**20
"""Bytes that the tags may have beyond the whole file. Tags can share their bytes, and Pillow before 13 reads them for
each tag anew: 2 MB took 1.5 GiB. Chosen: far above what writers share (a resolution), and small as memory."""

_LAYOUTS = {
    b"II*\0": (False,),
    b"MM\0*": (False,),
    b"II\0*": (False,),
    b"MM*\0": (False,),
    b"II+\0": (True,),
    b"MM\0+": (True, False),
}
"""Whether what Pillow reads as TIFF is a BigTIFF, by its first bytes. Pillow 13 takes the last for a classic one."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, by the type of its tag."""

_TEXTS = frozenset({1, 2, 6, 7})
"""Types of texts and bytes, which stay as they are."""


_PREFIX = b"Exif\0\0"
_MAX_PREFIXES = 8
"""How often an EXIF block may begin anew. Pillow copies the block for each, and a megabyte holds 175,000 of them.
Chosen: files with two are seen."""


@dataclass(frozen=True)
class TiffTags:
    """What the tags of an image claim.

    Attributes:
        numbers: values that become a Python object each; with too many tags, too many.
        shared: bytes of all tags beyond the size of the file.
    """

    numbers: int = 0
    shared: int = 0

    @property
    def excessive(self) -> bool:
        """Whether reading them takes more memory than a file of this size should."""
        return self.numbers > MAX_TAG_VALUES or self.shared > MAX_SHARED


_TOO_MANY = TiffTags(numbers=MAX_TAG_VALUES + 1)


def is_tagged(data: bytes) -> bool:
    """Return whether Pillow reads it as a TIFF, or as an EXIF block. Its first 64 bytes suffice."""
    return _prefixes(data) > _MAX_PREFIXES or _bare(data)[:4] in _LAYOUTS


def read_tags(data: bytes) -> TiffTags:
    """Read the tags of a TIFF's first image, or of an EXIF block. What is neither has none."""
    if _prefixes(data) > _MAX_PREFIXES:
        return _TOO_MANY
    data = _bare(data)
    readings = [_read(data, big) for big in _LAYOUTS.get(data[:4], ())]
    return max(readings, key=lambda tags: (tags.excessive, tags.shared, tags.numbers), default=TiffTags())


def _prefixes(data: bytes) -> int:
    """Count up to one more than the bound."""
    return next((count for count in range(_MAX_PREFIXES + 1, 0, -1) if data.startswith(_PREFIX * count)), 0)


def _bare(data: bytes) -> bytes:
    return data[len(_PREFIX) * _prefixes(data) :]


def _read(data: bytes, big: bool) -> TiffTags:
    order = "<" if data[:2] == b"II" else ">"
    head, count_at, entry, inline = ("Q", 8, "HHQQ", 8) if big else ("L", 4, "HHLL", 4)
    count_format = "Q" if big else "H"
    try:
        (first,) = struct.unpack_from(order + head, data, count_at)
        (count,) = struct.unpack_from(order + count_format, data, first)
    except struct.error:  # Pillow says what is wrong with it
        return TiffTags()
    if count > MAX_TAGS:
        return _TOO_MANY
    at, step = first + struct.calcsize(order + count_format), struct.calcsize(order + entry)
    numbers, read = 0, 0
    for start in range(at, min(at + count * step, len(data) - step + 1), step):
        _, kind, values, offset = struct.unpack_from(order + entry, data, start)
        size = values * _SIZES.get(kind, 0)
        numbers += values if size and kind not in _TEXTS else 0
        if size > inline and offset + size <= len(data):  # of what the file does not have, nothing is kept
            read += size
    return TiffTags(numbers, max(read - len(data), 0))
