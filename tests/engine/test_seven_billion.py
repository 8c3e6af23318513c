"""A 7B without a GPU: its shape with random weights, loaded in 8 bits and asked, in a process whose memory is read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from benchmarks.shape import write_shape
from langchain_vipllava.engine.free_memory import free_bytes

pytestmark = pytest.mark.slow
pytest.importorskip("bitsandbytes")

MOST = 9e9
"""Bytes: 7.7 GB of weights, 0.4 of torch and transformers, the rest for keys and values and a prompt's arithmetic."""

ASK = """
import json, resource, sys
from langchain_core.messages import HumanMessage
from PIL import Image
from langchain_vipllava import ChatVipLlava

chat = ChatVipLlava(model=sys.argv[1], device="cpu", dtype="bfloat16", quantization="8bit", cache_bytes=0)
picture = {"type": "image", "image": Image.new("RGB", (640, 480), "teal")}
answer = chat.invoke([HumanMessage([picture, {"type": "text", "text": "What is it?"}])], max_tokens=4)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
layers = chat.backend.runner.model.get_submodule("model.language_model.layers")
print(json.dumps({"peak": peak, "usage": answer.usage_metadata, "layers": len(layers), "kind": str(layers[31].mlp)}))
"""


def test_a_7b_is_loaded_in_8_bits_and_asked_in_9_gb(tmp_path):
    if free_bytes("cpu") < MOST or shutil.disk_usage(tmp_path).free < 15e9:
        pytest.skip("needs 9 GB of memory and 15 GB of disk")
    folder = write_shape(tmp_path / "seven")
    try:
        done = subprocess.run(
            [sys.executable, "-c", ASK, str(folder)], capture_output=True, text=True, timeout=1200, check=False
        )
    finally:
        shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["peak"] <= MOST
    assert found["layers"] == 32
    assert found["kind"].count("Linear8bitLt") == 3
    assert found["usage"]["input_tokens"] > 576
    assert found["usage"]["output_tokens"] == 4
