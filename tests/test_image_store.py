"""Images by content hash, out of messages and checkpoints; conversations that outlive their process."""

from __future__ import annotations

import base64
import copy
import io
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.block_translators.openai import convert_to_openai_image_block
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.sqlite import SqliteSaver
from PIL import Image

from langchain_vipllava import (
    ChatVipLlava,
    ImageError,
    ImageStore,
    Region,
    RegionPrompt,
    VipLlavaToolkit,
    keep_images,
    mark,
)
from langchain_vipllava.apps.scripted import ScriptedAgentModel
from langchain_vipllava.chat.image_refs import restore_images
from tests.support.hands import FOUND
from tests.support.talk_graph import build_graph
from tests.test_blocks import DIALECTS, IMAGE

STORES = [lambda folder: ImageStore(), ImageStore]


@pytest.fixture(params=STORES, ids=["memory", "folder"])
def store(request, tmp_path):
    return request.param(tmp_path / "images")


def test_a_image_is_kept_once_under_its_content(store):
    assert store.add(b"one") == store.add(bytearray(b"one")) != store.add(b"two")
    assert sorted(map(store.get, store.yield_keys(prefix="sha256-"))) == [b"one", b"two"]


def test_the_least_recently_used_go_first(tmp_path):
    for folder in (None, tmp_path):
        store = ImageStore(folder, max_bytes=30)
        first, second = store.add(b"1" * 10), store.add(b"2" * 10)
        if folder:
            for age, name in enumerate([first, second]):
                os.utime(next(folder.glob(f"kept-{name}*")), (age, age))  # clocks of file systems can be coarse
        store.get(first)
        third = store.add(b"3" * 15)
        assert set(store.yield_keys()) == {first, third}
        with pytest.raises(ImageError, match="Send the image itself once more"):
            store.get(second)
        large = store.add(b"4" * 100)
        assert list(store.yield_keys()) == [large]


def test_keys_are_no_paths(tmp_path):
    store = ImageStore(tmp_path / "images")
    keys = ["../up", "a/b", ".", "..", "", "ünï", "k", "C:\\x", "\ud800"]
    store.mset([(key, repr(key).encode()) for key in keys])
    assert store.mget(keys) == [repr(key).encode() for key in keys]
    assert set(store.yield_keys()) == set(keys)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_other_files_of_the_folder_are_left_alone(tmp_path):
    (tmp_path / "kitchen.jpg").write_bytes(b"1" * 1000)
    (tmp_path / "kept-folder.bin").mkdir()
    store = ImageStore(tmp_path, max_bytes=50)
    names = [store.add(bytes([number]) * 40) for number in range(3)]
    assert list(store.yield_keys()) == names[2:]
    store.mdelete(["kitchen.jpg", "folder"])
    assert (tmp_path / "kitchen.jpg").stat().st_size == 1000
    assert (tmp_path / "kept-folder.bin").is_dir()


def test_images_go_before_what_else_is_kept(store):
    store.max_bytes = 100
    store.mset([("thread-1", b"t" * 20)])
    for number in range(5):
        store.add(bytes([number]) * 60)
    assert store.mget(["thread-1"]) == [b"t" * 20]


def test_a_damaged_file_is_repaired(tmp_path):
    store = ImageStore(tmp_path)
    name = store.add(b"image")
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"pic")
    assert store.add(b"image") == name
    assert store.get(name) == b"image"


def test_what_cannot_be_read_now_is_not_gone(llm, photo, tmp_path):
    store = ImageStore(tmp_path)
    VipLlavaToolkit(chat_model=llm, image_store=store).add_image(photo, thread_id="t")
    (record,) = tmp_path.glob("kept-session-*")
    kept = record.read_bytes()
    record.unlink()
    record.mkdir()  # cannot be read as a file, not even by root
    kit = VipLlavaToolkit(chat_model=llm, image_store=store)
    with pytest.raises(ImageError, match="cannot read"):
        kit.add_image(photo, thread_id="t")
    opening = {tool.name: tool for tool in kit.get_tools()}["open_image"]
    photo.save(tmp_path / "photo.png")
    assert "cannot read" in opening.invoke(
        {"source": str(tmp_path / "photo.png")}, {"configurable": {"thread_id": "t"}}
    )
    record.rmdir()
    record.write_bytes(kept)
    assert kit.add_image(photo, thread_id="t") == "img2"


def test_what_cannot_be_kept(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ImageError, match="cannot store images"):
        ImageStore(tmp_path / "file")
    with pytest.raises(ImageError, match="expected the bytes"):
        ImageStore().add("text")
    with pytest.raises(ImageError, match="max_bytes=0"):
        ImageStore(max_bytes=0)
    with pytest.raises(ImageError, match="cannot store"):
        ImageStore(tmp_path / "images").mset([("k" * 300, b"")])
    assert not list((tmp_path / "images").iterdir())


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_can_be_kept(name, llm, store):
    message = HumanMessage("")
    message.content = [DIALECTS[name], {"type": "text", "text": "What?"}]
    (kept,) = keep_images([message], store)
    assert set(kept.content[0]) - {"mime_type", "extras", "id"} == {"type", "file_id"}
    assert message.content[0] is DIALECTS[name]
    assert keep_images([kept], store) == [kept]
    llm = llm.model_copy(update={"image_store": store})
    assert llm.render_prompt([kept]) == llm.render_prompt([message])
    assert llm.invoke([kept]).text == llm.invoke([message]).text


def test_blocks_that_are_no_images_are_left_alone(store):
    blocks = [
        {"type": "refusal", "refusal": "No."},
        {"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"},
        "Hm.",
    ]
    (kept,) = keep_images([AIMessage(blocks)], store)
    assert kept.content == blocks


def test_a_kept_image_is_called_what_it_is(store):
    jpeg = io.BytesIO()
    IMAGE.save(jpeg, format="JPEG")
    data = base64.b64encode(jpeg.getvalue()).decode()
    message = HumanMessage([{"type": "file", "base64": data, "mime_type": "application/pdf"}])
    (kept,) = keep_images([message], store)
    assert kept.content[0]["mime_type"] == "image/jpeg"
    (brought,) = restore_images([kept], store)
    assert convert_to_openai_image_block(brought.content[0])["image_url"]["url"] == f"data:image/jpeg;base64,{data}"


def test_the_regions_stay_with_the_image(store):
    message = mark(IMAGE, [Region(box=(2, 2, 18, 18), id="dog")]).message("What is {dog}?")
    (kept,) = keep_images([message], store)
    assert kept.content[0]["extras"] == message.content[0]["extras"]


def test_a_image_that_is_not_there(llm):
    (kept,) = keep_images([HumanMessage([DIALECTS["v1 base64"], "What?"])], ImageStore())
    with pytest.raises(ImageError, match="give ChatVipLlava its image_store"):
        llm.invoke([kept])
    with pytest.raises(ImageError, match="no image 'sha256-"):
        llm.model_copy(update={"image_store": ImageStore()}).invoke([kept])


def large_image(folder: Path) -> Path:
    """A PNG of about 1 MB."""
    path = folder / "large.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (600, 600, 3), np.uint8)).save(path)
    assert path.stat().st_size > 1_000_000
    return path


def size_of(path: Path) -> int:
    """Bytes of a SQLite file, its log folded in."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


def growth(llm, folder: Path, first: HumanMessage, **settings) -> int:
    """Bytes that ten turns add to a file of checkpoints."""
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
    about = mark(large_image(tmp_path), [Region(box=(100, 100, 300, 300))]).message("What is {0}?")
    assert growth(llm, tmp_path / "exit", about, durability="exit") < 100_000
    # LangGraph's default writes the whole list of messages three times a turn; that is text, the image adds little
    with_image, without = (
        growth(llm, tmp_path / name, first) for name, first in (("with", about), ("without", HumanMessage("What?")))
    )
    assert with_image - without < 30_000


def run_turns(checkpoint: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Turns of a conversation in a process of their own."""
    command = [sys.executable, "-m", "tests.support.talk_graph", str(checkpoint), str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)


def test_a_conversation_goes_on_after_its_process_was_killed_in_the_third_turn(tiny_checkpoint, tmp_path):
    large_image(tmp_path)
    killed = run_turns(tiny_checkpoint, tmp_path, "begin")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    going_on = run_turns(tiny_checkpoint, tmp_path, "go on")
    assert going_on.returncode == 0, going_on.stderr
    *answers, prompt = going_on.stdout.split("\0")
    assert len(answers) == 3
    assert prompt == (
        f"USER: <image>\nWhat is the object within the red rectangle?ASSISTANT: {answers[0]}"
        f"USER: Why?ASSISTANT: {answers[1]}USER: And then?ASSISTANT: {answers[2]}USER: Is it so?ASSISTANT:"
    )


def test_a_toolkit_finds_its_threads_again(llm, photo, tmp_path):
    photo.save(tmp_path / "photo.png")
    config = {"configurable": {"thread_id": "a/b"}}

    def toolkit():
        store = ImageStore(tmp_path / "images")
        return VipLlavaToolkit(chat_model=llm, detector=lambda image: FOUND, image_store=store)

    def ask(tools, **arguments):
        call = {"type": "tool_call", "id": "1", "name": "ask_regions", "args": arguments}
        return {tool.name: tool for tool in tools.get_tools()}["ask_regions"].invoke(call, config)

    before = toolkit()
    script = ScriptedAgentModel(source=str(tmp_path / "photo.png"), questions=["What is the object {r1}?"])
    create_agent(script, before.get_tools()).invoke({"messages": [("human", "Look.")]}, config)
    after = toolkit()
    one, other = (kit.marked_image("marked1", thread_id="a/b") for kit in (before, after))
    assert one.regions == other.regions
    assert one.markers == other.markers
    assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("image", "original"))
    assert before.messages("marked1", thread_id="a/b") == after.messages("marked1", thread_id="a/b")
    earlier = before.messages("marked1", thread_id="a/b")
    answer = ask(after, image_id="marked1", question="And {r2}?").content
    *asked, said = after.messages("marked1", thread_id="a/b")
    question = HumanMessage("And within the lime rectangle?")
    assert llm.render_prompt(asked) == llm.render_prompt([*earlier, question])
    assert answer == said.text == llm.invoke(asked).text
    opening = {tool.name: tool for tool in after.get_tools()}["open_image"]
    assert "img2" in opening.invoke({"source": str(tmp_path / "photo.png")}, config)


def test_masks_points_and_zoom_come_back(llm, photo, tmp_path):
    mask = np.zeros(photo.size[::-1], bool)
    mask[5:40, 5:60] = True
    store = ImageStore(tmp_path)
    found = [Region(mask=mask, label="cat"), Region(point=(20, 20)), Region(polygon=[(9, 9), (50, 9), (9, 50)])]
    shown = []
    for _ in range(2):
        kit = VipLlavaToolkit(chat_model=llm, image_store=store)
        if not shown:
            kit.add_image(photo, detections=found, thread_id="t")
            marking = {tool.name: tool for tool in kit.get_tools()}["mark_regions"]
            arguments = {"image_id": "img1", "regions": ["r1", "r2", "r3"], "zoom": "auto"}
            marking.invoke(arguments, {"configurable": {"thread_id": "t"}})
        shown.append(kit.marked_image("marked1", thread_id="t"))
    one, other = shown
    assert one.crop == other.crop
    assert np.array_equal(one.regions[0].mask, other.regions[0].mask)
    assert repr(one) == repr(other)
    assert np.array_equal(one.image, other.image)


def test_what_cannot_be_read_any_more_begins_anew(llm, photo, tmp_path, caplog):
    store = ImageStore(tmp_path)
    VipLlavaToolkit(chat_model=llm, image_store=store).add_image(photo, thread_id="t")
    (thread,) = store.yield_keys(prefix="session-")
    (image,) = store.yield_keys(prefix="sha256-")
    kept = store.get(thread)
    store.mdelete([image])
    kit = VipLlavaToolkit(chat_model=llm, image_store=store)
    assert kit.add_image(photo, thread_id="t") == "img2"
    assert "img1 is left out" in caplog.text
    for damaged in (b"", b"[]", b"{}", kept[: len(kept) // 2], b'{"format": 99}'):
        store.mset([(thread, damaged)])
        kit = VipLlavaToolkit(chat_model=llm, image_store=store)
        assert kit.add_image(photo, thread_id="t") == "img1"
    assert "it starts empty" in caplog.text


class Odd(BaseChatModel):
    """A fake model of another maker: its answers hold what no JSON and no block of ours holds."""

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        answer = AIMessage(
            [{"type": "refusal", "refusal": "No."}], response_metadata={"at": datetime.now(UTC), "b": b"x"}
        )
        return ChatResult(generations=[ChatGeneration(message=answer)])

    @property
    def _llm_type(self):
        return "odd"


def test_answers_of_another_maker_are_remembered(photo, tmp_path):
    def toolkit():
        return VipLlavaToolkit(chat_model=Odd(), image_store=ImageStore(tmp_path))

    kit = toolkit()
    kit.add_image(photo, thread_id="t")
    ask = {tool.name: tool for tool in kit.get_tools()}["ask_regions"]
    for _ in range(2):
        ask.invoke({"image_id": "img1", "question": "What?"}, {"configurable": {"thread_id": "t"}})
    messages = toolkit().messages("img1", thread_id="t")
    assert [message.content for message in messages[1::2]] == ["No."] * 2


def test_a_thread_that_is_pushed_out_while_it_asks_loses_nothing(llm, photo, tmp_path):
    kit = None

    class Busy(Odd):
        def _generate(self, *args, **kwargs):
            kit.add_image(photo, thread_id="other")
            kit.add_image(photo, thread_id="t")
            return super()._generate(*args, **kwargs)

    kit = VipLlavaToolkit(chat_model=Busy(), image_store=ImageStore(tmp_path), max_threads=1)
    kit.add_image(photo, thread_id="t")
    ask = {tool.name: tool for tool in kit.get_tools()}["ask_regions"]
    ask.invoke({"image_id": "img1", "question": "What?"}, {"configurable": {"thread_id": "t"}})
    after = VipLlavaToolkit(chat_model=llm, image_store=ImageStore(tmp_path))
    for each in (kit, after):
        assert len(each.messages("img1", thread_id="t")) == 2
        assert each.marked_image("img2", thread_id="t")


def test_a_shared_image_of_another_run_is_not_mixed_up(llm, photo, tmp_path):
    other = photo.rotate(180)
    for image in (photo, other):
        kit = VipLlavaToolkit(chat_model=llm, image_store=ImageStore(tmp_path))
        assert kit.add_image(image) == "photo1"
        marking = {tool.name: tool for tool in kit.get_tools()}["mark_regions"]
        marking.invoke({"image_id": "photo1", "regions": [[1, 1, 50, 50]]}, {"configurable": {"thread_id": 0}})
        assert np.array_equal(kit.marked_image("photo1", thread_id=0).image, image)
    assert np.array_equal(kit.marked_image("marked1", thread_id=0).original, photo)
    assert np.array_equal(kit.marked_image("marked2", thread_id=0).original, other)


def test_threads_without_an_id_stay_in_the_process(llm, photo, tmp_path):
    store = ImageStore(tmp_path)
    kit = VipLlavaToolkit(chat_model=llm, image_store=store)
    kit.add_image(photo)
    marking = {tool.name: tool for tool in kit.get_tools()}["mark_regions"]
    marking.invoke({"image_id": "photo1", "regions": [[1, 1, 50, 50]]})
    assert list(store.yield_keys()) == []


def test_a_model_does_not_say_where_its_images_lie(tiny_checkpoint, tmp_path):
    llm = ChatVipLlava(model=str(tiny_checkpoint), image_store=ImageStore(tmp_path / "secret"))
    assert "image_store" not in llm.model_dump()


def test_a_store_is_shared_by_copies_and_one_with_a_folder_can_be_sent_on(tmp_path):
    llm = ChatVipLlava(model="bundled", image_store=ImageStore(tmp_path, max_bytes=10**6))
    name = llm.image_store.add(b"an image")
    assert copy.deepcopy(llm).image_store is llm.image_store
    sent = pickle.loads(pickle.dumps(llm)).image_store
    assert (sent.get(name), sent.max_bytes) == (b"an image", 10**6)
    with pytest.raises(ImageError, match="stays in its process"):
        pickle.dumps(ImageStore())
    toolkit = VipLlavaToolkit(chat_model=llm)
    assert [tool.name for tool in copy.deepcopy(toolkit).get_tools()] == [tool.name for tool in toolkit.get_tools()]


def test_a_history_whose_image_is_kept_is_not_given_it_again():
    store, marked = ImageStore(), mark(Image.new("RGB", (64, 48)), Region(box=(10, 10, 40, 40)))
    history = [*keep_images([marked.message("What is {0}?")], store), AIMessage("A square.")]
    messages = RegionPrompt().invoke({"marked": marked, "question": "And its color?", "history": history})
    assert messages[-1] == HumanMessage("And its color?")
