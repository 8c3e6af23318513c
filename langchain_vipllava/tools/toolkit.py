"""`VipLlavaToolkit`: the tools with which an LLM agent looks at images."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool, BaseToolkit
from pydantic import ConfigDict, Field, PrivateAttr, field_validator

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.images.fetch import FetchPolicy
from langchain_vipllava.images.load import ImageSource, load_image
from langchain_vipllava.images.store import ImageStore
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.detector import Detector
from langchain_vipllava.regions.region import Region
from langchain_vipllava.tools.ask_regions import AskRegionsTool
from langchain_vipllava.tools.detect_regions import DetectRegionsTool
from langchain_vipllava.tools.mark_regions import MarkRegionsTool
from langchain_vipllava.tools.memory import ThreadMemory
from langchain_vipllava.tools.open_image import OpenImageTool
from langchain_vipllava.tools.session import SessionStore


class VipLlavaToolkit(BaseToolkit):
    """Tools to open an image, detect and mark regions in it, and ask a vision model about them.

    Images never go through the agent's LLM, only short ids do. What the tools know is kept
    apart for every LangGraph thread (`configurable.thread_id`), bounded, in memory unless a
    `image_store` is given. Errors come back to the LLM as messages that say what to do.

    Attributes:
        chat_model: the model that sees images, usually a `ChatVipLlava`.
        detector: called with an RGB PIL image, gives any format that `regions_from` reads; without
            one there is no `detect_regions`.
        reading: arguments for `regions_from`, such as `{"box_format": "xywh"}` or `{"labels": [...]}`
            (names of class ids).
        fetch_policy: how `open_image` fetches URLs. The LLM chooses them, so private addresses are
            refused by default.
        image_root: when set, `open_image` opens only files below this folder.
        max_threads: threads that are remembered.
        max_images: images that are remembered per thread, marked ones included.
        image_store: where threads outlive the process: `ImageStore(folder)`. A thread of the same id then finds
            its images, regions and conversations again.

    Example:
        >>> from langchain_vipllava import ChatVipLlava, VipLlavaToolkit
        >>> toolkit = VipLlavaToolkit(chat_model=ChatVipLlava(model="bundled"))
        >>> [tool.name for tool in toolkit.get_tools()]
        ['open_image', 'mark_regions', 'ask_regions']
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    chat_model: BaseChatModel = Field(repr=False)
    detector: Detector | None = None
    reading: dict[str, Any] = Field(default_factory=dict)
    fetch_policy: FetchPolicy = FetchPolicy(private_hosts=False)
    image_root: Path | None = None
    max_threads: int = Field(default=64, ge=1)
    max_images: int = Field(default=32, ge=1)
    image_store: ImageStore | None = None

    _sessions: SessionStore = PrivateAttr()

    @field_validator("reading")
    @classmethod
    def _check_reading(cls, reading: dict[str, Any]) -> dict[str, Any]:
        known = inspect.signature(regions_from).parameters.keys() - {"detections", "image_size"}
        if unknown := reading.keys() - known:
            raise DetectionError(f"reading={sorted(unknown)}; expected arguments of regions_from: {sorted(known)}.")
        return reading

    def model_post_init(self, context: Any) -> None:
        """Make the memory that all tools of this toolkit share."""
        super().model_post_init(context)
        memory = None if self.image_store is None else ThreadMemory(self.image_store)
        self._sessions = SessionStore(self.max_threads, self.max_images, memory)

    def get_tools(self) -> list[BaseTool]:
        """The tools, for `create_agent`, `ToolNode` or `bind_tools`; all share this toolkit's memory."""
        sessions = self._sessions
        tools: list[BaseTool] = [
            OpenImageTool(sessions=sessions, fetch_policy=self.fetch_policy, image_root=self.image_root)
        ]
        if self.detector is not None:
            tools.append(DetectRegionsTool(sessions=sessions, detector=self.detector, reading=self.reading))
        return [
            *tools,
            MarkRegionsTool(sessions=sessions),
            AskRegionsTool(sessions=sessions, chat_model=self.chat_model),
        ]

    def add_image(
        self,
        image: ImageSource,
        *,
        detections: Any = None,
        thread_id: str | None = None,
        channels: Literal["rgb", "bgr"] = "rgb",
    ) -> str:
        """Bring in an image that the program has already.

        Args:
            image: anything that `load_image` takes.
            detections: its regions, in any format that `regions_from` reads.
            thread_id: the one thread that sees it; None shows it to all threads.
            channels: "bgr" when the image is an array from `cv2.imread`.

        Returns:
            The image id to tell the LLM.

        Raises:
            ImageError: the image cannot be read.
            DetectionError: the detections cannot be read.
        """
        loaded = load_image(image, channels=channels)
        regions: list[Region] = []
        if detections is not None:
            regions = regions_from(detections, image_size=loaded.size, **self.reading)
        session = self._sessions.shared if thread_id is None else self._sessions.of(thread_id)
        opened = session.add("photo" if thread_id is None else "img", loaded, regions=regions)
        session.save()
        return opened.id

    def marked_image(self, image_id: str, *, thread_id: str | None = None) -> MarkedImage:
        """A marked image of a thread, to show or to save.

        Raises:
            SessionError: no such image.
        """
        return self._sessions.peek(thread_id).find(image_id, self._sessions.shared).shown

    def messages(self, image_id: str, *, thread_id: str | None = None) -> list[BaseMessage]:
        """The conversation about an image so far, as the vision model was given it.

        Raises:
            SessionError: no such image.
        """
        return list(self._sessions.peek(thread_id).find(image_id, self._sessions.shared).messages)
