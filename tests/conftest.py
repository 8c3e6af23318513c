"""Fixtures: a small real ViP-LLaVA with random weights, and a real photograph."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from langchain_vipllava import ChatVipLlava, MarkedImage, Region, VipLlavaToolkit, mark
from tests.support.checkpoints import save_checkpoint
from tests.support.hands import FOUND, Hands

# the models are tiny: more threads than one only get into each other's way
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved ViP-LLaVA with random weights: it answers nonsense, deterministically."""
    return save_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def llm(tiny_checkpoint: Path) -> ChatVipLlava:
    return ChatVipLlava(model=str(tiny_checkpoint), max_tokens=12)


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """The astronaut of scikit-image, 512 x 512."""
    from skimage import data

    return Image.fromarray(data.astronaut())


@pytest.fixture
def marked(photo: Image.Image) -> MarkedImage:
    return mark(photo, [Region(box=(174, 65, 273, 164), id="face"), Region(box=(330, 20, 480, 250), id="rocket")])


@pytest.fixture
def toolkit(llm: ChatVipLlava) -> VipLlavaToolkit:
    return VipLlavaToolkit(chat_model=llm, detector=lambda image: FOUND)


@pytest.fixture
def hands(toolkit: VipLlavaToolkit, photo: Image.Image) -> Hands:
    """The tools of a toolkit that has the photo, and its regions, as photo1."""
    toolkit.add_image(photo, detections=FOUND)
    return Hands(toolkit)


@pytest.fixture(scope="session")
def saved(photo: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photo as a file, in a folder of its own."""
    path = tmp_path_factory.mktemp("outer") / "images" / "photo.png"
    path.parent.mkdir()
    photo.save(path, compress_level=1)
    return path
