"""Threads of a toolkit that are restored in a new process."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from langchain_vipllava import (
    ImageError,
    ImageStore,
    Region,
    VipLlavaToolkit,
)
from langchain_vipllava.apps.scripted import ScriptedAgentModel
from tests.support.tool_caller import DETECTIONS


def test_a_record_that_cannot_be_read_raises_and_is_not_overwritten(llm, photo, tmp_path):
    store = ImageStore(tmp_path)
    VipLlavaToolkit(chat_model=llm, image_store=store).add_image(photo, thread_id="t")
    (record,) = tmp_path.glob("kept-session-*")
    data = record.read_bytes()
    record.unlink()
    record.mkdir()  # even root cannot read a folder as a file
    kit = VipLlavaToolkit(chat_model=llm, image_store=store, image_root=tmp_path)
    with pytest.raises(ImageError, match="cannot read"):
        kit.add_image(photo, thread_id="t")
    open_image = {tool.name: tool for tool in kit.get_tools()}["open_image"]
    photo.save(tmp_path / "photo.png")
    assert "cannot read" in open_image.invoke(
        {"source": str(tmp_path / "photo.png")}, {"configurable": {"thread_id": "t"}}
    )
    record.rmdir()
    record.write_bytes(data)
    assert kit.add_image(photo, thread_id="t") == "img2"


def test_a_new_toolkit_restores_its_threads(llm, photo, tmp_path):
    photo.save(tmp_path / "photo.png")
    config = {"configurable": {"thread_id": "a/b"}}

    def toolkit():
        store = ImageStore(tmp_path / "images")
        return VipLlavaToolkit(
            chat_model=llm, detector=lambda image: DETECTIONS, image_store=store, image_root=tmp_path
        )

    def ask(toolkit, **arguments):
        call = {"type": "tool_call", "id": "1", "name": "ask_regions", "args": arguments}
        return {tool.name: tool for tool in toolkit.get_tools()}["ask_regions"].invoke(call, config)

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
    answer = ask(after, image_id="marked1", question="And {r2}?").artifact["answer"]
    *prompt_messages, reply = after.messages("marked1", thread_id="a/b")
    question = HumanMessage("And the object within the lime rectangle?")
    assert llm.render_prompt(prompt_messages) == llm.render_prompt([*earlier, question])
    assert answer == reply.text == llm.invoke(prompt_messages).text
    open_image = {tool.name: tool for tool in after.get_tools()}["open_image"]
    assert "img2" in open_image.invoke({"source": str(tmp_path / "photo.png")}, config)


def test_masks_points_and_zoom_are_restored(llm, photo, tmp_path):
    mask = np.zeros(photo.size[::-1], bool)
    mask[5:40, 5:60] = True
    store = ImageStore(tmp_path)
    regions = [Region(mask=mask, label="cat"), Region(point=(20, 20)), Region(polygon=[(9, 9), (50, 9), (9, 50)])]
    marked_images = []
    for _ in range(2):
        kit = VipLlavaToolkit(chat_model=llm, image_store=store)
        if not marked_images:
            kit.add_image(photo, detections=regions, thread_id="t")
            mark_regions = {tool.name: tool for tool in kit.get_tools()}["mark_regions"]
            arguments = {"image_id": "img1", "regions": ["r1", "r2", "r3"], "zoom": "auto"}
            mark_regions.invoke(arguments, {"configurable": {"thread_id": "t"}})
        marked_images.append(kit.marked_image("marked1", thread_id="t"))
    one, other = marked_images
    assert one.crop == other.crop
    assert np.array_equal(one.regions[0].mask, other.regions[0].mask)
    assert repr(one) == repr(other)
    assert np.array_equal(one.image, other.image)


def test_damaged_records_are_logged_and_the_thread_starts_empty(llm, photo, tmp_path, caplog):
    store = ImageStore(tmp_path)
    VipLlavaToolkit(chat_model=llm, image_store=store).add_image(photo, thread_id="t")
    (thread,) = store.yield_keys(prefix="session-")
    (image,) = store.yield_keys(prefix="sha256-")
    record = store.get(thread)
    store.mdelete([image])
    kit = VipLlavaToolkit(chat_model=llm, image_store=store)
    assert kit.add_image(photo, thread_id="t") == "img2"
    assert "'img1' is left out" in caplog.text
    for damaged in (b"", b"[]", b"{}", record[: len(record) // 2], b'{"format": 99}'):
        store.mset([(thread, damaged)])
        kit = VipLlavaToolkit(chat_model=llm, image_store=store)
        assert kit.add_image(photo, thread_id="t") == "img1"
    assert "it starts empty" in caplog.text


class ForeignModel(BaseChatModel):
    """A fake model of another package: its answers contain values that are not JSON, and an unknown block."""

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        answer = AIMessage(
            [{"type": "refusal", "refusal": "No."}], response_metadata={"at": datetime.now(UTC), "b": b"x"}
        )
        return ChatResult(generations=[ChatGeneration(message=answer)])

    @property
    def _llm_type(self):
        return "foreign"


def test_answers_of_another_chat_model_are_restored(photo, tmp_path):
    def toolkit():
        return VipLlavaToolkit(chat_model=ForeignModel(), image_store=ImageStore(tmp_path))

    kit = toolkit()
    kit.add_image(photo, thread_id="t")
    ask = {tool.name: tool for tool in kit.get_tools()}["ask_regions"]
    for _ in range(2):
        ask.invoke({"image_id": "img1", "question": "What?"}, {"configurable": {"thread_id": "t"}})
    messages = toolkit().messages("img1", thread_id="t")
    assert [message.content for message in messages[1::2]] == ["No."] * 2


def test_a_thread_evicted_during_a_question_loses_nothing(llm, photo, tmp_path):
    kit = None

    class EvictingModel(ForeignModel):
        def _generate(self, *args, **kwargs):
            kit.add_image(photo, thread_id="other")
            kit.add_image(photo, thread_id="t")
            return super()._generate(*args, **kwargs)

    kit = VipLlavaToolkit(chat_model=EvictingModel(), image_store=ImageStore(tmp_path), max_threads=1)
    kit.add_image(photo, thread_id="t")
    ask = {tool.name: tool for tool in kit.get_tools()}["ask_regions"]
    ask.invoke({"image_id": "img1", "question": "What?"}, {"configurable": {"thread_id": "t"}})
    after = VipLlavaToolkit(chat_model=llm, image_store=ImageStore(tmp_path))
    for toolkit in (kit, after):
        assert len(toolkit.messages("img1", thread_id="t")) == 2
        assert toolkit.marked_image("img2", thread_id="t")


def test_a_shared_image_of_another_process_is_not_confused_with_the_current_one(llm, photo, tmp_path):
    other = photo.rotate(180)
    for image in (photo, other):
        kit = VipLlavaToolkit(chat_model=llm, image_store=ImageStore(tmp_path))
        assert kit.add_image(image) == "photo1"
        mark_regions = {tool.name: tool for tool in kit.get_tools()}["mark_regions"]
        mark_regions.invoke({"image_id": "photo1", "regions": [[1, 1, 50, 50]]}, {"configurable": {"thread_id": 0}})
        assert np.array_equal(kit.marked_image("photo1", thread_id=0).image, image)
    assert np.array_equal(kit.marked_image("marked1", thread_id=0).original, photo)
    assert np.array_equal(kit.marked_image("marked2", thread_id=0).original, other)
