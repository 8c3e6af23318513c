"""`segment_regions`: an agent points, and the marker follows the mask."""

from __future__ import annotations

import json

import numpy as np
import pytest
from langchain.agents import create_agent
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_vipllava import ChatVipLlava, VipLlavaToolkit
from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.apps.segmenters import segment_shapes
from tests.support.tool_caller import ToolCaller
from tests.tools.test_agent import ScriptedLLM, calls, results, thread


@pytest.fixture(scope="module")
def eyes():
    return ChatVipLlava(model="bundled")


@pytest.fixture
def toolkit(eyes):
    return VipLlavaToolkit(chat_model=eyes, segmenter=segment_shapes, image_root=SCENE.parent)


@pytest.fixture
def caller(toolkit):
    toolkit.add_image(SCENE)
    return ToolCaller(toolkit)


def test_there_is_the_tool_where_there_is_a_segmenter(toolkit, eyes):
    assert [tool.name for tool in toolkit.get_tools()] == [
        "open_image",
        "segment_regions",
        "mark_regions",
        "ask_regions",
    ]
    assert "segment_regions" not in [tool.name for tool in VipLlavaToolkit(chat_model=eyes).get_tools()]
    everything = VipLlavaToolkit(chat_model=eyes, detector=lambda image: [], segmenter=segment_shapes)
    assert [tool.name for tool in everything.get_tools()][1:3] == ["detect_regions", "segment_regions"]


def test_its_schema_says_what_to_write(toolkit):
    (tool,) = (tool for tool in toolkit.get_tools() if tool.name == "segment_regions")
    function = convert_to_openai_tool(tool)["function"]
    assert set(function["parameters"]["properties"]) == {"image_id", "points"}
    assert function["parameters"]["required"] == ["image_id", "points"]
    assert function["parameters"]["properties"]["points"]["type"] == "array"
    assert "config" not in json.dumps(function)


def test_an_agent_points_and_asks(toolkit, eyes):
    llm = ScriptedLLM(
        responses=[
            calls(("open_image", {"source": SCENE.name})),
            calls(("segment_regions", {"image_id": "img1", "points": [[316, 140], {"point": [512, 520]}]})),
            calls(("mark_regions", {"image_id": "img1", "regions": ["r1", "r2"], "kind": "mask contour"})),
            calls(("ask_regions", {"image_id": "marked1", "question": "What is the object {r1}?"})),
            calls(("ask_regions", {"image_id": "marked1", "question": "What is the object {r2}?"})),
            calls(),
        ]
    )
    agent = create_agent(llm, toolkit.get_tools(), checkpointer=InMemorySaver())
    state = agent.invoke({"messages": [("user", "Look.")]}, thread("a"))
    segmented, marked = results(state, "segment_regions")[0], results(state, "mark_regions")[0]
    assert segmented.content.splitlines()[:2] == ["2 regions in img1:", "r1: region at box [208, 32, 424, 248]"]
    assert segmented.artifact["regions"][0] == {"id": "r1", "box": [208.0, 32.0, 424.0, 248.0]}
    assert '"with the red mask contour"' in marked.content
    assert [message.artifact["answer"] for message in results(state, "ask_regions")] == [
        "A blue circle.",
        "A yellow triangle.",
    ]
    shown = toolkit.marked_image("marked1", thread_id="a")
    changed = (np.asarray(shown.image) != np.asarray(shown.original)).any(axis=2)
    assert not changed[shown.regions[0].mask].all()  # an outline, no fill
    assert changed.sum() < 0.2 * sum(region.mask.sum() for region in shown.regions)


@pytest.mark.parametrize(
    "points",
    [
        [[316, 140]],
        [316, 140],
        "316, 140",
        "[[316, 140]]",
        {"points": [[316, 140]]},
        {"x": 316, "y": 140},
        [{"point": [316, 140], "label": "ball"}],
        [[206, 30, 426, 250]],
        [{"box": [206, 30, 426, 250]}],
        ["316 px", "140 px"],
    ],
)
def test_points_in_the_writings_of_llms(caller, points):
    message = caller.call("segment_regions", image_id="photo1", points=points)
    (region,) = message.artifact["regions"]
    assert np.abs(np.array(region["box"]) - (208, 32, 424, 248)).max() <= 2


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([[0.5, 0.2]], "Write pixels: [320, 127]"),
        ([[9000, 1]], "outside the image of 640 x 636 pixels"),
        (["the cup"], "no region"),
        ([], "expected points [x, y]"),
        ([[1, 2, 3]], "not a region"),
    ],
)
def test_what_is_wrong_comes_back_in_the_terms_of_an_llm(caller, points, said):
    error = caller.call_expecting_error("segment_regions", image_id="photo1", points=points)
    assert said in error
    assert len(error) < 400
    assert "Workspace(" not in error


def test_a_segmenter_that_fails_is_advice_for_an_llm(eyes):
    def failing(image, prompt):
        raise RuntimeError("CUDA out of memory")

    toolkit = VipLlavaToolkit(chat_model=eyes, segmenter=failing)
    toolkit.add_image(SCENE)
    error = ToolCaller(toolkit).call_expecting_error("segment_regions", image_id="photo1", points=[[5, 9]])
    assert error.startswith("Error: the segmenter failed: RuntimeError: CUDA out of memory")
    assert error.endswith("Call segment_regions again with points [x, y] in pixels, or mark them as they are.")
