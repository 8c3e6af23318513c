"""Fixtures: a small ViP-LLaVA with random weights, and a photograph."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from PIL import Image

from langchain_vipllava import ChatVipLlava, MarkedImage, Region, VipLlavaToolkit, mark
from tests.support.checkpoints import save_checkpoint
from tests.support.tool_caller import DETECTIONS, ToolCaller

# these models are so small that more threads only slow them down
torch.set_num_threads(1)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell script; processes inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved ViP-LLaVA with random weights. Its answers are meaningless but deterministic."""
    return save_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def llm(tiny_checkpoint: Path) -> ChatVipLlava:
    return ChatVipLlava(model=str(tiny_checkpoint), max_tokens=12)


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """scikit-image's photograph of an astronaut, 512 x 512."""
    from skimage import data

    return Image.fromarray(data.astronaut())


@pytest.fixture
def marked(photo: Image.Image) -> MarkedImage:
    return mark(photo, [Region(box=(174, 65, 273, 164), id="face"), Region(box=(330, 20, 480, 250), id="rocket")])


@pytest.fixture
def toolkit(llm: ChatVipLlava, saved: Path) -> VipLlavaToolkit:
    return VipLlavaToolkit(chat_model=llm, detector=lambda image: DETECTIONS, image_root=saved.parent)


@pytest.fixture
def caller(toolkit: VipLlavaToolkit, photo: Image.Image) -> ToolCaller:
    """Calls the tools of a toolkit to which the photo and its detections were added as photo1."""
    toolkit.add_image(photo, detections=DETECTIONS)
    return ToolCaller(toolkit)


@pytest.fixture(scope="session")
def saved(photo: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of the photo as a file, the only one in its folder."""
    path = tmp_path_factory.mktemp("outer") / "images" / "photo.png"
    path.parent.mkdir()
    photo.save(path, compress_level=1)
    return path
