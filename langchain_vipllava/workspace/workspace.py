"""`Workspace`: open, detect, mark, ask, look and list, with a session for every user."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from langchain_vipllava.errors import (
    DetectionError,
    GenerationError,
    ImageError,
    VipLlavaError,
    shorten,
)
from langchain_vipllava.images.access import Channels, ImageAccessPolicy
from langchain_vipllava.images.source import ImageSource
from langchain_vipllava.images.store import ImageStore
from langchain_vipllava.images.view import view_size_of
from langchain_vipllava.markers.assignment import ColorChoice, KindChoice
from langchain_vipllava.markers.mark import Zoom
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.prompt.conversation import Conversation
from langchain_vipllava.regions.detection_options import DetectionOptions
from langchain_vipllava.regions.detector import run_detector
from langchain_vipllava.regions.detector_call import Detector
from langchain_vipllava.regions.segmenter import Segmenter
from langchain_vipllava.workspace.asking import Asking, read_image_id
from langchain_vipllava.workspace.drawing import draw_markers
from langchain_vipllava.workspace.heat_map import HeatMap
from langchain_vipllava.workspace.limits import SessionLimits
from langchain_vipllava.workspace.marker_words import check_looks, read_color, read_kind, read_zoom
from langchain_vipllava.workspace.occlusion import heat_map_of
from langchain_vipllava.workspace.open_image import OpenImage
from langchain_vipllava.workspace.persistence import StoredSessions
from langchain_vipllava.workspace.region_input import add_regions, choose_regions
from langchain_vipllava.workspace.results import Detected, ImageSummary, Marked, Opened
from langchain_vipllava.workspace.segmenting import segment_open_image
from langchain_vipllava.workspace.session_id import SessionId
from langchain_vipllava.workspace.session_pool import SessionPool
from langchain_vipllava.workspace.vision_model import VisionModel
from langchain_vipllava.workspace.written import read_list

DEFAULT_ACCESS = ImageAccessPolicy()
"""Default policy of `open`: no file, public URLs only."""

_LIMITS = SessionLimits()


class Workspace(Asking):
    """Everything that is done with images, for any number of sessions at once. Plain Python: no LangChain.

    Agent tools, a page and a server are thin adapters over it. Each session has its own images, each image its own
    conversation. What the program shares with `add_image` is seen by all sessions. Any thread or task may call it.

    Args:
        model: answers questions; without one, `ask` raises.
        detector: called with an upright RGB PIL image, returns any format that `regions_from` reads; without one,
            `detect` raises.
        segmenter: called with an upright RGB PIL image and a `Region` with a `point` or a `box`, returns the (H, W)
            mask of one object; without one, `segment` raises. `SamSegmenter` (in `regions.sam`) is one.
        detection_options: how detections are read.
        access: which images `open` accepts; by default no file, and URLs of public addresses.
        store: where sessions outlive the process; None forgets them with it.
        max_sessions: sessions that are remembered in memory; the least recently used are evicted first.
        max_images: images that are remembered per session, marked ones included; the least recently used are
            forgotten first.
        max_session_bytes: memory that a session's images take, files, pixels and masks; see `SessionLimits`.
        max_bytes: memory that the images of all sessions take.
        max_turns: questions about one image, each with its answer.

    Example:
        >>> from langchain_vipllava import Workspace
        >>> from langchain_vipllava import ImageAccessPolicy
        >>> workspace = Workspace(access=ImageAccessPolicy(image_root="examples"))
        >>> opened = workspace.open("scene.png", session="anna")
        >>> marked = workspace.mark(opened.image_id, [[59, 378, 164, 483]], session="anna")
        >>> print(marked.text)
        Marked img1 as marked1:
        r1 (region): "within the red rectangle"
    """

    def __init__(
        self,
        *,
        model: VisionModel | None = None,
        detector: Detector | None = None,
        segmenter: Segmenter | None = None,
        detection_options: DetectionOptions | None = None,
        access: ImageAccessPolicy = DEFAULT_ACCESS,
        store: ImageStore | None = None,
        max_sessions: int = _LIMITS.max_sessions,
        max_images: int = _LIMITS.max_images,
        max_session_bytes: int = _LIMITS.max_session_bytes,
        max_bytes: int = _LIMITS.max_bytes,
        max_turns: int = _LIMITS.max_turns,
    ) -> None:
        if model is not None and not hasattr(model, "answer"):
            raise GenerationError(
                f"model is a {type(model).__name__}; expected a VisionModel, such as ChatModelVision(llm) or "
                "BackendVision(llm.backend)."
            )
        self._model = model
        self._detector = detector
        self._segmenter = segmenter
        self._detection_options = detection_options or DetectionOptions()
        self._access = access
        storage = None if store is None else StoredSessions(store)
        self._limits = SessionLimits(max_sessions, max_images, max_session_bytes, max_bytes, max_turns)
        self._sessions = SessionPool(self._limits, storage)

    @property
    def can_detect(self) -> bool:
        """Whether there is a detector."""
        return self._detector is not None

    @property
    def can_segment(self) -> bool:
        """Whether there is a segmenter."""
        return self._segmenter is not None

    def open(self, source: str | os.PathLike[str], *, session: SessionId = None) -> Opened:
        """Open an image that a caller names.

        Args:
            source: path or http(s) URL, within the access policy.
            session: id of the session; None is the program's own, which no tool call reaches.

        Raises:
            ImageError: it cannot be opened, or must not be.
        """
        current = self._sessions.get(session)
        if not isinstance(source, (str, os.PathLike)) or not str(source).strip():
            raise ImageError(f"source is {shorten(source)}; expected the path or URL of an image.")
        image = self._access.resolve(source)
        image.decode()
        opened = current.add("img", image)
        self._settle(current)
        return Opened(opened.id, image.size)

    def add_image(
        self,
        image: ImageSource,
        *,
        detections: Any = None,
        session: SessionId = None,
        channels: Channels = "rgb",
    ) -> str:
        """Add an image that the program has already.

        Args:
            image: anything that `load_image` takes. It is opened whatever it names: pass the bytes of an upload, never
                a path or URL that somebody else wrote.
            detections: its regions, in any format that `regions_from` reads.
            session: the session that sees it; None shows it to all.
            channels: "bgr" when the image is an array from `cv2.imread`.

        Returns:
            The image id.

        Raises:
            ImageError: the image cannot be read, or the session cannot be saved.
            DetectionError: the detections cannot be read.
        """
        encoded = ImageAccessPolicy.trusted().resolve(image, channels=channels)
        size = encoded.size
        regions = [] if detections is None else self._detection_options.read(detections, size)
        current = self._sessions.shared if session is None else self._sessions.get(session)
        opened = current.add("photo" if session is None else "img", encoded, regions=regions)
        if session is not None:
            self._sessions.fit(current)
        current.save()
        return opened.id

    def detect(
        self,
        image_id: str,
        *,
        session: SessionId = None,
        only: Sequence[str] | None = None,
        min_score: float = 0.0,
        max_regions: int | None = None,
    ) -> Detected:
        """Run the detector on an open image; its regions get ids.

        Args:
            image_id: id of an open image.
            session: id of the session.
            only: keep only regions with these labels.
            min_score: keep only regions with at least this score; the program's own bound holds too.
            max_regions: keep at most this many, the best ones; the program's own bound holds too.

        Raises:
            SessionError: no such image.
            DetectionError: no detector, it failed, or its output cannot be read.
        """
        current, opened = self._find(image_id, session)
        if self._detector is None:
            raise DetectionError("there is no detector; mark boxes yourself: [x0, y0, x1, y1] in pixels.")
        detected = run_detector(
            self._detector,
            opened.image.decode().copy(),  # some detectors draw on their input
            only=only,
            options=self._detection_options.narrowed(min_score=min_score, max_regions=max_regions),
        )
        with opened.lock:
            added = add_regions(opened, detected, self._detection_options.limits)
            regions = {region.id: region for region in added}
        self._settle(current)
        return Detected(opened.id, tuple(regions.values()))

    def segment(self, image_id: str, prompts: Any, *, session: SessionId = None) -> Detected:
        """Make masks of what points and boxes of an open image show; they become regions with new ids.

        Args:
            image_id: id of an open image.
            prompts: points `[x, y]`, boxes `[x0, y0, x1, y1]`, or region ids, whose boxes are taken; one or several, or
                a text or JSON with them, as LLMs write it. Coordinates are pixels of the image.
            session: id of the session.

        Returns:
            The regions in the order of the prompts; prompts on one object may share one.

        Raises:
            SessionError: no such image or region, or more masks than the session holds.
            RegionError: not a point or box, or outside the image.
            DetectionError: no segmenter, it failed, or found nothing at a prompt.
        """
        current, opened = self._find(image_id, session)
        detected = segment_open_image(
            opened,
            prompts,
            self._segmenter,
            self._detection_options.limits,
            max_bytes=self._limits.max_session_bytes,
            can_detect=self.can_detect,
        )
        self._settle(current)
        return detected

    def mark(
        self,
        image_id: str,
        regions: Any,
        *,
        session: SessionId = None,
        kind: KindChoice | Sequence[KindChoice | None] = "rectangle",
        color: ColorChoice | Sequence[ColorChoice | None] | None = None,
        zoom: Zoom | None = None,
    ) -> Marked:
        """Draw markers on regions; the marked image is opened under its own id, with its own conversation.

        Args:
            image_id: id of an open image.
            regions: region ids, labels, `Region`s, boxes, points, polygons or detections, or a text or JSON with
                them, as LLMs write it. Coordinates that are no pixels of the image are refused.
            session: id of the session.
            kind: see `mark`; other words for a kind are read too, and `Marked.notes` says so.
            color: see `mark`; other colors are read too.
            zoom: see `mark`; True is "auto".

        Raises:
            SessionError: no such image or region.
            RegionError: not a region, or outside the image.
            MarkerError: unknown names, or more regions than colors and kinds.
        """
        current, source = self._find(image_id, session)
        limits = self._detection_options.limits
        listed = read_list(regions, limits)
        zoom = read_zoom(zoom)
        with source.lock:
            before = source.regions.copy()
            try:
                chosen = choose_regions(source, listed, limits, can_detect=self.can_detect)
                kind, color = read_kind(kind, chosen), read_color(color, chosen)
                check_looks(kind, color, chosen)
                marked = draw_markers(source.image, chosen.regions, kind, color, zoom, view_size_of(self._model))
            except VipLlavaError:
                source.regions = before  # a region that cannot be marked gets no id
                raise
        opened = current.add("marked", source.image, regions=chosen.regions, marked=marked)
        self._settle(current)
        return Marked(opened.id, source.id, marked, zoomed=zoom is not None, notes=tuple(chosen.notes))

    def look(self, image_id: str, *, session: SessionId = None, page: int = 0) -> MarkedImage:
        """Return what the model sees of an image: with its markers, or without any.

        Args:
            image_id: id of an open image.
            session: id of the session.
            page: index of the page, for an image that is marked on several.

        Raises:
            SessionError: no such image or page.
        """
        return self._view(image_id, session, page).shown

    def heat_map(
        self,
        image_id: str,
        *,
        session: SessionId = None,
        page: int = 0,
        on_progress: Callable[[float], object] | None = None,
    ) -> HeatMap:
        """Find which parts of an image its last answer depends on, by occlusion: patches are grayed, one at a time.

        The model is asked some hundred times how likely the answer is. The conversation stays as it is.

        Args:
            image_id: id of an open image about which a question was answered.
            session: id of the session.
            page: index of the page, for an image that is marked on several.
            on_progress: called with the finished share, 0 to 1; an exception that it raises stops the work.

        Raises:
            SessionError: no such image or page.
            PromptError: nothing was asked about it yet.
            GenerationError: the model failed, or does not say how likely an answer is.
        """
        opened = self._look_up(image_id, session)
        return heat_map_of(opened, opened.view(page), self._vision_model(), on_progress)

    def conversation(self, image_id: str, *, session: SessionId = None, page: int = 0) -> Conversation:
        """Return the conversation about an image so far.

        Args:
            image_id: id of an open image.
            session: id of the session.
            page: index of the page, for an image that is marked on several.

        Raises:
            SessionError: no such image or page.
        """
        return Conversation(tuple(self._view(image_id, session, page).turns))

    def list(self, *, session: SessionId = None) -> tuple[ImageSummary, ...]:
        """Return the images of a session, those that the program shares first."""
        images = self._sessions.peek(session).images(self._sessions.shared)
        return tuple(
            ImageSummary(
                image.id,
                image.image.size,
                tuple(image.regions.values()),
                tuple(marker.phrase for marker in image.markers),
                sum(len(view.turns) for view in image.views),
            )
            for image in images
        )

    def forget(self, image_id: str, *, session: SessionId = None) -> None:
        """Forget an image of a session, with its conversation. One that the program shares is copied anew when used.

        Raises:
            SessionError: no such image.
            ImageError: the session cannot be saved.
        """
        current = self._sessions.get(session)
        current.forget(self._look_up(image_id, session).id)
        current.save()

    def forget_session(self, session: SessionId) -> None:
        """Forget a session, also where it is stored; an unknown one is no error."""
        self._sessions.forget(session)

    def close(self) -> None:
        """Forget all sessions in memory, and what the program shares. Stored sessions stay stored."""
        self._sessions.clear()

    def _look_up(self, image_id: str, session: SessionId) -> OpenImage:
        """Find an image without changing which ones are remembered."""
        return self._sessions.peek(session).find(read_image_id(image_id), self._sessions.shared, copy=False)

    def _view(self, image_id: str, session: SessionId, page: int) -> OpenImage:
        return self._look_up(image_id, session).view(page)

    def __deepcopy__(self, memo: dict[int, Any]) -> Workspace:
        """Shared by copies of the tools that stand on it."""
        return self
