"""The pixels that the model reads do not depend on whether torchvision is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import AutoProcessor

from langchain_vipllava import pad_to_square
from langchain_vipllava.backends.served_checkpoint import find_checkpoint
from langchain_vipllava.backends.served_images import SERVED_IMAGES
from langchain_vipllava.backends.served_request import ServedRequest
from langchain_vipllava.engine.encoding import PromptEncoder
from langchain_vipllava.engine.image_processor import pillow_processor
from langchain_vipllava.engine.request_clock import RequestClock
from langchain_vipllava.images.view import padding_color
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol.chat_request import ChatRequest
from langchain_vipllava.protocol.load_options import BUNDLED_FOLDER
from tests.support.checkpoints import make_model, make_processor
from tests.support.engine import open_image
from tests.support.plain_generate import request

PICTURE = Image.fromarray(np.random.default_rng(6).integers(0, 255, (300, 300, 3), dtype=np.uint8))


class BaseImageProcessorFast:
    """Stands for the base of transformers 4: torchvision is not installed where most tests run."""

    def __init__(self, on_pillow):
        self.on_pillow = on_pillow
        self.size, self.resample = on_pillow.size, on_pillow.resample

    def to_dict(self):
        return self.on_pillow.to_dict()

    def __call__(self, **arguments):
        pixels = self.on_pillow(**arguments)
        return {"pixel_values": pixels["pixel_values"] + 2 / 255}


class CLIPImageProcessorFast(BaseImageProcessorFast):
    pass


class OtherImageProcessorFast(BaseImageProcessorFast):
    pass


def pixels_of(processor):
    encoder = PromptEncoder(processor, transformers.AutoConfig.from_pretrained(BUNDLED_FOLDER))
    prompt = encoder.encode(request(Conversation((Turn("What is it?", (open_image(PICTURE),)),))))
    return prompt.images[0].pixels


def test_a_processor_on_torchvision_is_replaced_by_the_one_on_pillow():
    processor = AutoProcessor.from_pretrained(BUNDLED_FOLDER)
    expected = pixels_of(processor)
    on_pillow = pillow_processor(processor.image_processor)
    assert pillow_processor(on_pillow) is on_pillow
    processor.image_processor = CLIPImageProcessorFast(on_pillow)
    assert torch.equal(pixels_of(processor), expected)
    unknown = OtherImageProcessorFast(on_pillow)
    assert pillow_processor(unknown) is unknown  # of somebody's own: none on Pillow is known


WITH_TORCHVISION = """
import sys, types
# its operators are of another build than a CPU-only torch, and are not needed here
sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
from tests.engine.test_image_processor import AutoProcessor, BUNDLED_FOLDER, pixels_of
import torch
processor = AutoProcessor.from_pretrained(BUNDLED_FOLDER)
print(type(processor.image_processor).__mro__[1].__name__)
torch.save(pixels_of(processor), sys.argv[1])
"""


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_an_installed_torchvision_changes_no_pixel(tmp_path):
    target = tmp_path / "pixels.pt"
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    command = [sys.executable, "-c", WITH_TORCHVISION, str(target)]
    subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    without = AutoProcessor.from_pretrained(BUNDLED_FOLDER)
    without.image_processor = pillow_processor(without.image_processor)
    assert torch.equal(torch.load(target), pixels_of(without))


@pytest.mark.parametrize("sides", [(56, 56), (70, 56)], ids=["resized to the view", "resized to more"])
@pytest.mark.parametrize("size", [(300, 100), (301, 100), (50, 81), (57, 56), (1333, 901), (1200, 1601), (1, 50)])
def test_a_center_crop_has_the_pixels_of_the_checkpoints_own_processor(size, sides):
    """It resizes first and cuts then: the other way round, half of the cuts lie half a pixel beside its own."""
    resized, cut = sides
    processor = make_processor(side=cut)
    processor.image_processor.size = {"shortest_edge": resized}
    image = Image.fromarray(np.random.default_rng(7).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))
    config = make_model(processor).config
    encoder = PromptEncoder(processor, config)
    asked = request(Conversation((Turn("What is it?", (open_image(image),)),)), image_fit="center_crop")
    own = processor.image_processor(images=[image], return_tensors="pt")["pixel_values"][0]
    differences = (encoder.encode(asked).images[0].pixels - own).abs() * 255 * 0.27  # in levels of 255
    assert differences.max() < 2.5
    assert (differences > 0.5).float().mean() < 0.005


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 3), (3, 1), (2, 3), (4, 4)])
def test_the_channels_of_a_tiny_image_are_not_taken_for_its_rows(size):
    """transformers takes an array whose first side is 1 or 3 for one with its channels in front."""
    processor = make_processor()
    image = Image.fromarray(np.random.default_rng(8).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))
    encoder = PromptEncoder(processor, make_model(processor).config)
    asked = request(Conversation((Turn("What is it?", (open_image(image),)),)))
    resized = np.asarray(pad_to_square(image).resize((56, 56), Image.Resampling.BICUBIC)) / 255
    settings = processor.image_processor
    expected = ((resized - settings.image_mean) / settings.image_std).transpose(2, 0, 1)
    assert np.abs(encoder.encode(asked).images[0].pixels.numpy() - expected).max() < 0.02


@pytest.mark.parametrize("mean", [[0.5, 0.5, 0.5], [0.1, 0.9, 0.3], None], ids=["gray", "green", "CLIP's"])
@pytest.mark.parametrize("size", [(300, 100), (40, 90), (2001, 900)])
def test_padding_has_the_color_of_the_checkpoints_own_mean(size, mean):
    """That is what training padded with, and what transformers' own padding takes."""
    means = {} if mean is None else {"image_mean": mean}
    sides = {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}}
    own = transformers.LlavaImageProcessor(do_pad=True, **sides, **means)
    image = Image.fromarray(np.random.default_rng(9).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))
    expected = np.asarray(own(images=[image], return_tensors="np")["pixel_values"][0])
    processor = make_processor()
    model = make_model(processor)
    processor.image_processor = transformers.CLIPImageProcessor(**sides, **means)
    asked = request(Conversation((Turn("What is it?", (open_image(image),)),)))
    seen = PromptEncoder(processor, model.config).encode(asked).images[0].pixels.numpy()
    assert np.abs(seen - expected).max() < 0.02  # 1 of 255
    assert open_uri_of(image, own.image_mean).getpixel((0, 0)) == tuple(int(255 * part) for part in own.image_mean)


@pytest.mark.parametrize(("mean", "color"), [([0.5, 0.25, 0.75], (127, 63, 191)), (None, (122, 116, 104))])
def test_a_client_of_a_server_reads_the_color_of_padding(tmp_path, mean, color):
    for name in ("config.json", "tokenizer.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((BUNDLED_FOLDER / name).read_bytes())
    if mean is not None:
        path = tmp_path / "preprocessor_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "image_mean": mean}))
    checkpoint = find_checkpoint(str(tmp_path), fetch=False)
    image = open_image(Image.new("RGB", (40, 10), "red"))
    asked = ChatRequest(Conversation((Turn("What is it?", (image,)),)), max_tokens=5)
    (uri,) = ServedRequest.encode(asked, checkpoint, RequestClock()).uris
    assert open_image(uri).decode().getpixel((0, 0)) == color


def open_uri_of(image, mean):
    """The square that a server gets of an image, in a checkpoint with this mean."""
    data = SERVED_IMAGES.uri(open_image(image), "pad", 56, Image.Resampling.BICUBIC, padding_color(mean))
    return open_image(data).decode()
