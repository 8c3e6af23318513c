"""A LangChain agent with the tools of the server, beside one with our own: the same transcript, the same prompts."""

from __future__ import annotations

import json
import sys

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage

pytest.importorskip("mcp", reason="the MCP SDK is not installed: pip install 'langchain-vipllava[mcp]'")

from langchain_vipllava import ChatVipLlava, ImageAccessPolicy, VipLlavaToolkit
from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.apps.detectors import detect_shapes
from langchain_vipllava.apps.scripted import ScriptedAgentModel
from langchain_vipllava.backends.local import LocalBackend
from langchain_vipllava.backends.vision import BackendVision
from tests.support.command_line import CODE, environment
from tests.support.mcp_clients import serving
from tests.support.recording import RecordingBackend

client_module = pytest.importorskip(
    "langchain_mcp_adapters.client", reason="langchain-mcp-adapters is not installed, or the SDK is of line 2"
)

QUESTIONS = ["What is the object {r1}?", "What color is it?", "Is r1 left of r2?", "What is r7?", "What is above R2?"]


class Careless(ScriptedAgentModel):
    """Goes on after an error, as an LLM does."""

    def _next(self, messages):
        results = [message for message in messages if isinstance(message, ToolMessage)]
        if len(results) < 3:
            return super()._next(messages)
        asked = len(results) - 3
        if asked == len(self.questions):
            return AIMessage("Done.")
        return self._call(len(results), "ask_regions", image_id="marked1", question=self.questions[asked])


def agent_of(tools, **script):
    return create_agent(Careless(source=SCENE.name, questions=QUESTIONS, **script), tools)


def transcript(state):
    """Return what the agent's LLM read: the text and the images of every tool message."""
    return [
        (
            message.name,
            message.status,
            message.text,
            [block["base64"] for block in message.content_blocks if block["type"] == "image"],
        )
        for message in state["messages"]
        if isinstance(message, ToolMessage)
    ]


def run_ours(backend, show_images):
    toolkit = VipLlavaToolkit(
        chat_model=ChatVipLlava(backend=backend),
        detector=detect_shapes,
        image_root=SCENE.parent,
        show_images=show_images,
        session="me",
    )
    return agent_of(toolkit.get_tools()).invoke({"messages": [("user", "What do you see?")]})


@pytest.fixture
def backend():
    return RecordingBackend(LocalBackend.load(model="bundled"))


@pytest.mark.parametrize("show_images", [True, False])
async def test_over_http_the_transcript_and_the_prompts_are_those_of_our_own_tools(backend, show_images):
    expected = transcript(run_ours(backend, show_images))
    prompts, backend.prompts = backend.prompts, []
    access = ImageAccessPolicy(SCENE.parent)
    with serving(BackendVision(backend), detector=detect_shapes, access=access, show_images=show_images) as served:
        client = client_module.MultiServerMCPClient({"vision": {"transport": "streamable_http", "url": served.url}})
        async with client.session("vision") as session:
            tools = await client_module.load_mcp_tools(session)
            state = await agent_of(tools).ainvoke({"messages": [("user", "What do you see?")]})
    assert transcript(state) == expected
    assert backend.prompts == prompts
    assert [status for _, status, _, _ in expected] == ["success"] * 6 + ["error", "success"]
    assert 'The vision model answered: "A white square."' in [text for _, _, text, _ in expected]
    assert bool(expected[2][3]) is show_images
    assert len(prompts) == 4
    assert all(text.encode() for text, _ in prompts)


async def test_over_standard_input_and_output_the_transcript_is_that_of_our_own_tools(backend):
    expected = transcript(run_ours(backend, show_images=True))
    arguments = ["-c", CODE, "mcp", "--root", str(SCENE.parent), "--detector", "shapes"]
    server = {"transport": "stdio", "command": sys.executable, "args": arguments, "env": environment()}
    client = client_module.MultiServerMCPClient({"vision": server})
    async with client.session("vision") as session:
        tools = await client_module.load_mcp_tools(session)
        state = await agent_of(tools).ainvoke({"messages": [("user", "What do you see?")]})
    assert transcript(state) == expected


async def test_with_a_token_the_tools_of_one_connection_per_call_share_their_images(backend):
    """`get_tools()` connects for each call."""
    from langchain_vipllava.apps.mcp.access import HttpAccess

    token = "0123456789abcdef0123456789abcdef"
    http = HttpAccess(port=0, tokens={"agent": token})
    access = ImageAccessPolicy(SCENE.parent)
    with serving(BackendVision(backend), detector=detect_shapes, access=access, http=http) as served:
        headers = {"Authorization": f"Bearer {token}"}
        server = {"transport": "streamable_http", "url": served.url, "headers": headers}
        tools = await client_module.MultiServerMCPClient({"vision": server}).get_tools()
        state = await agent_of(tools).ainvoke({"messages": [("user", "What do you see?")]})
    answers = [message.artifact["structured_content"] for message in state["messages"][-8:-1:2] if message.artifact]
    assert json.dumps(answers).count("White.") == 1
