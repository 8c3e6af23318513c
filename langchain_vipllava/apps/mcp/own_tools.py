"""Tools that an agent of ours does not need, because its program looks itself: list, look, forget."""

from __future__ import annotations

from typing import ClassVar

from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, Field

from langchain_vipllava.tools.base import Reply, WorkspaceTool, errors_for_llm
from langchain_vipllava.tools.shown_images import image_blocks
from langchain_vipllava.workspace.results import region_dict


class ListImagesInput(BaseModel):
    """`list_images` takes no arguments."""


class LookAtImageInput(BaseModel):
    """Arguments of `look_at_image`."""

    image_id: str = Field(description="Id of an open or a marked image.")
    page: int = Field(0, ge=0, description="Index of the page, for an image that is marked on several.")


class ForgetImageInput(BaseModel):
    """Arguments of `forget_image`."""

    image_id: str = Field(description="Id of an open or a marked image.")


class ListImagesTool(WorkspaceTool):
    """Lists the images of a client."""

    position: ClassVar[int] = 101
    name: str = "list_images"
    description: str = "List the open and the marked images, with their regions and markers."
    args_schema: type[BaseModel] = ListImagesInput

    def _run(self, config: RunnableConfig) -> Reply:
        with errors_for_llm(self.name):
            listed = self.workspace.list(session=self.session(config))
        text = "\n".join(summary.text for summary in listed)
        return text or "No image is open. Call open_image.", {"images": [summary.to_dict() for summary in listed]}


class LookAtImageTool(WorkspaceTool):
    """Shows an image."""

    position: ClassVar[int] = 102
    name: str = "look_at_image"
    description: str = "See an open or a marked image, as the vision model sees it."
    args_schema: type[BaseModel] = LookAtImageInput

    def _run(self, image_id: str, config: RunnableConfig, page: int = 0) -> Reply:
        session = self.session(config)
        with errors_for_llm(self.name):
            shown = self.workspace.look(image_id, session=session, page=page)
        width, height = shown.image.size
        marked = f"; marked: {'; '.join(shown.phrases)}" if shown.markers else ""
        markers = [{**region_dict(marker.region), "phrase": marker.phrase} for marker in shown.markers]
        described = {"image_id": image_id, "page": page, "width": width, "height": height, "markers": markers}
        text = f"{image_id}: {width} x {height} pixels{marked}"
        return [{"type": "text", "text": text}, *image_blocks([shown])], described


class ForgetImageTool(WorkspaceTool):
    """Forgets an image."""

    position: ClassVar[int] = 103
    name: str = "forget_image"
    description: str = "Forget an open or a marked image, and the conversation about it."
    args_schema: type[BaseModel] = ForgetImageInput

    def _run(self, image_id: str, config: RunnableConfig) -> Reply:
        with errors_for_llm(self.name):
            self.workspace.forget(image_id, session=self.session(config))
        return f"Forgot {image_id}.", {"image_id": image_id}
