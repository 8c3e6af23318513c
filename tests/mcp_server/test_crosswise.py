"""The client of one SDK line with the server of the other: `make test-mcp`."""

from __future__ import annotations

import os
import subprocess

import pytest

pytest.importorskip("mcp", reason="the MCP SDK is not installed: pip install 'langchain-vipllava[mcp]'")

from langchain_vipllava.apps.assets import SCENE
from tests.mcp_server.test_tools import opened_and_marked
from tests.support.command_line import CODE, environment
from tests.support.mcp_clients import over_http, over_stdio

OTHER = os.environ.get("VIPLLAVA_MCP_OTHER_PYTHON", "")

pytestmark = pytest.mark.skipif(not OTHER, reason="needs two environments: make test-mcp")


async def check(client):
    _, marked = await opened_and_marked(client)
    call = {"image_id": marked.structured["image_id"], "question": "What is the object {r1}?"}
    asked = await client.try_call("ask_regions", progress=True, **call)
    assert asked.structured["answer"] == "A white square."
    assert client.progress[-1] == '"A white square."'
    assert (await client.read(marked.structured["images"][0]["uri"]))[0] == "image/png"
    assert (await client.try_call("open_image", source=__file__)).is_error


async def test_over_standard_input_and_output(mode):
    async with over_stdio(python=OTHER, mode=mode, roots=[SCENE.parent.as_uri()]) as client:
        await check(client)


async def test_over_http(mode):
    command = [OTHER, "-c", CODE, "mcp", "--http", "--port", "0", "--root", str(SCENE.parent.parent)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            lines = iter(process.stderr.readline, "")
            url = next(line.split()[3].rstrip(".") for line in lines if line.startswith("Serving MCP at "))
            async with over_http(url, mode, roots=[SCENE.parent.as_uri()]) as client:
                await check(client)
        finally:
            process.kill()
