"""`mark_regions`: the tool that draws markers on the regions that the LLM means."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, Field, WithJsonSchema, field_validator

from langchain_vipllava.markers.kinds import COLORS, KINDS
from langchain_vipllava.tools.base import Reply, WorkspaceTool, errors_for_llm

_NUMBERS = {"type": "array", "items": {"type": "number"}}
_LABEL = {"type": "string"}

RegionItems = Annotated[
    Any,
    WithJsonSchema(
        {
            "type": "array",
            "items": {
                "anyOf": [
                    {"type": "string", "description": "a region id"},
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


class MarkRegionsInput(BaseModel):
    """Arguments of `mark_regions`."""

    image_id: str = Field(description="Id of an open image.")
    regions: RegionItems = Field(
        description=(
            'What to mark, a list of: region ids ("r1"), boxes [x0, y0, x1, y1] in pixels, points [x, y] in pixels, or '
            'objects {"box": [...]}, {"point": [...]} or {"polygon": [[x, y], ...]} with an optional "label".'
        )
    )
    kind: str | list[str] = Field(
        "rectangle", description=f"Kind of marker: {', '.join(KINDS)}; one for all, or one per region."
    )
    color: str | list[str] | None = Field(
        None, description=f"Color: {', '.join(COLORS)}; one per region. Leave out to have them assigned."
    )
    zoom: Literal["auto"] | None = Field(
        None, description='"auto" crops around the regions when they are small in the image.'
    )

    @field_validator("kind", mode="before")
    @classmethod
    def _default_for_null(cls, kind: Any) -> Any:
        return "rectangle" if kind is None else kind  # LLMs write null for what they leave out


class MarkRegionsTool(WorkspaceTool):
    """Draws markers and opens the marked image under its own id, with its own conversation."""

    position: ClassVar[int] = 3
    name: str = "mark_regions"
    description: str = (
        "Draw colored markers on regions of an open image. Returns the id of the marked image and, for each region, "
        'the words that name it ("within the red rectangle"). Use these words, or {r1}, in ask_regions.'
    )
    args_schema: type[BaseModel] = MarkRegionsInput

    def _run(
        self,
        image_id: str,
        regions: Any,
        config: RunnableConfig,
        kind: Any = "rectangle",  # an LLM's words: `mark` says which names there are
        color: Any = None,
        zoom: Literal["auto"] | None = None,
    ) -> Reply:
        session = self.session(config)
        with errors_for_llm():
            marked = self.workspace.mark(image_id, regions, session=session, kind=kind, color=color, zoom=zoom)
        return marked.text, marked.to_dict()
