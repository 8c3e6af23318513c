"""`VipLlavaToolkit`: the tools with which an LLM agent looks at images."""

from __future__ import annotations

from typing import Annotated, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool, BaseToolkit
from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, SkipValidation

from langchain_vipllava.chat.messages import write_messages
from langchain_vipllava.images.access import Channels, ImageAccessPolicy, ImageRoot
from langchain_vipllava.images.fetch import FetchPolicy
from langchain_vipllava.images.limits import ImageLimits
from langchain_vipllava.images.source import ImageSource
from langchain_vipllava.images.store import ImageStore
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.regions.detection_options import DetectionOptions
from langchain_vipllava.regions.detector_call import Detector
from langchain_vipllava.regions.segmenter import Segmenter
from langchain_vipllava.tools.base import tool_classes
from langchain_vipllava.tools.chat_model_vision import ChatModelVision
from langchain_vipllava.workspace.limits import SessionLimits
from langchain_vipllava.workspace.session_id import ProgramSession, SessionId
from langchain_vipllava.workspace.workspace import Workspace

_LIMITS = SessionLimits()


class VipLlavaToolkit(BaseToolkit):
    """Tools to open an image, detect and mark regions in it, and ask a vision model about them.

    Images do not go through the agent's LLM unless `show_images` is set, only short ids do. The tools stand on a
    `Workspace`: every LangGraph thread (`configurable.thread_id`) has its own session, bounded, in memory unless an
    `image_store` is set. Without
    a thread id, each run of an agent has a session of its own, which ends with it. Errors come back to the LLM as
    messages that say what to do.

    Attributes:
        chat_model: the model that sees images, usually a `ChatVipLlava`.
        detector: called with an RGB PIL image, returns any format that `regions_from` reads; without one there is no
            `detect_regions`.
        segmenter: called with an RGB PIL image and a `Region` with a `point` or a `box`, returns the mask of one
            object, such as a `SamSegmenter`; without one there is no `segment_regions`.
        detection_options: how detections are read, such as `{"box_format": "xywh"}` or `{"labels": [...]}` (names of
            class ids); see `DetectionOptions`.
        fetch_policy: how `open_image` fetches URLs; by default from public hosts only.
        image_root: `open_image` opens files below this folder, or below one of several; None, the default, opens no
            file.
        image_limits: how large an image may be, and in which formats.
        max_threads: threads that are remembered.
        max_images: images that are remembered per thread, marked ones included.
        max_session_bytes: memory that a thread's images take: files, pixels and masks.
        max_bytes: memory that the images of all threads take.
        max_turns: questions about one image.
        session: names one session for all calls without a thread id, for a program with one user. No thread id
            reaches it.
        show_images: whether the agent's LLM sees the marked image too, once per `mark_regions`: for an LLM that reads
            images in tool messages. A JPEG of at most 768 px a side, at most four pages.
        image_store: where threads outlive the process: `ImageStore(folder)`. A thread with the same id then finds its
            images, regions and conversations again.

    Example:
        >>> from langchain_vipllava import ChatVipLlava, VipLlavaToolkit
        >>> toolkit = VipLlavaToolkit(chat_model=ChatVipLlava(model="bundled"))
        >>> [tool.name for tool in toolkit.get_tools()][:2]
        ['open_image', 'mark_regions']
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    chat_model: BaseChatModel = Field(repr=False)
    detector: Detector | None = None
    segmenter: Segmenter | None = None
    detection_options: Annotated[DetectionOptions, BeforeValidator(DetectionOptions.of)] = Field(
        default_factory=DetectionOptions
    )
    fetch_policy: FetchPolicy = FetchPolicy()
    image_root: Annotated[ImageRoot | None, SkipValidation] = None
    image_limits: ImageLimits = ImageLimits()
    max_threads: int = Field(default=_LIMITS.max_sessions, ge=1)
    max_images: int = Field(default=_LIMITS.max_images, ge=1)
    max_session_bytes: int = Field(default=_LIMITS.max_session_bytes, ge=1)
    max_bytes: int = Field(default=_LIMITS.max_bytes, ge=1)
    max_turns: int = Field(default=_LIMITS.max_turns, ge=1)
    show_images: bool = False
    image_store: ImageStore | None = None
    session: str | None = None

    _workspace: Workspace = PrivateAttr()
    _session: ProgramSession | None = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Make the workspace that all tools of this toolkit share."""
        super().model_post_init(context)
        self._workspace = Workspace(
            model=ChatModelVision(self.chat_model),
            detector=self.detector,
            segmenter=self.segmenter,
            detection_options=self.detection_options,
            access=ImageAccessPolicy(self.image_root, self.fetch_policy, limits=self.image_limits),
            store=self.image_store,
            max_sessions=self.max_threads,
            max_images=self.max_images,
            max_session_bytes=self.max_session_bytes,
            max_bytes=self.max_bytes,
            max_turns=self.max_turns,
        )
        self._session = None if self.session is None else ProgramSession(self.session)

    @property
    def workspace(self) -> Workspace:
        """The workspace below the tools, for what the program does itself."""
        return self._workspace

    def get_tools(self) -> list[BaseTool]:
        """Return the tools, for `create_agent`, `ToolNode` or `bind_tools`; all share this toolkit's workspace."""
        return [
            tool(workspace=self._workspace, default_session=self._session, show_images=self.show_images)  # type: ignore[call-arg]  # each class has its own name and description
            for tool in tool_classes()
            if tool.fits(self._workspace)
        ]

    def add_image(
        self,
        image: ImageSource,
        *,
        detections: Any = None,
        thread_id: SessionId = None,
        channels: Channels = "rgb",
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
        return self._workspace.add_image(image, detections=detections, session=thread_id, channels=channels)

    def marked_image(self, image_id: str, *, thread_id: SessionId = None, page: int = 0) -> MarkedImage:
        """Return a marked image of a thread (None: of `session`), to show or to save.

        Args:
            image_id: its id.
            thread_id: the thread.
            page: index of the page, for an image that is marked on several.

        Raises:
            SessionError: no such image or page.
        """
        return self._workspace.look(image_id, session=self._session_of(thread_id), page=page)

    def messages(self, image_id: str, *, thread_id: SessionId = None, page: int = 0) -> list[BaseMessage]:
        """Return the conversation about an image of a thread (None: of `session`), as messages for a chat model.

        Args:
            image_id: its id.
            thread_id: the thread.
            page: index of the page, for an image that is marked on several.

        Raises:
            SessionError: no such image or page.
        """
        conversation = self._workspace.conversation(image_id, session=self._session_of(thread_id), page=page)
        return write_messages(conversation, by_value=False)

    def _session_of(self, thread_id: SessionId) -> SessionId:
        return self._session if thread_id is None else thread_id
