"""`mark_regions`: the tool that draws markers on the regions that the LLM means."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, Field, WithJsonSchema

from langchain_vipllava.markers.kinds import COLORS, KINDS
from langchain_vipllava.tools.base import Reply, WorkspaceTool, errors_for_llm
from langchain_vipllava.tools.shown_images import image_blocks

_NUMBERS = {"type": "array", "items": {"type": "number"}}
_LABEL = {"type": "string"}

RegionItems = Annotated[
    Any,
    WithJsonSchema(
        {
            "type": "array",
            "items": {
                "anyOf": [
                    {"type": "string", "description": "a region id, or the label of one region"},
                    {**_NUMBERS, "description": "[x0, y0, x1, y1] or [x, y] in pixels"},
                    {"type": "object", "properties": {"box": _NUMBERS, "label": _LABEL}, "required": ["box"]},
                    {"type": "object", "properties": {"point": _NUMBERS, "label": _LABEL}, "required": ["point"]},
                    {
                        "type": "object",
                        "properties": {"polygon": {"type": "array", "items": _NUMBERS}, "label": _LABEL},
                        "required": ["polygon"],
                    },
                ]
            },
        }
    ),
]
"""What the schema tells an LLM to write; the workspace reads more than that."""


def _one_or_each(names: tuple[str, ...]) -> dict[str, Any]:
    name = {"type": "string", "enum": list(names)}
    return {"anyOf": [name, {"type": "array", "items": name}]}


Kinds = Annotated[Any, WithJsonSchema({**_one_or_each((*KINDS, "auto")), "default": "rectangle"})]
Colors = Annotated[
    Any, WithJsonSchema({"anyOf": [*_one_or_each(tuple(COLORS))["anyOf"], {"type": "null"}], "default": None})
]
ZoomChoice = Annotated[Any, WithJsonSchema({"enum": ["auto", None], "default": None})]


class MarkRegionsInput(BaseModel):
    """Arguments of `mark_regions`."""

    image_id: str = Field(description="Id of an open image.")
    regions: RegionItems = Field(
        description=(
            'What to mark, a list of: region ids ("r1"), boxes [x0, y0, x1, y1] in pixels, points [x, y] in pixels, or '
            'objects {"box": [...]}, {"point": [...]} or {"polygon": [[x, y], ...]} with an optional "label".'
        )
    )
    kind: Kinds = Field(
        "rectangle",
        description=f'Kind of marker: {", ".join(KINDS)}; one for all, or one per region. "auto" uses several kinds.',
    )
    color: Colors = Field(
        None, description=f"Color: {', '.join(COLORS)}; one per region. Leave out to have them assigned."
    )
    zoom: ZoomChoice = Field(
        None,
        description='"auto" crops around the regions when they are small in the image, on several pages if need be.',
    )


class MarkRegionsTool(WorkspaceTool):
    """Draws markers and opens the marked image under its own id, with its own conversation."""

    position: ClassVar[int] = 4
    name: str = "mark_regions"
    description: str = (
        "Draw colored markers on regions of an open image. Returns the id of the marked image and, for each region, "
        'the words that name it ("within the red rectangle"). Use the region ids, or these words, in ask_regions. More '
        "than nine regions are shown on several pages under one id."
    )
    args_schema: type[BaseModel] = MarkRegionsInput

    def _run(
        self,
        image_id: str,
        regions: Any,
        config: RunnableConfig,
        kind: Any = "rectangle",  # an LLM's words: the workspace says which there are
        color: Any = None,
        zoom: Any = None,
    ) -> Reply:
        session = self.session(config)
        with errors_for_llm(self.name):
            marked = self.workspace.mark(image_id, regions, session=session, kind=kind, color=color, zoom=zoom)
        if not self.show_images:
            return marked.text, marked.to_dict()
        return [{"type": "text", "text": marked.text}, *image_blocks(marked.pages)], marked.to_dict()
