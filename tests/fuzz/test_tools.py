"""Mutated arguments of the tools."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel
from PIL import Image

from langchain_vipllava import VipLlavaToolkit
from langchain_vipllava.apps.segmenters import segment_shapes
from langchain_vipllava.errors import MAX_MESSAGE
from tests.fuzz.mutations import JSON, mutate

CALLS = {
    "open_image": [{"source": "/no/such/file.png"}, {"source": "http://127.0.0.1:1/a.png"}],
    "detect_regions": [{"image_id": "photo1", "labels": ["cat"], "min_score": 0.5, "max_regions": 3}],
    "segment_regions": [
        {"image_id": "photo1", "points": [[50, 40], [10, 10, 30, 30], {"point": [5, 6], "label": "x"}, "r1"]},
        {"image_id": "photo1", "points": '{"points": [[50, 40], [60, 41]]}'},
    ],
    "mark_regions": [
        {
            "image_id": "photo1",
            "regions": ["r1", [1, 2, 30, 40]],
            "kind": "arrow",
            "color": ["red", "blue"],
            "zoom": None,
        },
        {"image_id": "photo1", "regions": [{"polygon": [[1, 2], [30, 4], [20, 50]], "label": "x"}, {"point": [5, 6]}]},
        {"image_id": "photo1", "regions": '[[1, 2, 30, 40], {"box": [1, 2, 3, 4]}]', "kind": ["ellipse"]},
    ],
    "ask_regions": [{"image_id": "photo1", "question": "What is {r1}?"}],
}
DETECTIONS = [{"score": 0.9, "label": "cat", "box": {"xmin": 4, "ymin": 5, "xmax": 30, "ymax": 40}}]


@pytest.fixture
def tools():
    toolkit = VipLlavaToolkit(
        chat_model=FakeListChatModel(responses=["A cat."]), detector=lambda image: DETECTIONS, segmenter=segment_shapes
    )
    toolkit.add_image(Image.new("RGB", (100, 80)), detections=DETECTIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about tiny regions
        yield {tool.name: tool for tool in toolkit.get_tools()}


def check(message):
    assert message is not None
    bound = MAX_MESSAGE if message.status == "error" else 50_000
    assert len(message.content) <= bound
    assert all(line.isprintable() for line in message.content.split("\n"))


@pytest.mark.parametrize("name", CALLS)
def test_mutated_tool_arguments(fuzz, tools, name):
    rng = fuzz.rng()
    for round_ in fuzz.rounds(60):
        arguments = CALLS[name][round_ % len(CALLS[name])]
        for _ in range(rng.choice((1, 1, 2, 4))):
            arguments = mutate(arguments, rng)
        call = {"type": "tool_call", "id": "1", "name": name, "args": arguments}
        check(fuzz.try_input(tools[name].invoke, call, {"configurable": {"thread_id": f"{round_ % 7}"}}))


def test_any_value_as_regions(fuzz, tools):
    @given(JSON, st.sampled_from(["a", "\ud800", "../x"]))
    def any_value(value, thread):
        call = {
            "type": "tool_call",
            "id": "1",
            "name": "mark_regions",
            "args": {"image_id": "photo1", "regions": value},
        }
        check(fuzz.try_input(tools["mark_regions"].invoke, call, {"configurable": {"thread_id": thread}}))

    any_value()
