"""Damaged image files."""

from __future__ import annotations

import io
import warnings

import pytest
from PIL import Image

from langchain_vipllava import load_image
from tests.fuzz.mutations import mutate_bytes

FORMATS = {"PNG": {}, "JPEG": {}, "GIF": {}, "BMP": {}, "WEBP": {}, "TIFF": {}}


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_images(fuzz, name):
    buffer = io.BytesIO()
    Image.effect_noise((40, 30), 60).convert("RGB").save(buffer, format=name)
    rng = fuzz.rng()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about damaged metadata
        for _ in fuzz.rounds(100):
            image = fuzz.try_input(load_image, mutate_bytes(buffer.getvalue(), rng))
            assert image is None or image.mode == "RGB"
