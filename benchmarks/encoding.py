"""Encoding a photograph as PNG, for a message: ours, and Pillow at its default level and at its fastest.

`python -m benchmarks --only encode` times it. The note of each row compares the sizes.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image
from skimage import data

from benchmarks.answering import Row
from benchmarks.timing import measure
from langchain_vipllava.images.png import encode_png

LEVELS = {"Pillow": 6, "Pillow, level 1": 1}
TARGETS = {"Pillow": 5.0, "Pillow, level 1": 2.0}


def rows(repeats: int) -> list[Row]:
    """Measure one row per level of Pillow."""
    image = Image.fromarray(data.astronaut())

    def encode(level: int) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format="PNG", compress_level=level)
        return buffer.getvalue()

    functions: dict[str, Callable[[], object]] = {name: partial(encode, level) for name, level in LEVELS.items()}
    times = measure({"ours": partial(encode_png, image), **functions}, 10 * repeats)
    ours = encode_png(image)
    decoded = np.asarray(Image.open(io.BytesIO(ours)))
    return [
        Row(
            f"encode a photograph of {image.width}x{image.height}",
            name,
            times["ours"],
            times[name],
            TARGETS[name],
            same_answers=bool((decoded == np.asarray(image)).all()),
            note=f"{len(ours) / len(encode(level)):.2f} of the bytes",
        )
        for name, level in LEVELS.items()
    ]
