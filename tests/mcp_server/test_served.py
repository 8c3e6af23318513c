"""A server whose questions another server answers, as `--base-url` has it; and several clients at once."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("mcp", reason="the MCP SDK is not installed: pip install 'langchain-vipllava[mcp]'")

from langchain_vipllava import ImageAccessPolicy
from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.backends.local import LocalBackend
from langchain_vipllava.backends.served import ServedBackend
from langchain_vipllava.backends.vision import BackendVision
from tests.mcp_server.test_tools import opened_and_marked
from tests.support.mcp_clients import over_http, serving
from tests.support.model_server import ModelServer


async def answers(client, questions):
    _, marked = await opened_and_marked(client)
    image_id = marked.structured["image_id"]
    return [
        (await client.try_call("ask_regions", progress=True, image_id=image_id, question=question)).structured["answer"]
        for question in questions
    ]


async def test_a_served_model_answers_the_same(served, mode):
    questions = ["What is the object {r1}?", "What color is it?", "Is r1 left of r2?"]
    async with over_http(served.url, mode) as client:
        expected = await answers(client, questions)
    with ModelServer(LocalBackend.load(model="bundled").runner) as model:
        vision = BackendVision(ServedBackend([model.base_url], "bundled"))
        with serving(vision, access=ImageAccessPolicy(SCENE.parent)) as remote:
            async with over_http(remote.url, mode) as client:
                assert await answers(client, questions) == expected
    assert expected[:2] == ["A white square.", "White."]


async def test_clients_at_once_keep_their_own_conversations(served, mode):
    async def ask(name, expected):
        async with over_http(served.url, mode) as client:
            assert await answers(client, [f"What is the object {name}?", "What color is it?"]) == expected

    square, circle = ["A white square.", "White."], ["A blue circle.", "Blue."]
    await asyncio.gather(*(ask(*each) for each in [("{r1}", square), ("{r2}", circle)] * 4))
