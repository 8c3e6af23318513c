"""Images of many parts: nothing beside the pixels takes the time or the memory of the program."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import ImageError, ImageLimits, load_image
from langchain_vipllava.images.headers import MAX_PARTS, MAX_SCANS
from tests.support.hostile_images import chunk, encode, png, tiff

JPEG = encode(Image.new("RGB", (8, 8), "red"), "JPEG")
GIF = encode(Image.new("P", (8, 8)), "GIF")
FRAME = GIF.index(b",\0\0\0\0")
MANY = MAX_PARTS + 1


def in_jpeg(parts):
    """Put parts behind the first segment of a JPEG."""
    return JPEG[:20] + parts + JPEG[20:]


def in_gif(blocks):
    return GIF[:FRAME] + blocks + GIF[FRAME:]


def exif():
    """Segments of EXIF, 2 MB together, which say that one tag has 200,000 fractions."""
    head = b"II*\0" + struct.pack("<LHHHLLL", 8, 1, 0x011A, 5, 200_000, 64, 0)
    block = head.ljust(64) + bytes(1_600_000)
    parts = (b"Exif\0\0" + block[start : start + 60_000] for start in range(0, len(block), 60_000))
    return b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts)


def progressive(scans):
    """A progressive JPEG whose last scan comes more often than once."""
    data = encode(Image.new("L", (64, 64)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    own = data.count(b"\xff\xda")
    return data[:last] + data[last:-2] * (scans - own + 1) + data[-2:]


def tiled_tiff(side, tile):
    """A gray TIFF of one tile."""
    compressor = zlib.compressobj(9)
    data = b"".join(compressor.compress(bytes(tile)) for _ in range(tile)) + compressor.flush()
    entries = [(259, 3, 1, 8), (322, 4, 1, tile), (323, 4, 1, tile), (324, 4, 1, 8), (325, 4, 1, len(data))]
    return tiff(*entries, data=data, size=(side, side))


def big_tiff(tags):
    return struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, tags) + struct.pack("<HHQQ", 254, 7, 1, 0) * tags + bytes(8)


def rle_bmp(runs):
    """A BMP in runs of one pixel."""
    body = (b"\1\1" * 2000 + b"\0\0") * -(-runs // 2000)
    head = struct.pack("<LllHHLLllLL", 40, 2000, -(-runs // 2000), 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<LLL", 1078 + len(body), 0, 1078) + head + bytes(1024) + body


HOSTILE = {
    "comments of a JPEG": (lambda: in_jpeg(b"\xff\xfe\0\2" * MANY), "parts beside its pixels"),
    "segments of a JPEG": (lambda: in_jpeg(b"\xff\xe5\0\2" * MANY), "parts beside its pixels"),
    "padding of a JPEG": (lambda: in_jpeg(b"\xff" * 5 * MANY), "parts beside its pixels"),
    "bytes between segments of a JPEG": (lambda: in_jpeg(bytes(MANY)), "parts beside its pixels"),
    "EXIF of a JPEG": (lambda: in_jpeg(exif()), "bytes of EXIF"),
    "EXIF behind an escaped byte": (lambda: in_jpeg(b"\xff\0" + exif()), "bytes of EXIF"),
    "EXIF behind bytes that belong nowhere": (lambda: in_jpeg(b"??" + exif()), "bytes of EXIF"),
    "scans of a JPEG": (lambda: progressive(MAX_SCANS + 1), "scans"),
    "chunks of a PNG": (lambda: png(4, 4, before=chunk(b"prVt", b"") * MANY), "parts beside its pixels"),
    "chunks behind the pixels": (lambda: png(4, 4)[:-12] + chunk(b"prVt", b"") * MANY, "parts beside its pixels"),
    "comments of a GIF": (lambda: in_gif(b"!\xfe\1a\0" * MANY), "parts beside its pixels"),
    "blocks of a GIF": (lambda: in_gif(b"!\xff\1a\0" * MANY), "parts beside its pixels"),
    "bytes between blocks of a GIF": (lambda: in_gif(bytes(5 * MANY)), "parts beside its pixels"),
    "blocks that end twice": (
        lambda: in_gif(b"!\xff\0," + bytes(ord(",")) + b"\0" + b"!\xfe\1a\0" * MANY),
        "parts beside its pixels",
    ),
    "tags of a BigTIFF": (lambda: big_tiff(2**16 + 1), "in its tags"),
    "tile of a TIFF": (lambda: tiled_tiff(16, 30_000), "decoding this TIFF takes"),
    "runs of a BMP": (lambda: rle_bmp(2**21 + 1), "run-length BMP"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_image_of_too_many_parts_raises(kind):
    make, message = HOSTILE[kind]
    with pytest.raises(ImageError, match=message):
        load_image(make())


def test_a_tile_counts_as_the_memory_that_it_takes():
    """The finding: 2 MB of TIFF with 16 x 16 pixels took 2 GiB, because its one tile has 26,000 x 26,000."""
    assert load_image(tiled_tiff(16, 512)).size == (16, 16)
    with pytest.raises(ImageError, match="decoding this TIFF takes"):
        load_image(tiled_tiff(16, 512), limits=ImageLimits(max_pixels=10_000))


ORDINARY = {
    "JPEG that is padded to blocks of a disk": lambda: in_jpeg(b"\xff" * 2**16),
    "JPEG with a color profile of 3 MB": lambda: encode(
        Image.new("RGB", (8, 8), "red"), "JPEG", icc_profile=bytes(3 * 10**6)
    ),
    "JPEG with a video behind it": lambda: JPEG + np.random.default_rng(0).bytes(3 * 10**6),
    "PNG in small chunks": lambda: png(4, 4, before=chunk(b"prVt", b"") * 10_000),
    "GIF with a long comment": lambda: in_gif(b"!\xfe" + b"\xffa".ljust(256, b"a") * 4000 + b"\0"),
    "BMP in runs": lambda: rle_bmp(40_000),
    "progressive JPEG of many scans": lambda: progressive(60),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_what_cameras_and_programs_write_is_loaded(kind):
    assert min(load_image(ORDINARY[kind]()).size) >= 4
