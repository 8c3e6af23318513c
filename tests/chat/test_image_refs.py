"""`keep_images` and `restore_images`: ids instead of images in messages and in checkpoints."""

from __future__ import annotations

import base64
import io
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.block_translators.openai import convert_to_openai_image_block
from langgraph.checkpoint.sqlite import SqliteSaver
from PIL import Image

from langchain_vipllava import (
    ChatVipLlava,
    ImageError,
    ImageStore,
    Region,
    RegionPrompt,
    keep_images,
    mark,
)
from langchain_vipllava.chat.image_refs import restore_images
from tests.chat.test_blocks import IMAGE, IMAGE_BLOCKS
from tests.support.resumable_graph import build_graph

STORES = [lambda folder: ImageStore(), ImageStore]


@pytest.fixture(params=STORES, ids=["memory", "folder"])
def store(request, tmp_path):
    return request.param(tmp_path / "images")


@pytest.mark.parametrize("name", IMAGE_BLOCKS)
def test_every_image_block_format_can_be_kept(name, llm, store):
    message = HumanMessage("")
    message.content = [IMAGE_BLOCKS[name], {"type": "text", "text": "What?"}]
    (kept,) = keep_images([message], store)
    assert set(kept.content[0]) - {"mime_type", "extras", "id"} == {"type", "file_id"}
    assert message.content[0] is IMAGE_BLOCKS[name]
    assert keep_images([kept], store) == [kept]
    llm = llm.model_copy(update={"image_store": store})
    assert llm.render_prompt([kept]) == llm.render_prompt([message])
    assert llm.invoke([kept]).text == llm.invoke([message]).text


NESTED = {
    "Anthropic's result": lambda image: {"type": "tool_result", "tool_use_id": "1", "content": [image]},
    "Anthropic's result, wrapped": lambda image: {
        "type": "non_standard",
        "value": {"type": "tool_result", "tool_use_id": "1", "content": [image]},
    },
    "Anthropic's document": lambda image: {"type": "document", "source": {"type": "content", "content": [image]}},
    "Bedrock's result": lambda image: {"toolResult": {"toolUseId": "1", "content": [image]}},
    "OpenAI's result": lambda image: {"type": "function_call_output", "call_id": "1", "output": [image]},
    "OpenAI's screen": lambda image: {"type": "computer_call_output", "call_id": "1", "output": image},
}


@pytest.mark.parametrize("name", NESTED)
def test_an_image_inside_another_block_is_kept(name, llm):
    store, image = ImageStore(), Image.new("RGB", (336, 336), "red")
    message = HumanMessage([NESTED[name]({"type": "image", "image": image}), {"type": "text", "text": "What?"}])
    (kept,) = keep_images([message], store)
    assert json.loads(kept.model_dump_json())["content"] == kept.content  # a checkpoint holds it
    assert "sha256-" in str(kept.content)
    assert keep_images([kept], store)[0] is kept
    assert llm.model_copy(update={"image_store": store}).invoke([kept]).text == llm.invoke([message]).text
    (restored,) = restore_images([kept], store)
    assert "sha256-" not in str(restored.content)
    assert llm.invoke([restored]).text == llm.invoke([message]).text
    with pytest.raises(ImageError, match="no image 'sha256-"):
        restore_images([kept], ImageStore())


TEXT_FILE = {"document": {"format": "txt", "name": "notes", "source": {"bytes": b"It is red."}}}


@pytest.mark.parametrize("block", [TEXT_FILE, {"toolResult": {"toolUseId": "1", "content": [TEXT_FILE]}}])
def test_a_document_of_bytes_is_no_image(block, llm):
    (kept,) = keep_images([HumanMessage([block, "What?"])], ImageStore())
    assert kept.content == [block, "What?"]
    assert "It is red." in llm.render_prompt([kept])


def test_an_image_inside_a_result_that_cannot_be_read_stays():
    block = NESTED["Anthropic's result"]({"type": "image", "path": "/nowhere/a.png"})
    assert keep_images([HumanMessage([block, "What?"])], ImageStore())[0].content == [block, "What?"]


def test_blocks_without_images_are_not_changed(store):
    blocks = [
        {"type": "refusal", "refusal": "No."},
        {"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"},
        "Hm.",
    ]
    (kept,) = keep_images([AIMessage(blocks)], store)
    assert kept.content == blocks


def test_a_kept_image_has_the_mime_type_of_its_bytes(store):
    jpeg = io.BytesIO()
    IMAGE.save(jpeg, format="JPEG")
    data = base64.b64encode(jpeg.getvalue()).decode()
    message = HumanMessage([{"type": "file", "base64": data, "mime_type": "application/pdf"}])
    (kept,) = keep_images([message], store)
    assert kept.content[0]["mime_type"] == "image/jpeg"
    (restored,) = restore_images([kept], store)
    assert convert_to_openai_image_block(restored.content[0])["image_url"]["url"] == f"data:image/jpeg;base64,{data}"


def test_a_kept_image_keeps_its_regions(store):
    message = mark(IMAGE, [Region(box=(2, 2, 18, 18), id="dog")]).message("What is {dog}?")
    (kept,) = keep_images([message], store)
    assert kept.content[0]["extras"] == message.content[0]["extras"]


def test_an_image_that_is_not_in_the_store_raises(llm):
    (kept,) = keep_images([HumanMessage([IMAGE_BLOCKS["v1 base64"], "What?"])], ImageStore())
    with pytest.raises(ImageError, match="give ChatVipLlava its image_store"):
        llm.invoke([kept])
    with pytest.raises(ImageError, match="no image 'sha256-"):
        llm.model_copy(update={"image_store": ImageStore()}).invoke([kept])


def large_image(folder: Path) -> Path:
    """Write a PNG of about 1 MB."""
    path = folder / "large.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (600, 600, 3), np.uint8)).save(path)
    assert path.stat().st_size > 1_000_000
    return path


def size_of(path: Path) -> int:
    """Return the size of a SQLite file in bytes, after a checkpoint of its write-ahead log."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


def growth(llm, folder: Path, first: HumanMessage, **settings) -> int:
    """Return the bytes that ten turns add to a SQLite file of checkpoints."""
    folder.mkdir()
    config = {"configurable": {"thread_id": "a"}}
    with SqliteSaver.from_conn_string(str(folder / "c.sqlite")) as saver:
        saver.setup()
        before = size_of(folder / "c.sqlite")
        graph = build_graph(llm, saver)
        state = graph.invoke({"messages": keep_images([first], llm.image_store)}, config, **settings)
        for turn in range(9):
            state = graph.invoke({"messages": [HumanMessage(f"And {turn}?")]}, config, **settings)
        assert len(state["messages"]) == 20
        return size_of(folder / "c.sqlite") - before


def test_ten_turns_about_a_large_image_add_little_to_the_checkpoints(llm, tmp_path):
    llm = llm.model_copy(update={"image_store": ImageStore(tmp_path / "images")})
    message = mark(large_image(tmp_path), [Region(box=(100, 100, 300, 300))]).message("What is {0}?")
    assert growth(llm, tmp_path / "exit", message, durability="exit") < 100_000
    # by default, LangGraph writes all messages three times per turn, so the text grows; the image must not
    with_image, without = (
        growth(llm, tmp_path / name, first) for name, first in (("with", message), ("without", HumanMessage("What?")))
    )
    assert with_image - without < 30_000


def run_turns(checkpoint: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run turns of a conversation in a new process."""
    command = [sys.executable, "-m", "tests.support.resumable_graph", str(checkpoint), str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)


def test_a_conversation_resumes_after_its_process_is_killed_in_the_third_turn(tiny_checkpoint, tmp_path):
    large_image(tmp_path)
    killed = run_turns(tiny_checkpoint, tmp_path, "start")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = run_turns(tiny_checkpoint, tmp_path, "resume")
    assert resumed.returncode == 0, resumed.stderr
    *answers, prompt = resumed.stdout.split("\0")
    assert len(answers) == 3
    assert prompt == (
        f"USER: <image>\nWhat is the object within the red rectangle?ASSISTANT: {answers[0]}"
        f"USER: Why?ASSISTANT: {answers[1]}USER: And then?ASSISTANT: {answers[2]}USER: Is it so?ASSISTANT:"
    )


def test_model_dump_does_not_contain_the_image_store(tiny_checkpoint, tmp_path):
    llm = ChatVipLlava(model=str(tiny_checkpoint), image_store=ImageStore(tmp_path / "secret"))
    assert "image_store" not in llm.model_dump()


def test_an_image_kept_in_the_history_is_not_added_again():
    store, marked = ImageStore(), mark(Image.new("RGB", (64, 48)), Region(box=(10, 10, 40, 40)))
    history = [*keep_images([marked.message("What is {0}?")], store), AIMessage("A square.")]
    messages = RegionPrompt().invoke({"marked": marked, "question": "And its color?", "history": history})
    assert messages[-1] == HumanMessage("And its color?")
