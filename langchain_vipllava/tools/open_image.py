"""`open_image`: the tool that brings a picture into a thread."""

from __future__ import annotations

from pathlib import Path

from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, Field

from langchain_vipllava.errors import PictureError, VipLlavaError
from langchain_vipllava.pictures.fetch import FetchPolicy
from langchain_vipllava.pictures.load import load_image
from langchain_vipllava.tools.base import RegionTool, Reply, as_tool_error, save


class OpenImageInput(BaseModel):
    """Arguments of `open_image`."""

    source: str = Field(description="Path of a picture file, or its http(s) URL.")


class OpenImageTool(RegionTool):
    """Opens a picture for the other tools.

    Attributes:
        fetch_policy: how pictures are fetched from URLs; private addresses are refused by default.
        image_root: when set, only files below this folder are opened.
    """

    name: str = "open_image"
    description: str = (
        "Open a picture and get its image_id, which the other tools need. Boxes and points are in pixels of this "
        "picture: x to the right, y down, (0, 0) at the top left."
    )
    args_schema: type[BaseModel] = OpenImageInput
    fetch_policy: FetchPolicy = FetchPolicy(private_hosts=False)
    image_root: Path | None = None

    def _run(self, source: str, config: RunnableConfig) -> Reply:
        try:
            session = self._session(config)
            image = load_image(self._check_source(source), fetch_policy=self.fetch_policy)
        except VipLlavaError as error:
            raise as_tool_error(error) from error
        opened = session.add("img", image)
        save(session)
        width, height = image.size
        words = f"Opened as {opened.id}: {width} x {height} pixels."
        return words, {"image_id": opened.id, "width": width, "height": height}

    def _check_source(self, source: str) -> str:
        source = source.strip()
        if not source:
            raise PictureError("source is empty; expected the path or URL of a picture.")
        if self.image_root is None or source.lower().startswith(("http://", "https://", "data:")):
            return source
        root = self.image_root.resolve()
        try:
            path = (root / source.removeprefix("file://")).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise PictureError(f"{source!r} is no path: {error}; expected a path below {str(root)!r}.") from error
        if not path.is_relative_to(root):
            raise PictureError(f"{source!r} lies outside the folder of pictures; expected a path below {str(root)!r}.")
        return str(path)
