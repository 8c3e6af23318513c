"""`ask_regions` with a vote, as an LLM calls it."""

from __future__ import annotations

import pytest

from langchain_vipllava import ChatVipLlava, VipLlavaToolkit
from langchain_vipllava.apps.assets import SCENE
from tests.support.tool_caller import ToolCaller

SQUARE, DISK = [59, 378, 164, 483], [206, 30, 426, 250]


@pytest.fixture(scope="module")
def bundled():
    return ChatVipLlava(model="bundled", max_tokens=16)


@pytest.fixture
def scene(bundled):
    toolkit = VipLlavaToolkit(chat_model=bundled)
    image_id = toolkit.add_image(SCENE)
    caller = ToolCaller(toolkit)
    return caller, caller.call("mark_regions", image_id=image_id, regions=[SQUARE, DISK]).artifact["image_id"]


@pytest.mark.parametrize("vote", [True, "true", "yes", 1])
def test_a_vote_says_how_many_agree(scene, vote):
    caller, image_id = scene
    message = caller.call("ask_regions", image_id=image_id, question="What is the object r2?", vote=vote)
    assert message.content == (
        'The vision model answered: "A blue circle."\nThe regions were marked in 4 ways; 4 agree.'
    )
    assert (message.artifact["agreement"], len(message.artifact["votes"])) == (1.0, 4)
    assert message.artifact["confidence"] > 0.5


@pytest.mark.parametrize("vote", [{}, {"vote": False}, {"vote": None}, {"vote": ""}, {"vote": "false"}])
def test_without_a_vote_nothing_changes(scene, vote):
    caller, image_id = scene
    message = caller.call("ask_regions", image_id=image_id, question="What is the object r1?", **vote)
    assert message.content == 'The vision model answered: "A white square."'
    assert "votes" not in message.artifact


async def test_an_async_agent_votes_too(scene):
    caller, image_id = scene
    arguments = {"image_id": image_id, "question": "What is the object r1?", "vote": True}
    call = {"type": "tool_call", "id": "call-1", "name": "ask_regions", "args": arguments}
    message = await caller._tools["ask_regions"].ainvoke(call, caller._config)
    assert message.content.startswith('The vision model answered: "A white square."\nThe regions were marked in 4')


def test_what_cannot_vote_is_told_to_the_llm(scene):
    caller, image_id = scene
    unmarked = caller.call_expecting_error("ask_regions", image_id="photo1", question="What is it?", vote=True)
    assert "photo1 has no markers to vote with. Call mark_regions" in unmarked
    wrong = caller.call_expecting_error("ask_regions", image_id=image_id, question="What is r1?", vote="perhaps")
    assert "vote:" in wrong
