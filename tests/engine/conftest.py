"""Fixtures of the engine's tests: a tiny model, plain `generate` with it, and images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from langchain_vipllava.images.image import EncodedImage
from tests.support.plain_generate import PlainGenerate


@pytest.fixture(scope="module")
def parts(tiny_checkpoint: Path):
    from transformers import AutoProcessor, VipLlavaForConditionalGeneration

    model = VipLlavaForConditionalGeneration.from_pretrained(tiny_checkpoint, dtype=torch.float32).eval()
    return model, AutoProcessor.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def plain(parts) -> PlainGenerate:
    return PlainGenerate(*parts)


@pytest.fixture(scope="module")
def images() -> list[EncodedImage]:
    rng = np.random.default_rng(0)
    sizes = [(64, 64), (120, 40), (30, 90), (56, 56)]
    noise = [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]
    return [EncodedImage.from_pixels(image) for image in noise]
