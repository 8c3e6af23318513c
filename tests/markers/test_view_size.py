"""Sizes "seen by the model" are those of the checkpoint that is asked: 336 px for the 7B, 208 for the bundled one."""

from __future__ import annotations

import json
import warnings

import pytest
from PIL import Image
from transformers import AutoConfig

from langchain_vipllava import (
    ChatVipLlava,
    MarkerError,
    MarkRegions,
    Region,
    TinyRegionWarning,
    VipLlavaToolkit,
    Workspace,
    mark,
    mark_pages,
)
from langchain_vipllava.backends.checkpoint_facts import CheckpointFacts
from langchain_vipllava.backends.local import LocalBackend
from langchain_vipllava.backends.served_checkpoint import find_checkpoint
from langchain_vipllava.backends.vision import BackendVision
from langchain_vipllava.engine.encoding import PromptEncoder
from langchain_vipllava.engine.loading import load_checkpoint, load_config
from langchain_vipllava.engine.model_sizes import image_tokens
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.prompt.formats import FORMATS
from langchain_vipllava.protocol.load_options import LoadOptions
from tests.support.checkpoints import make_tokenizer
from tests.support.command_line import run

PHOTO = Image.new("RGB", (1008, 756), "gray")  # three image pixels are one of 336
SMALL = Region(box=(300, 300, 330, 330), id="r1")  # 10 px of 336, 6.2 of 208


def tiny_notes(caught):
    return [str(warning.message) for warning in caught if warning.category is TinyRegionWarning]


def test_a_region_may_be_large_enough_for_one_checkpoint_and_too_small_for_another():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        large = mark(PHOTO, SMALL)
        assert not tiny_notes(caught)
        small = mark(PHOTO, SMALL, view_size=208)
        (note,) = tiny_notes(caught)
    assert "6.2 x 6.2 px in the 208 px square" in note
    assert large.sizes_seen == [pytest.approx((10, 10))]
    assert small.sizes_seen == [pytest.approx((6.19, 6.19), abs=0.01)]


def test_zoom_and_pages_make_regions_readable_at_the_given_size():
    for side in (208, 336, 672):
        zoomed = mark(PHOTO, SMALL, zoom="auto", view_size=side)
        assert min(zoomed.sizes_seen[0]) >= 32
        far = [SMALL, Region(box=(500, 300, 560, 360), id="r2"), Region(box=(40, 600, 80, 640), id="r3")]
        pages = mark_pages(PHOTO, far, view_size=side)
        assert all(min(marker.seen) >= 31.9 for marker in pages.markers)
    assert mark(PHOTO, SMALL, zoom="auto", view_size=672).crop[0] < mark(PHOTO, SMALL, zoom="auto").crop[0]


@pytest.mark.parametrize("side", [0, -1, "336", None, True, 20.5])
def test_a_size_that_is_none_is_refused(side):
    for call in (mark, mark_pages):
        with pytest.raises(MarkerError, match="view_size="):
            call(PHOTO, SMALL, view_size=side)
    with pytest.raises(MarkerError, match="view_size="):
        MarkRegions(view_size=side)


def test_a_chat_model_knows_its_checkpoints_size(tiny_checkpoint):
    assert ChatVipLlava(model="bundled").view_size == 208
    assert ChatVipLlava(model="llava-hf/vip-llava-7b-hf").view_size == 336
    assert ChatVipLlava(model=str(tiny_checkpoint)).view_size == 56
    assert ChatVipLlava(model="/no/such/folder").view_size == 336
    model, processor = load_checkpoint(LoadOptions(str(tiny_checkpoint), device="cpu"))
    assert ChatVipLlava.from_model(model, processor).view_size == 56


def test_workspace_tools_and_chains_use_it(tmp_path):
    llm = ChatVipLlava(model="bundled")
    space = Workspace(model=BackendVision(LocalBackend.load(model="bundled")))
    image = space.add_image(PHOTO)
    assert "6.2 x 6.2 px where the vision model looks" in space.mark(image, [SMALL.box]).text
    PHOTO.save(tmp_path / "photo.png")
    toolkit = VipLlavaToolkit(chat_model=llm, image_root=tmp_path, session="s")
    tools = {tool.name: tool for tool in toolkit.get_tools()}
    opened = tools["open_image"].invoke({"source": str(tmp_path / "photo.png")})
    assert "img1" in opened
    said = tools["mark_regions"].invoke({"image_id": "img1", "regions": [list(SMALL.box)]})
    assert "6.2 x 6.2 px where the vision model looks" in said
    step = MarkRegions(view_size=llm.view_size)
    with pytest.warns(TinyRegionWarning, match="208 px square"):
        marked = step.invoke({"image": PHOTO, "regions": [SMALL]})["marked"]
    assert marked.sizes_seen == [pytest.approx((6.19, 6.19), abs=0.01)]


def test_the_command_line_uses_it(tmp_path):
    PHOTO.save(tmp_path / "photo.png")
    common = (tmp_path / "photo.png", "--box", "300,300,330,330")
    asked = run("ask", common[0], "What is the object {0}?", *common[1:], "--model", "bundled")
    assert "6 x 6 px" in asked.stderr
    assert "208 px square" in " ".join(asked.stderr.split())
    record = json.loads(run("mark", *common, "--json").stdout)
    assert record["regions"][0]["seen"] == [10.0, 10.0]


def test_a_prompt_beyond_the_fine_tuning_is_mentioned_once(tiny_checkpoint):
    model, processor = load_checkpoint(LoadOptions(str(tiny_checkpoint), device="cpu"))
    model.config.text_config.max_position_embeddings = 4096
    encoder = PromptEncoder(processor, model.config)
    from langchain_vipllava.engine.request import GenerationRequest

    def ask(words):
        turn = Turn("star " * words)
        encoder.encode(GenerationRequest(FORMATS["llava_v1"].render(Conversation((turn,)))))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask(10)
    with pytest.warns(UserWarning, match=r"fine-tuned on at most 2,048"):
        ask(900)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask(900)


@pytest.mark.parametrize(
    "vision",
    [
        None,
        {},
        {"hidden_size": 768},
        {"model_type": "clip_vision_model", "patch_size": 14},
        {"image_size": 336},
        {"image_size": 208, "patch_size": 16},
        {"image_size": 337, "patch_size": 14},
    ],
    ids=str,
)
def test_what_a_config_leaves_out_is_what_transformers_takes(tmp_path, vision):
    """A vision config that names no side is that of another CLIP: 224 px, in patches of 32."""
    raw = {"model_type": "vipllava", **({} if vision is None else {"vision_config": vision})}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    loaded = load_config(LoadOptions(str(tmp_path))).vision_config
    facts = CheckpointFacts.of(LoadOptions(str(tmp_path)))
    assert (facts.view_size, facts.patch_size) == (loaded.image_size, loaded.patch_size)
    assert ChatVipLlava(model=str(tmp_path)).view_size == loaded.image_size
    make_tokenizer().save_pretrained(tmp_path)
    served = find_checkpoint(str(tmp_path), fetch=False)
    assert (served.side, served.texts.image_tokens) == (
        loaded.image_size,
        image_tokens(AutoConfig.from_pretrained(tmp_path)),
    )
