"""Arguments that no LLM should write: the answer is a message of bounded length, never an exception."""

from __future__ import annotations

import asyncio
import logging

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tools import ToolException

from langchain_vipllava import ImageStore, VipLlavaToolkit
from langchain_vipllava.errors import MAX_MESSAGE
from tests.support.tool_caller import DETECTIONS


def nested(depth, inner=(1, 2)):
    value = list(inner)
    for _ in range(depth):
        value = [value]
    return value


THREAD = {"configurable": {"thread_id": "t"}}

BAD_REGIONS = {
    "a polygon nested 3,000 deep": [{"polygon": nested(3000)}],
    "a list nested 3,000 deep": nested(3000),
    "a list nested 100,000 deep": nested(100_000),
    "a mapping nested deep": [{"box": {"x": nested(3000)}}],
    "JSON text of 900 brackets": "[" * 900,
    "closed JSON text of 900 brackets": "[" * 900 + "]" * 900,
    "closed JSON text of 100,000 brackets": "[" * 100_000 + "]" * 100_000,
    "a number of 5,000 digits": [[10**5000, 1, 2]],
    "a box of such numbers": [[10**5000, 1, 2, 3]],
    "text of 5,000 digits": "[[" + "1" * 5000 + ", 1, 2, 3]]",
    "half a character": ["\ud800"],
    "5 MB of text": "r" * 5_000_000,
    "bytes": b"\xff\x00",
    "sets": [{1, 2}, {3: {4}}],
    "keys that are not text": [{1: 2, None: 3, (4,): 5}],
    "huge floats": [[1e308, 1e308, 1.7e308, 1.7e308]],
    "a label that is not text": [{"box": [1, 2, 30, 40], "label": nested(2000)}],
    "a score that is not a number": [{"box": [1, 2, 30, 40], "score": "\ud800"}],
}

CALLS = [
    *(("mark_regions", {"image_id": "photo1", "regions": regions}) for regions in BAD_REGIONS.values()),
    ("mark_regions", {"image_id": "x" * 5_000_000, "regions": ["r1"]}),
    ("mark_regions", {"image_id": "photo1", "regions": ["r1"], "kind": nested(3000)}),
    ("mark_regions", {"image_id": "photo1", "regions": ["r1"], "kind": ["\ud800" * 10**5] * 1000}),
    ("mark_regions", {"image_id": "photo1", "regions": ["r1"], "color": ["x"] * 100_000}),
    ("mark_regions", {"image_id": "photo1", "regions": ["r1"], "zoom": "z" * 5_000_000}),
    ("detect_regions", {"image_id": "photo1", "labels": [1] * 100_000}),
    ("detect_regions", {"image_id": "photo1", "labels": nested(3000)}),
    ("detect_regions", {"image_id": "photo1", "min_score": 10**5000}),
    ("detect_regions", {"image_id": "photo1", "max_regions": float("nan")}),
    ("detect_regions", {"image_id": ["photo1"]}),
    ("open_image", {"source": "\ud800\x1b[2J\u202e"}),
    ("open_image", {"source": "x" * 5_000_000}),
    ("open_image", {"source": nested(3000)}),
    ("ask_regions", {"image_id": "photo1", "question": "\ud800"}),
    ("ask_regions", {"image_id": "photo1", "question": "{r1" * 1000}),
    ("ask_regions", {"image_id": "photo1", "question": {"a": nested(3000)}}),
    ("ask_regions", {5: 6}),
]


@pytest.mark.parametrize(("name", "arguments"), CALLS, ids=[f"{n} {i}" for i, (n, _) in enumerate(CALLS)])
@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_hostile_arguments_return_one_bounded_line(toolkit, photo, name, arguments, how):
    toolkit.add_image(photo, detections=DETECTIONS)
    tool = {tool.name: tool for tool in toolkit.get_tools()}[name]
    call = {"type": "tool_call", "id": "call-1", "name": name, "args": arguments}
    message = tool.invoke(call, THREAD) if how == "invoke" else asyncio.run(tool.ainvoke(call, THREAD))
    assert (message.status, message.tool_call_id, message.artifact) == ("error", "call-1", None)
    assert len(message.content) <= MAX_MESSAGE
    assert message.content.isprintable()
    assert " at 0x" not in message.content


@pytest.mark.parametrize("thread_id", ["\ud800", 5, "../../etc", "\x00", "a/b"])
def test_any_thread_id_names_a_stored_session(llm, photo, tmp_path, thread_id):
    for _ in range(2):  # in a new process, too
        toolkit = VipLlavaToolkit(chat_model=llm, image_store=ImageStore(tmp_path))
        toolkit.add_image(photo, thread_id="other")
        mark_regions = {tool.name: tool for tool in toolkit.get_tools()}["mark_regions"]
        toolkit.add_image(photo, thread_id=thread_id)
        text = mark_regions.invoke(
            {"image_id": "img1", "regions": [[1, 2, 30, 40]]}, {"configurable": {"thread_id": thread_id}}
        )
        assert text.startswith("Marked img1 as marked")


def test_calls_that_are_no_calls_return_a_message(toolkit):
    tool = toolkit.get_tools()[0]
    for call in (
        {"type": "tool_call", "id": "1", "name": "x", "args": 5},
        {"type": "tool_call", "name": "x", "args": {}},
        5,
        None,
        [],
        {"type": "tool_call", "id": 7, "name": None, "args": None},
    ):
        message = tool.invoke(call)
        content = message if isinstance(message, str) else message.content
        assert "arguments" in content
        assert len(content) <= MAX_MESSAGE


def test_a_bug_is_logged_with_its_traceback_and_told_in_words(toolkit, photo, caplog, monkeypatch):
    toolkit.add_image(photo)
    monkeypatch.setattr(toolkit.workspace, "mark", lambda *args, **kwargs: {}["no such key"])
    tool = {tool.name: tool for tool in toolkit.get_tools()}["mark_regions"]
    with caplog.at_level(logging.ERROR):
        message = tool.invoke({"image_id": "photo1", "regions": ["r1"]}, THREAD)
    assert "the tool could not work with these arguments. Call it again" in message
    assert "KeyError" not in message
    assert caplog.records[0].exc_info[0] is KeyError
    loud = tool.model_copy(update={"handle_tool_error": False})
    with pytest.raises(ToolException, match="could not work") as caught:
        loud.invoke({"image_id": "photo1", "regions": ["r1"]}, THREAD)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_interrupts_pass_unharmed(toolkit, photo, monkeypatch, interrupt):
    def interrupted(*args, **kwargs):
        raise interrupt

    toolkit.add_image(photo)
    monkeypatch.setattr(toolkit.workspace, "mark", interrupted)
    tool = {tool.name: tool for tool in toolkit.get_tools()}["mark_regions"]
    with pytest.raises(interrupt):
        tool.invoke({"image_id": "photo1", "regions": ["r1"]}, THREAD)


def test_what_a_callback_raises_is_the_programs(toolkit, photo):
    class Guardrail(BaseCallbackHandler):
        raise_error = True

        def on_tool_start(self, *args, **kwargs):
            raise PermissionError("not now")

    with pytest.raises(PermissionError, match="not now"):
        toolkit.get_tools()[0].invoke({"source": "a.png"}, {"callbacks": [Guardrail()]})
