"""LangChain's standard tests for tools, on each tool of the toolkit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from langchain_vipllava import ChatVipLlava, VipLlavaToolkit
from langchain_vipllava.apps.detectors import detect_shapes
from langchain_vipllava.apps.segmenters import segment_shapes

SCENE = str(Path(__file__).parents[2] / "examples" / "scene.png")


def make_tool(name: str) -> BaseTool:
    """Return a tool of a toolkit to which the scene and its detections were added as photo1."""
    toolkit = VipLlavaToolkit(
        chat_model=ChatVipLlava(model="bundled"),
        detector=detect_shapes,
        segmenter=segment_shapes,
        image_root=Path(SCENE).parent,
        session="standard tests",
    )
    from langchain_vipllava import load_image

    image = load_image(SCENE)
    toolkit.add_image(image, detections=detect_shapes(image))
    return next(tool for tool in toolkit.get_tools() if tool.name == name)


class _ToolSuite:
    name: str
    example: dict[str, Any]

    @property
    def tool_constructor(self) -> BaseTool:
        return make_tool(self.name)

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return self.example


class _Open(_ToolSuite):
    name, example = "open_image", {"source": SCENE}


class _Detect(_ToolSuite):
    name, example = "detect_regions", {"image_id": "photo1"}


class _Segment(_ToolSuite):
    name, example = "segment_regions", {"image_id": "photo1", "points": [[316, 140]]}


class _Mark(_ToolSuite):
    name, example = "mark_regions", {"image_id": "photo1", "regions": ["r1"]}


class _Ask(_ToolSuite):
    name, example = "ask_regions", {"image_id": "photo1", "question": "How many objects are there?"}


class TestOpenImageUnit(_Open, ToolsUnitTests): ...


class TestOpenImage(_Open, ToolsIntegrationTests): ...


class TestDetectRegionsUnit(_Detect, ToolsUnitTests): ...


class TestDetectRegions(_Detect, ToolsIntegrationTests): ...


class TestSegmentRegionsUnit(_Segment, ToolsUnitTests): ...


class TestSegmentRegions(_Segment, ToolsIntegrationTests): ...


class TestMarkRegionsUnit(_Mark, ToolsUnitTests): ...


class TestMarkRegions(_Mark, ToolsIntegrationTests): ...


class TestAskRegionsUnit(_Ask, ToolsUnitTests): ...


class TestAskRegions(_Ask, ToolsIntegrationTests): ...


@pytest.mark.parametrize("kind", [_Open, _Detect, _Segment, _Mark, _Ask])
def test_the_suites_use_the_tools_of_the_toolkit(kind):
    assert kind().tool_constructor.name == kind.name
