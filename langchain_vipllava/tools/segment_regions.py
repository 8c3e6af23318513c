"""`segment_regions`: the tool that makes masks of what the LLM points at."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, Field, WithJsonSchema

from langchain_vipllava.tools.base import Reply, WorkspaceTool, errors_for_llm

_NUMBERS = {"type": "array", "items": {"type": "number"}}

PromptItems = Annotated[
    Any,
    WithJsonSchema(
        {
            "type": "array",
            "items": {
                "anyOf": [
                    {**_NUMBERS, "description": "[x, y] or [x0, y0, x1, y1] in pixels"},
                    {"type": "string", "description": "a region id"},
                    {
                        "type": "object",
                        "properties": {"point": _NUMBERS, "label": {"type": "string"}},
                        "required": ["point"],
                    },
                ]
            },
        }
    ),
]
"""What the schema tells an LLM to write; the workspace reads more than that."""


class SegmentRegionsInput(BaseModel):
    """Arguments of `segment_regions`."""

    image_id: str = Field(description="Id of an open image, as returned by open_image.")
    points: PromptItems = Field(
        description=(
            "A point [x, y] on each thing, or a box [x0, y0, x1, y1] around it, in pixels of the image; or region ids. "
            'With a name: {"point": [x, y], "label": "..."}.'
        )
    )


class SegmentRegionsTool(WorkspaceTool):
    """Finds the outlines of things that the LLM points at."""

    position: ClassVar[int] = 3
    needs_segmenter: ClassVar[bool] = True
    name: str = "segment_regions"
    description: str = (
        "Find the exact outline of the thing at each point, or in each box, of an open image. Returns region ids for "
        'mark_regions, where kind "mask contour" or "mask" follows the outline.'
    )
    args_schema: type[BaseModel] = SegmentRegionsInput

    def _run(self, image_id: str, points: Any, config: RunnableConfig) -> Reply:
        session = self.session(config)
        with errors_for_llm(self.name):
            segmented = self.workspace.segment(image_id, points, session=session)
        return segmented.text, segmented.to_dict()
