"""Seeded mutations: of bytes, and of values as JSON has them."""

from __future__ import annotations

import random
import struct
import zlib
from contextlib import suppress
from typing import Any

from hypothesis import strategies as st

ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    5,
    2**31,
    2**63,
    -(2**70),
    10**400,
    10**5000,
    1.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "x",
    "r1",
    "\x00",
    "\ud800",
    "\u202e\x1b[2J",
    "USER:",
    "9" * 5000,
    "x" * 100_000,
    b"\xff",
    [],
    [[]],
    {},
    {"": None},
    [[[[[[]]]]]],
    (1, 2),
    {1: 2},
    {1, 2},
    object(),
    "[" * 2000,
    "[" * 2000 + "]" * 2000,
    "[1, 2, 3",
    '{"a":' * 1000,
    "data:image/png;base64,AAAA",
    "photo1",
    "img1",
]


def nested(depth: int, key: str | None = None) -> Any:
    """A value that is nested so deep."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if key is None else {key: value}
    return value


def odd_value(rng: random.Random) -> Any:
    """A value that hardly anybody expects."""
    return nested(rng.choice((10, 900, 3000)), rng.choice((None, "box"))) if rng.random() < 0.05 else rng.choice(ODD)


def mutate(value: Any, rng: random.Random) -> Any:
    """Change one thing somewhere in a value."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        changed = dict(value)
        key = rng.choice(list(changed))
        how = rng.randrange(5)
        if how == 0:
            del changed[key]
        elif how == 1:
            changed[rng.choice(("x", "box", "type", "id", key))] = odd_value(rng)
        else:
            changed[key] = mutate(changed[key], rng)
        return changed
    if isinstance(value, (list, tuple)) and value and rng.random() < 0.9:
        items = list(value)
        index = rng.randrange(len(items))
        how = rng.randrange(5)
        if how == 0:
            del items[index]
        elif how == 1:
            items *= rng.choice((2, 50))
        else:
            items[index] = mutate(items[index], rng)
        return items
    return odd_value(rng)


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat or insert some bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 40))):
        at = rng.randrange(len(changed) + 1)
        how = rng.randrange(4)
        if how == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            del changed[at : at + rng.choice((1, 4, 100, 10_000))]
        elif how == 2:
            changed[at:at] = changed[at : at + rng.choice((1, 4, 100))]
        else:
            changed[at:at] = rng.choice((b"\x00", b"\xff" * 4, b"IHDR", b"\xff\xd9", b"IEND", rng.randbytes(8)))
    return bytes(changed)


def mutate_png(data: bytes, rng: random.Random) -> bytes:
    """Change fields, pixels or chunks of a PNG, with checksums that fit: a decoder reads further than the first one."""
    chunks = []
    at = 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    for _ in range(rng.choice((1, 1, 2, 4))):
        index = rng.randrange(len(chunks))
        name, body = chunks[index]
        how = rng.randrange(6)
        if how == 0:
            chunks.insert(index, rng.choice(chunks))
        elif how == 1 and len(chunks) > 2:
            del chunks[index]
        elif how == 2:
            chunks.insert(1, (rng.choice(_PNG_CHUNKS), rng.randbytes(rng.choice((0, 1, 4, 9, 300)))))
        elif how == 3 and name == b"IDAT":
            with suppress(zlib.error):
                chunks[index] = name, zlib.compress(mutate_bytes(zlib.decompress(body), rng))
        else:
            chunks[index] = name, mutate_bytes(body, rng)
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


_PNG_CHUNKS = (
    b"PLTE",
    b"tRNS",
    b"gAMA",
    b"iCCP",
    b"tEXt",
    b"zTXt",
    b"iTXt",
    b"eXIf",
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"pHYs",
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["r1", "photo1", "USER:", "[", "\x1b[2J"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.sampled_from(["box", "point", "polygon", "id"]), inner, max_size=4)
    ),
    max_leaves=20,
)
"""Values as an LLM can write them."""
