"""`open_image`: the tool that brings an image into a thread."""

from __future__ import annotations

from pathlib import Path

from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, Field

from langchain_vipllava.errors import ImageError, VipLlavaError
from langchain_vipllava.images.access import Admission
from langchain_vipllava.images.fetch import FetchPolicy
from langchain_vipllava.images.load import load_image
from langchain_vipllava.tools.base import RegionTool, Reply, as_tool_error, save


class OpenImageInput(BaseModel):
    """Arguments of `open_image`."""

    source: str = Field(description="Path of an image file, or its http(s) URL.")


class OpenImageTool(RegionTool):
    """Opens an image for the other tools.

    Attributes:
        fetch_policy: how images are fetched from URLs; private addresses are refused by default.
        image_root: when set, only files below this folder are opened.
    """

    name: str = "open_image"
    description: str = (
        "Open an image and get its image_id, which the other tools need. Boxes and points are in pixels of this "
        "image: x to the right, y down, (0, 0) at the top left."
    )
    args_schema: type[BaseModel] = OpenImageInput
    fetch_policy: FetchPolicy = FetchPolicy(private_hosts=False)
    image_root: Path | None = None

    def _run(self, source: str, config: RunnableConfig) -> Reply:
        try:
            session = self._session(config)
            if not source.strip():
                raise ImageError("source is empty; expected the path or URL of an image.")
            image = load_image(Admission(self.image_root, self.fetch_policy).admit(source.strip()))
        except VipLlavaError as error:
            raise as_tool_error(error) from error
        opened = session.add("img", image)
        save(session)
        width, height = image.size
        words = f"Opened as {opened.id}: {width} x {height} pixels."
        return words, {"image_id": opened.id, "width": width, "height": height}
