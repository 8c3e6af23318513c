"""`encode_png`, and who needs no encoding."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import ChatVipLlava, Region, VipLlavaToolkit, Workspace, load_image, mark
from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.apps.cli import app
from langchain_vipllava.apps.detectors import detect_shapes
from langchain_vipllava.backends.vision import BackendVision
from langchain_vipllava.images import image as image_module
from langchain_vipllava.images.png import encode_png
from tests.support.tool_caller import ToolCaller


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (640, 480), (65_535, 1), (1_000_001, 1)])
def test_png_keeps_every_pixel(size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    with Image.open(io.BytesIO(encode_png(Image.fromarray(pixels)))) as decoded:
        assert (decoded.format, decoded.mode) == ("PNG", "RGB")
        assert np.array_equal(decoded, pixels)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_png_of_other_modes_keeps_the_mode(mode):
    image = Image.effect_noise((20, 10), 90).convert(mode)
    with Image.open(io.BytesIO(encode_png(image))) as decoded:
        assert decoded.mode == mode
        assert decoded.tobytes() == image.tobytes()


@pytest.fixture
def encoded(monkeypatch):
    """The images that were encoded."""
    images = []
    monkeypatch.setattr(image_module, "encode_png", lambda pixels: images.append(pixels) or encode_png(pixels))
    return images


@pytest.fixture
def chat_model():
    return ChatVipLlava(model="bundled", max_tokens=8)


def test_the_command_line_encodes_nothing(encoded, capsys):
    assert app.run(["ask", str(SCENE), "What is the object {0}?", "--box", "59,378,164,483"]) == 0
    assert capsys.readouterr().out == "A white square.\n"
    assert encoded == []


def test_agent_tools_encode_nothing(encoded, chat_model):
    caller = ToolCaller(VipLlavaToolkit(chat_model=chat_model, detector=detect_shapes, image_root=SCENE.parent))
    caller.call("open_image", source="scene.png")
    caller.call("detect_regions", image_id="img1")
    caller.call("mark_regions", image_id="img1", regions=["r1", "r2"])
    answered = caller.call("ask_regions", image_id="marked1", question="What is r1?")
    assert "A white square." in answered.content
    assert encoded == []


def test_a_workspace_encodes_nothing(encoded, chat_model):
    workspace = Workspace(detector=detect_shapes, model=BackendVision(chat_model.backend))
    image_id = workspace.add_image(load_image(SCENE))
    workspace.detect(image_id)
    marked = workspace.mark(image_id, ["r1"])
    assert workspace.ask(marked.image_id, "What is r1?").answer == "A white square."
    assert encoded == []


def test_a_message_and_the_files_of_an_image_encode_it_once(encoded, chat_model, tmp_path):
    marked = mark(load_image(SCENE), [Region(box=(59, 378, 164, 483))])
    assert chat_model.invoke([marked.message("What is the object {0}?")]).content == "A white square."
    first, second = (marked.save(tmp_path / name) for name in ("a.png", "b.PNG"))
    assert encoded == [marked.image]
    assert first.read_bytes() == second.read_bytes() == marked.encoded.data
    assert np.array_equal(load_image(first), marked.image)
