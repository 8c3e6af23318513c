"""`open_image`: the tool that opens an image for the other tools."""

from __future__ import annotations

from typing import ClassVar

from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, Field

from langchain_vipllava.tools.base import Reply, WorkspaceTool, errors_for_llm


class OpenImageInput(BaseModel):
    """Arguments of `open_image`."""

    source: str = Field(description="Path of an image file, or its http(s) URL.")


class OpenImageTool(WorkspaceTool):
    """Opens an image for the other tools."""

    position: ClassVar[int] = 1
    name: str = "open_image"
    description: str = (
        "Open an image and get its image_id, which the other tools need. Boxes and points are in pixels of this "
        "image: x to the right, y down, (0, 0) at the top left."
    )
    args_schema: type[BaseModel] = OpenImageInput

    def _run(self, source: str, config: RunnableConfig) -> Reply:
        session = self.session(config)
        with errors_for_llm(self.name):
            opened = self.workspace.open(source.strip(" \n`\"'<>"), session=session)
        return opened.text, opened.to_dict()
