"""Images that claim, repeat or contain more than they should."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def encode(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *, depth=8, color=0, interlaced=False, before=b""):
    """Return a black PNG that is complete, and a thousandth of its pixels in size."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    if not interlaced:
        passes = [(0, 0, 1, 1)]
    compressor = zlib.compressobj(9)
    body = b""
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0:
            row = bytes(1 + -(-columns * depth * samples // 8))
            for _ in range(max(rows, 0)):
                body += compressor.compress(row)
    body += compressor.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))
    palette = chunk(b"PLTE", bytes(6)) if color == 3 else b""
    chunks = chunk(b"IHDR", head) + before + palette + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def claiming_png(width, height):
    """Return a PNG of a few bytes whose header claims a size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff(*entries, data=b"", size=(4, 4)):
    """Return a gray TIFF with more tags: (tag, type, count, offset), where `data` begins at offset 8."""
    data = data or bytes(size[0] * size[1])
    tags = {
        256: (4, 1, size[0]), 257: (4, 1, size[1]), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 8),
        277: (3, 1, 1), 278: (4, 1, size[1]), 279: (4, 1, size[0] * size[1]),
    }  # fmt: skip
    tags |= {tag: rest for tag, *rest in entries}
    directory = b"".join(struct.pack("<HHLL", tag, *rest) for tag, rest in sorted(tags.items()))
    return struct.pack("<2sHL", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(tags)) + directory + bytes(4)


def webp(width, height):
    """Return the header of an extended WebP that claims a size, and an image of 1 x 1 pixels."""
    pixel = encode(Image.new("RGB", (1, 1)), "WEBP")[12:]
    canvas = struct.pack("<I", 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", len(canvas)) + canvas + pixel
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif(width, height):
    """Return a GIF of 35 bytes: a screen of any size, with a frame of one pixel."""
    frame = b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0\0\0\0\xff\xff\xff" + frame
