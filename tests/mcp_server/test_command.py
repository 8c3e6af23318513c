"""`langchain-vipllava mcp`, in a process of its own, over both transports."""

from __future__ import annotations

import signal
import subprocess

import pytest

pytest.importorskip("mcp", reason="the MCP SDK is not installed: pip install 'langchain-vipllava[mcp]'")

from langchain_vipllava.apps.assets import SCENE
from tests.mcp_server.test_tools import opened_and_marked
from tests.support.command_line import COMMAND, environment, run
from tests.support.mcp_clients import over_http, over_stdio

TALKATIVE = """
import os, subprocess
print("loading weights")
def detect(image):
    print("detecting")
    os.write(1, b"from C\\n")
    subprocess.run(["echo", "from a child"])
    return [[59, 378, 164, 483]]
"""


async def test_over_standard_input_and_output(tmp_path, mode):
    (tmp_path / "talkative.py").write_text(TALKATIVE)
    arguments = ("--detector", "talkative:detect", "--box-format", "xyxy")
    roots = [SCENE.parent.as_uri()]
    async with over_stdio(*arguments, mode=mode, roots=roots, python_path=tmp_path) as client:
        assert (await client.try_call("open_image", source=__file__)).is_error
        opened = await client.call("open_image", source=SCENE.name)
        assert opened.text == "Opened as img1: 640 x 636 pixels."
        assert (await client.call("detect_regions", image_id="img1")).structured["regions"][0]["id"] == "r1"
        marked = await client.call("mark_regions", image_id="img1", regions="all")
        asked = await client.try_call(
            "ask_regions", progress=True, image_id="marked1", question="What is the object r1?"
        )
        assert asked.structured["answer"] == "A white square."
        assert client.progress[-1] == '"A white square."'
        mime_type, _ = await client.read(marked.structured["images"][0]["uri"])
        assert mime_type == "image/png"


async def test_over_http(mode):
    process = subprocess.Popen(
        [*COMMAND, "mcp", "--http", "--port", "0", "--root", str(SCENE.parent), "--detector", "shapes"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    try:
        lines = iter(process.stderr.readline, "")
        url = next(line.split()[3].rstrip(".") for line in lines if line.startswith("Serving MCP at "))
        async with over_http(url, mode) as client:
            _, marked = await opened_and_marked(client)
            call = {"image_id": marked.structured["image_id"], "question": "What is the object {r1}?"}
            assert (await client.call("ask_regions", **call)).structured["answer"] == "A white square."
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stdout.read() == ""
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_what_cannot_be_served_is_one_line(tmp_path):
    for arguments, message in (
        (["--http", "--host", "0.0.0.0"], "VipLlavaError: 0.0.0.0 can be reached"),
        (["--http", "--port", "70000"], "VipLlavaError: port 70000"),
        (["--port", "9000"], "VipLlavaError: --host, --port, --allow-host and --tokens are for HTTP"),
        (["--tokens", tmp_path], "VipLlavaError: --host, --port, --allow-host and --tokens are for HTTP"),
        (["--root", tmp_path / "none"], "VipLlavaError: --root"),
        (["--http", "--tokens", tmp_path], "VipLlavaError: cannot read the tokens"),
        (["--model", tmp_path], "CheckpointError: "),
        (["--detector", "nothing"], "DetectionError: no detector 'nothing'"),
    ):
        done = run("mcp", *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith(message) or message in done.stderr.replace("'0.0.0.0'", "0.0.0.0"), done.stderr
        assert len(done.stderr.splitlines()) == 1
