"""The vision layers that the projector does not read are not kept, and nothing else changes."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from transformers import VipLlavaForConditionalGeneration

from langchain_vipllava import ChatVipLlava, CheckpointError
from langchain_vipllava.engine.loading import load_checkpoint
from langchain_vipllava.protocol.load_options import LoadOptions
from tests.support.checkpoints import FEATURE_LAYERS, feature_key

LAYERS = 5


def layers_of(model):
    return len({name.split("layers.")[1].split(".")[0] for name, _ in model.model.vision_tower.named_parameters()
                if "encoder.layers." in name})  # fmt: skip


def features(model, pixels):
    with torch.inference_mode():
        output = model.get_image_features(pixel_values=pixels)
    return torch.stack(list(getattr(output, "pooler_output", output)))


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def reading(tiny_checkpoint, tmp_path):
    """Make a checkpoint that reads other vision layers."""

    def make(layers):
        folder = shutil.copytree(tiny_checkpoint, tmp_path / "reading")
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), feature_key(): layers}))
        return str(folder)

    return make


@pytest.mark.parametrize(
    ("read", "kept"),
    [
        (FEATURE_LAYERS, 4),
        ([-1, -2, -3, -4, 1], 5),
        ([5, 0, 1, 2, 3], 5),
        ([-6, 1, 0, 2, 2], 2),
        ([3, -4, 3, 1, 2], 3),
    ],
)
def test_features_are_those_of_all_layers_bit_for_bit(reading, pixels, read, kept):
    folder = reading(read)
    whole = VipLlavaForConditionalGeneration.from_pretrained(folder).eval()
    loaded, _ = load_checkpoint(LoadOptions(folder, device="cpu"))
    assert (layers_of(whole), layers_of(loaded)) == (LAYERS, kept)
    assert torch.equal(features(whole, pixels), features(loaded, pixels))


def test_a_checkpoint_saved_again_answers_as_before(tiny_checkpoint, pixels, tmp_path):
    loaded, processor = load_checkpoint(LoadOptions(str(tiny_checkpoint), device="cpu"))
    loaded.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, _ = load_checkpoint(LoadOptions(str(tmp_path), device="cpu"))
    assert layers_of(again) == 4
    assert torch.equal(features(loaded, pixels), features(again, pixels))


def test_layers_that_the_tower_lacks_are_named(reading):
    chat = ChatVipLlava(model=reading([-2, -3, -4, -5, 9]))
    with pytest.raises(CheckpointError, match=r"\[-2, -3, -4, -5, 9\]; expected numbers from -6 to 5") as error:
        chat.invoke("Hi")
    assert len(str(error.value)) < 400
