"""Damaged image files."""

from __future__ import annotations

import io
import random
import warnings

import pytest
from PIL import Image

from langchain_vipllava import load_image
from tests.fuzz.mutations import mutate_bytes, mutate_png

FORMATS = ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"]
MODES = ["RGB", "L", "P", "RGBA", "1", "CMYK", "I;16"]


def picture(name: str, mode: str) -> bytes:
    """A small picture as a file, in RGB where the format has no such mode."""
    image = Image.effect_noise((40, 30), 60)
    buffer = io.BytesIO()
    try:
        image.convert(mode).save(buffer, format=name)
    except (OSError, ValueError):
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, format=name)
    return buffer.getvalue()


def one_byte(data: bytes, rng: random.Random) -> bytes:
    """Change one byte: most decoders read on."""
    changed = bytearray(data)
    changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_images(fuzz, name):
    pictures = [picture(name, mode) for mode in MODES]
    rng = fuzz.rng()
    damages = [mutate_bytes, mutate_png if name == "PNG" else one_byte]
    opened = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about damaged metadata
        for round_ in fuzz.rounds(100):
            image = fuzz.try_input(load_image, rng.choice(damages)(pictures[round_ % len(pictures)], rng))
            assert image is None or image.mode == "RGB"
            opened += image is not None
    assert opened >= fuzz.tried // 20, "nearly nothing is decoded: the damage is too coarse to reach a decoder"
