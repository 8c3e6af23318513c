"""The four tools: their schemas, results, artifacts and errors."""

from __future__ import annotations

import json
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_vipllava import (
    VipLlavaToolkit,
    mark,
    regions_from,
)
from langchain_vipllava.errors import VipLlavaError
from langchain_vipllava.text import quote
from tests.support.tool_caller import DETECTIONS, ToolCaller


def test_get_tools_returns_four_tools_or_three_without_a_detector(toolkit, llm):
    assert [tool.name for tool in toolkit.get_tools()] == [
        "open_image",
        "detect_regions",
        "mark_regions",
        "ask_regions",
    ]
    assert "detect_regions" not in [tool.name for tool in VipLlavaToolkit(chat_model=llm).get_tools()]


def test_tool_schemas_are_valid_for_providers(toolkit):
    schemas = {tool.name: convert_to_openai_tool(tool)["function"] for tool in toolkit.get_tools()}
    names = {name: set(schema["parameters"]["properties"]) for name, schema in schemas.items()}
    assert names == {
        "open_image": {"source"},
        "detect_regions": {"image_id", "labels", "min_score", "max_regions"},
        "mark_regions": {"image_id", "regions", "kind", "color", "zoom"},
        "ask_regions": {"image_id", "question", "vote"},
    }
    assert schemas["mark_regions"]["parameters"]["required"] == ["image_id", "regions"]
    assert schemas["mark_regions"]["parameters"]["properties"]["regions"]["type"] == "array"
    for schema in schemas.values():
        assert schema["description"]
        assert all(field["description"] for field in schema["parameters"]["properties"].values())
        assert "config" not in json.dumps(schema)


def test_open_detect_mark_ask(toolkit, llm, photo, saved):
    caller = ToolCaller(toolkit)
    opened = caller.call("open_image", source=str(saved))
    assert opened.content == "Opened as img1: 512 x 512 pixels."
    assert opened.artifact == {"image_id": "img1", "width": 512, "height": 512}
    detected = caller.call("detect_regions", image_id="img1")
    assert detected.content.splitlines()[1:] == [
        'r1: "face" (0.90) at box [174, 65, 273, 164]',
        'r2: "rocket" (0.70) at box [330, 20, 480, 250]',
    ]
    marked = caller.call("mark_regions", image_id="img1", regions=["r2", "r1"], kind="arrow")
    assert marked.content.splitlines() == [
        "Marked img1 as marked1:",
        'r2 ("rocket"): "pointed to by the red arrow"',
        'r1 ("face"): "pointed to by the lime arrow"',
    ]
    assert [marker["id"] for marker in marked.artifact["markers"]] == ["r2", "r1"]
    answered = caller.call("ask_regions", image_id="marked1", question="What is the object {r1}?")
    expected = mark(photo, [regions_from(DETECTIONS)[1], regions_from(DETECTIONS)[0]], kind="arrow")
    assert np.array_equal(expected.image, toolkit.marked_image("marked1", thread_id="t").image)
    answer = llm.invoke([expected.message("What is the object {1}?")]).text
    assert answered.content == f"The vision model answered: {quote(answer)}"
    assert answered.artifact == {
        "image_id": "marked1",
        "question": "What is the object pointed to by the lime arrow?",
        "answer": answer,
    }
    for message in (opened, detected, marked, answered):
        json.dumps(message.artifact)


def test_every_marked_image_has_a_separate_conversation(toolkit, caller, llm):
    caller.call("mark_regions", image_id="photo1", regions=["r1"])
    caller.call("mark_regions", image_id="photo1", regions=["r2"])
    first = caller.call("ask_regions", image_id="marked1", question="What is {r1}?").artifact["answer"]
    caller.call("ask_regions", image_id="marked2", question="What is {r2}?")
    second = caller.call("ask_regions", image_id="marked1", question="And its color?").artifact["answer"]
    messages = toolkit.messages("marked1", thread_id="t")
    assert llm.render_prompt(messages[:-1]) == (
        f"USER: <image>\nWhat is the object within the red rectangle?ASSISTANT: {first}USER: And its color?ASSISTANT:"
    )
    assert messages[-1].text == second == llm.invoke(messages[:-1]).text
    assert len(toolkit.messages("marked2", thread_id="t")) == 2


def test_ask_regions_accepts_unmarked_images(toolkit, caller, llm, photo):
    answer = caller.call("ask_regions", image_id="photo1", question="What is it?").artifact["answer"]
    assert answer == llm.invoke([HumanMessage([{"type": "image", "image": photo}, "What is it?"])]).text
    assert "Call mark_regions" in caller.call_expecting_error(
        "ask_regions", image_id="photo1", question="What is {r1}?"
    )


def test_tiny_regions_add_a_note_and_zoom_removes_it(caller):
    tiny = [[100, 100, 106, 106]]
    with pytest.warns(UserWarning, match="px"):
        message = caller.call("mark_regions", image_id="photo1", regions=tiny)
    assert "Note: r3 is 0.7 x 0.7 px" in message.content
    assert 'zoom "auto"' in message.content
    zoomed = caller.call("mark_regions", image_id="photo1", regions=tiny, zoom="auto")
    assert "Note:" not in zoomed.content
    assert "Note:" not in caller.call("mark_regions", image_id="photo1", regions=["r1", [50, 60]]).content


def test_marking_in_several_threads_does_not_change_warning_filters(caller):
    """`warnings.catch_warnings` in a tool is not thread-safe: it could restore the filters of another thread."""
    before, show = list(warnings.filters), warnings.showwarning
    start = threading.Barrier(4)

    def mark_many(thread):
        start.wait()
        return [caller.call("mark_regions", image_id="photo1", regions=["r1"]) for _ in range(10)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(mark_many, range(4)))
    assert (list(warnings.filters), warnings.showwarning) == (before, show)


def test_a_failing_detector_returns_an_error_message(llm, photo):
    def broken(image):
        raise RuntimeError("no GPU")

    caller = ToolCaller(toolkit := VipLlavaToolkit(chat_model=llm, detector=broken))
    toolkit.add_image(photo)
    assert "the detector failed: RuntimeError: no GPU" in caller.call_expecting_error(
        "detect_regions", image_id="photo1"
    )
    assert caller.call("mark_regions", image_id="photo1", regions=[[1, 2, 30, 40]])


def test_a_detector_without_results_returns_an_instruction(llm, photo):
    caller = ToolCaller(toolkit := VipLlavaToolkit(chat_model=llm, detector=lambda image: []))
    toolkit.add_image(photo)
    message = caller.call("detect_regions", image_id="photo1")
    assert "No regions found" in message.content
    assert "mark boxes yourself" in message.content
    assert message.artifact["regions"] == []


def test_a_detector_that_draws_on_its_image_does_not_change_the_open_image(llm, photo):
    def draw_and_detect(image):
        image.paste((255, 0, 0), (0, 0, 100, 100))
        return DETECTIONS

    caller = ToolCaller(toolkit := VipLlavaToolkit(chat_model=llm, detector=draw_and_detect))
    toolkit.add_image(photo)
    caller.call("detect_regions", image_id="photo1")
    assert np.array_equal(toolkit.marked_image("photo1", thread_id="t").image, photo)


def test_detect_regions_filters_by_label_score_and_number(caller):
    def labels(**arguments):
        regions = caller.call("detect_regions", image_id="photo1", **arguments).artifact["regions"]
        return [region["label"] for region in regions]

    assert labels(labels=["Face"]) == ["face"]
    assert labels(labels=["dog"]) == []
    assert labels(min_score=0.8) == ["face"]
    assert labels(max_regions=1) == ["face"]


def test_model_errors_return_an_error_message(toolkit, caller):
    class HookError(Exception):
        pass

    def fail(module, inputs):
        raise HookError

    hook = toolkit.chat_model.backend.runner.model.get_input_embeddings().register_forward_pre_hook(fail)
    try:
        assert "the model failed: HookError" in caller.call_expecting_error(
            "ask_regions", image_id="photo1", question="What?"
        )
    finally:
        hook.remove()
    assert not issubclass(HookError, VipLlavaError)
    assert caller.call("ask_regions", image_id="photo1", question="What?")
