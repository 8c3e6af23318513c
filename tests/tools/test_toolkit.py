"""`VipLlavaToolkit`: images and conversations per thread, their limits, and concurrent calls."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.utils.function_calling import convert_to_openai_tool
from PIL import Image

from langchain_vipllava import (
    DetectionError,
    ImageError,
    Region,
    SessionError,
    VipLlavaToolkit,
)
from langchain_vipllava.workspace.open_image import OpenImage
from tests.support.tool_caller import DETECTIONS, ToolCaller


def test_an_added_image_is_visible_to_one_thread_or_to_all(toolkit, photo):
    shared = toolkit.add_image(photo, detections=DETECTIONS)
    private = toolkit.add_image(photo, detections=DETECTIONS[:1], thread_id="a")
    a, b = ToolCaller(toolkit, "a"), ToolCaller(toolkit, "b")
    assert (shared, private) == ("photo1", "img1")
    for caller in (a, b):
        assert len(caller.call("mark_regions", image_id=shared, regions=["r1", "r2"]).artifact["markers"]) == 2
    assert a.call("mark_regions", image_id=private, regions=["r1"])
    assert "no image 'img1'" in b.call_expecting_error("mark_regions", image_id=private, regions=["r1"])
    assert "known regions: r1." in a.call_expecting_error("mark_regions", image_id=private, regions=["r2"])


def test_conversations_about_a_shared_image_are_separate_per_thread(toolkit, photo):
    toolkit.add_image(photo, detections=DETECTIONS)
    a, b = ToolCaller(toolkit, "a"), ToolCaller(toolkit, "b")
    a.call("ask_regions", image_id="photo1", question="What is it?")
    a.call("mark_regions", image_id="photo1", regions=[[1, 2, 30, 40]])
    assert len(toolkit.messages("photo1", thread_id="a")) == 2
    assert toolkit.messages("photo1", thread_id="b") == []
    assert "known regions: r1, r2." in b.call_expecting_error("mark_regions", image_id="photo1", regions=["r3"])


def test_invalid_arguments_of_toolkit_methods_raise(toolkit, photo):
    with pytest.raises(ImageError):
        toolkit.add_image(b"nothing")
    with pytest.raises(DetectionError):
        toolkit.add_image(photo, detections="nonsense")
    with pytest.raises(SessionError, match="no image is open"):
        toolkit.messages("photo1", thread_id="t")
    with pytest.raises(SessionError):
        toolkit.marked_image("marked1")
    assert toolkit.add_image(photo) == "photo1"


def test_the_least_recently_used_images_are_evicted_first(llm, photo):
    toolkit = VipLlavaToolkit(chat_model=llm, max_images=3)
    caller = ToolCaller(toolkit)
    for _ in range(3):
        toolkit.add_image(photo, thread_id="t")
    caller.call("ask_regions", image_id="img1", question="What?")
    caller.call("mark_regions", image_id="img3", regions=[[1, 2, 30, 40]])
    content = caller.call_expecting_error("ask_regions", image_id="img2", question="What?")
    assert "img2 was forgotten: a session holds at most 3 images" in content
    assert "open images: img1, img3, marked1. Call open_image or mark_regions again." in content
    assert caller.call("ask_regions", image_id="img1", question="And?")


def test_the_least_recently_used_threads_are_evicted_first(llm, photo):
    toolkit = VipLlavaToolkit(chat_model=llm, max_threads=2)
    for thread in ("a", "b"):
        toolkit.add_image(photo, thread_id=thread)
    ToolCaller(toolkit, "a").call("mark_regions", image_id="img1", regions=[[1, 2, 30, 40]])
    toolkit.add_image(photo, thread_id="c")
    assert "no image is open. Call open_image" in ToolCaller(toolkit, "b").call_expecting_error(
        "ask_regions", image_id="img1", question="What?"
    )
    with pytest.raises(ValueError, match="max_threads"):
        VipLlavaToolkit(chat_model=llm, max_threads=0)


def test_concurrent_threads_do_not_share_images_or_conversations(toolkit):
    """Several threads open, mark and ask about their own image at the same time."""

    def work(index):
        image = Image.new("RGB", (100 + index, 80), (index * 20, 90, 200 - index * 10))
        thread = f"thread-{index}"
        image_id = toolkit.add_image(image, thread_id=thread)
        caller = ToolCaller(toolkit, thread)
        marked = caller.call("mark_regions", image_id=image_id, regions=[[10, 10, 60, 60]]).artifact["image_id"]
        first = caller.call("ask_regions", image_id=marked, question=f"What is number {index}?")
        second = caller.call("ask_regions", image_id=marked, question="Why?")
        answers = (reply.artifact["answer"] for reply in (first, second))
        return marked, toolkit.marked_image(marked, thread_id=thread).image.width, *answers

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(work, range(6)))
    for index, (marked, width, first, second) in enumerate(results):
        messages = toolkit.messages(marked, thread_id=f"thread-{index}")
        assert (marked, width) == ("marked1", 100 + index)
        assert [message.text for message in messages] == [f"What is number {index}?", first, "Why?", second]
        assert toolkit.chat_model.invoke(messages[:1]).text == first
        assert toolkit.chat_model.invoke(messages[:3]).text == second


def test_concurrent_questions_about_one_image_become_consecutive_turns(toolkit, caller):
    caller.call("mark_regions", image_id="photo1", regions=["r1"])
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(caller.call, "ask_regions", image_id="marked1", question=f"Q{i}") for i in range(4)]
        answers = {f"Q{i}": call.result().artifact["answer"] for i, call in enumerate(calls)}
    messages = toolkit.messages("marked1", thread_id="t")
    assert [type(message).__name__ for message in messages] == ["HumanMessage", "AIMessage"] * 4
    assert {messages[i].text: messages[i + 1].text for i in range(0, 8, 2)} == answers
    for end in (1, 3, 5, 7):
        assert toolkit.chat_model.invoke(messages[:end]).text == messages[end].text


def test_masks_are_kept_in_the_session_but_not_in_artifacts(toolkit, photo):
    mask = np.zeros((512, 512), dtype=bool)
    mask[100:200, 50:150] = True
    toolkit.add_image(photo, detections=[Region(mask=mask, label="square")])
    message = ToolCaller(toolkit).call("mark_regions", image_id="photo1", regions=["r1"], kind="mask contour")
    assert "mask" not in json.dumps(message.artifact).replace("mask contour", "")
    assert toolkit.marked_image("marked1", thread_id="t").regions[0].mask.sum() == 10_000


def test_detection_options_apply_to_the_detector_and_to_added_images(llm, photo):
    toolkit = VipLlavaToolkit(
        chat_model=llm,
        detector=lambda image: [{"bbox": [10, 20, 100, 90], "category_id": 0, "score": 0.9}],
        detection_options={"box_format": "xywh", "labels": ["cat"]},
    )
    toolkit.add_image(photo)
    caller = ToolCaller(toolkit)
    (region,) = caller.call("detect_regions", image_id="photo1").artifact["regions"]
    assert (region["label"], region["box"]) == ("cat", [10, 20, 110, 110])
    toolkit.add_image(photo, detections=[{"bbox": [10, 20, 100, 90], "category_id": 0}])
    (marker,) = caller.call("mark_regions", image_id="photo2", regions="r1").artifact["markers"]
    assert (marker["label"], marker["box"]) == ("cat", [10, 20, 110, 110])


def test_the_llm_cannot_relax_the_detection_options(llm, photo):
    for options in ({"min_score": 0.8}, {"max_regions": 1}):
        caller = ToolCaller(
            toolkit := VipLlavaToolkit(chat_model=llm, detector=lambda image: DETECTIONS, detection_options=options)
        )
        toolkit.add_image(photo)
        for arguments in ({}, {"min_score": 0.0, "max_regions": 50}):
            regions = caller.call("detect_regions", image_id="photo1", **arguments).artifact["regions"]
            assert [region["label"] for region in regions] == ["face"]
        assert caller.call("detect_regions", image_id="photo1", min_score=0.95).artifact["regions"] == []


def test_concurrently_marked_regions_get_unique_ids(toolkit, photo, monkeypatch):
    toolkit.add_image(photo)
    caller = ToolCaller(toolkit)
    active, overlapped = [], threading.Event()
    original = OpenImage.add_regions

    def add_slowly(self, regions):
        """Wait, so that a second call would overlap if nothing prevents it."""
        active.append(self)
        if len(active) > 1:
            overlapped.set()
        overlapped.wait(0.05)
        added = original(self, regions)
        active.pop()
        return added

    monkeypatch.setattr(OpenImage, "add_regions", add_slowly)

    def work(index):
        boxes = [[10 * index, 50 * i, 10 * index + 60, 50 * i + 40] for i in range(3)]
        markers = caller.call("mark_regions", image_id="photo1", regions=boxes).artifact["markers"]
        assert [marker["box"] for marker in markers] == boxes
        return [marker["id"] for marker in markers]

    with ThreadPoolExecutor(4) as pool:
        ids = [name for names in pool.map(work, range(4)) for name in names]
    assert not overlapped.is_set(), "two calls changed the regions of one image at the same time"
    assert sorted(ids, key=lambda name: int(name[1:])) == [f"r{i}" for i in range(1, 13)]


def test_boxes_as_fractions_return_an_error_and_add_no_region(photo, llm):
    toolkit = VipLlavaToolkit(chat_model=llm)
    image_id = toolkit.add_image(photo)
    caller = ToolCaller(toolkit)
    assert "512 x 512 pixels" in caller.call_expecting_error(
        "mark_regions", image_id=image_id, regions=[[0.1, 0.2, 0.5, 0.5]]
    )
    assert "outside the image" in caller.call_expecting_error(
        "mark_regions", image_id=image_id, regions=[[5000, 5000, 6000, 6000]]
    )
    assert "known regions: none yet" in caller.call_expecting_error("mark_regions", image_id=image_id, regions=["r1"])
    assert "r1" in caller.call("mark_regions", image_id=image_id, regions=[[10, 20, 300, 400]]).text


def test_add_image_accepts_bgr_arrays(llm):
    toolkit = VipLlavaToolkit(chat_model=llm)
    image_id = toolkit.add_image(np.full((40, 40, 3), (255, 0, 0), np.uint8), channels="bgr")
    assert toolkit.marked_image(image_id).image.getpixel((5, 5)) == (0, 0, 255)


def test_the_tool_schema_describes_every_form_of_a_region(llm):
    tools = {tool.name: tool for tool in VipLlavaToolkit(chat_model=llm).get_tools()}
    schema = convert_to_openai_tool(tools["mark_regions"])["function"]["parameters"]["properties"]["regions"]
    assert schema["type"] == "array"
    assert [option["type"] for option in schema["items"]["anyOf"]] == ["string", "array", "object", "object", "object"]


def test_an_error_of_another_chat_model_returns_an_error_message(photo):
    class RateLimitedModel(FakeListChatModel):
        def _call(self, *args, **kwargs):
            raise RuntimeError("rate limit")

    toolkit = VipLlavaToolkit(chat_model=RateLimitedModel(responses=["never"]))
    image_id = toolkit.add_image(photo)
    assert "rate limit" in ToolCaller(toolkit).call_expecting_error(
        "ask_regions", image_id=image_id, question="What is it?"
    )
