"""`DetectRegions`, `MarkRegions`, `RegionPrompt`, `AskAboutRegions`: steps of an LCEL chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from PIL import Image
from pydantic import ConfigDict, SkipValidation

from langchain_vipllava.errors import DetectionError, MarkerError, PromptError, shorten
from langchain_vipllava.images.access import Channels
from langchain_vipllava.images.load import load_image
from langchain_vipllava.images.store import image_id
from langchain_vipllava.images.view import VIEW_SIZE
from langchain_vipllava.markers.assignment import ColorChoice, KindChoice, check_names
from langchain_vipllava.markers.mark import Zoom, check_view_size, check_zoom, mark
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.regions.detection_options import DetectionOptions
from langchain_vipllava.regions.detector import run_detector
from langchain_vipllava.regions.detector_call import Detector, DetectorInput, check_input
from langchain_vipllava.regions.format_names import DetectionFormat
from langchain_vipllava.regions.geometry import BoxFormat
from langchain_vipllava.regions.limits import DEFAULT_LIMITS, RegionLimits
from langchain_vipllava.regions.reading import OnError

OnEmpty = Literal["raise", "whole_image", "outcome"]
"""What an image without detections becomes in a chain."""


class Step(RunnableSerializable[dict[str, Any], Any]):
    """A step that takes a mapping; LangChain runs it in a thread when it is awaited."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    def invoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As LangChain's."""
        return self._call_with_config(self._step, input, config, **kwargs)

    def _step(self, input: dict[str, Any]) -> Any:
        raise NotImplementedError


class _DetectionStep(Step):
    """A step that reads an image and a detector's output."""

    channels: Channels = "rgb"
    labels: Sequence[str] | Mapping[Any, str] | None = None
    format: Annotated[DetectionFormat | None, SkipValidation] = None
    box_format: Annotated[BoxFormat | None, SkipValidation] = None
    min_score: float = 0.0
    max_regions: int | None = None
    on_error: Annotated[OnError, SkipValidation] = "raise"
    limits: RegionLimits = DEFAULT_LIMITS

    def _image(self, input: dict[str, Any]) -> Image.Image:
        return load_image(_need(input, "image"), channels=self.channels)

    @property
    def _options(self) -> DetectionOptions:
        return DetectionOptions(
            format=self.format,
            box_format=self.box_format,
            labels=self.labels,
            min_score=self.min_score,
            max_regions=self.max_regions,
            on_error=self.on_error,
            limits=self.limits,
        )


class DetectRegions(_DetectionStep):
    """Run a detector: `{"image", ...}` -> the same with `"regions"`.

    Attributes:
        detector: called with the upright RGB PIL image; returns any format that `regions_from` reads. A pipeline of
            transformers, a model of ultralytics, a function or slicer of supervision: as they are.
        takes: what the detector takes, where it cannot be found out: "pil", or an array, "rgb" or "bgr".
        channels: "bgr" when `"image"` is an array from `cv2.imread`; the detector gets RGB.
        only: keep only regions with these labels.
        labels: names of class ids, as a sequence or mapping.
        format: the reader of the detector's output, by name; None recognizes it.
        box_format: layout of bare boxes.
        min_score: drop regions below this score.
        max_regions: keep at most this many, the best ones.
        on_error: "raise", or "skip" to drop rows that are not regions, with a `SkippedRowsWarning`.
        limits: how much a detector's output may hold.

    Raises:
        DetectionError: the detector failed, or its output cannot be read.
    """

    detector: Detector
    takes: Annotated[DetectorInput | None, SkipValidation] = None
    only: list[str] | None = None

    def model_post_init(self, context: Any) -> None:
        """Check the name of what the detector takes."""
        super().model_post_init(context)
        check_input(self.takes)

    def _step(self, input: dict[str, Any]) -> dict[str, Any]:
        image = self._image(input)
        drawable = image.copy()  # some detectors draw on their input
        regions = run_detector(self.detector, drawable, only=self.only, options=self._options, takes=self.takes)
        return {**input, "image": image, "regions": regions}


class MarkRegions(_DetectionStep):
    """Draw markers: `{"image", "regions" or "detections", ...}` -> the same with `"marked"` and `"outcome"`.

    The outcome is "marked", "whole_image" or "no_regions".

    Attributes:
        kind, color, width, radius, opacity, numbers, seed, zoom, view_size: as `mark` takes them.
        channels: "bgr" when `"image"` is an array from `cv2.imread`.
        labels: names of class ids in `"detections"`.
        format: the reader of `"detections"`, by name; None recognizes it.
        box_format: layout of bare boxes in `"detections"`.
        min_score: drop detections below this score.
        max_regions: mark at most this many, the best ones.
        on_error: "raise", or "skip" to drop rows that are not regions, with a `SkippedRowsWarning`.
        on_empty: what an image without detections becomes. "raise", the default: a DetectionError. "whole_image":
            `"marked"` is the image without markers, and questions are about all of it. "outcome": `"marked"` is None,
            and `AskAboutRegions` asks nothing.
        limits: how much `"detections"` may hold.

    Raises:
        DetectionError: nothing to mark and `on_empty="raise"`, or detections that cannot be read; at construction for
            an unknown `on_empty`.
        MarkerError: at construction for an unknown name; more regions than colors and kinds.
    """

    # SkipValidation: pydantic's error would be none of ours
    kind: Annotated[KindChoice | Sequence[KindChoice | None], SkipValidation] = "rectangle"
    color: Annotated[ColorChoice | Sequence[ColorChoice | None] | None, SkipValidation] = None
    width: float | None = None
    radius: float | None = None
    opacity: float | None = None
    numbers: bool = False
    seed: int | None = None
    zoom: Annotated[Zoom | None, SkipValidation] = None
    view_size: Annotated[int, SkipValidation] = VIEW_SIZE
    on_empty: Annotated[OnEmpty, SkipValidation] = "raise"

    def model_post_init(self, context: Any) -> None:
        """Check the names, so that a chain with a wrong one is not made."""
        super().model_post_init(context)
        check_names(self.kind, self.color)
        check_zoom(self.zoom)
        check_view_size(self.view_size)
        if self.on_empty not in get_args(OnEmpty):
            raise DetectionError(f"on_empty={shorten(self.on_empty)}; expected 'raise', 'whole_image' or 'outcome'.")

    def _step(self, input: dict[str, Any]) -> dict[str, Any]:
        image = self._image(input)
        detections = input["regions"] if "regions" in input else _need(input, "detections")
        regions = self._options.read(detections, image.size)
        if not regions:
            return {**input, "image": image, **self._nothing_found(image)}
        looks = ("kind", "color", "width", "radius", "opacity", "numbers", "seed", "zoom", "view_size")
        marked = mark(image, regions, **{name: getattr(self, name) for name in looks})
        return {**input, "image": image, "marked": marked, "outcome": "marked"}

    def _nothing_found(self, image: Image.Image) -> dict[str, Any]:
        if self.on_empty == "whole_image":
            return {"marked": MarkedImage(image, image, ()), "outcome": "whole_image"}
        if self.on_empty == "outcome":
            return {"marked": None, "outcome": "no_regions"}
        raise DetectionError(
            "no detections to mark; lower min_score, or say what becomes of such images: on_empty='whole_image' asks "
            "about the whole image, on_empty='outcome' asks nothing and says so."
        )


class RegionPrompt(Step):
    """Make the messages for the model: `{"marked", "question"}` -> a list of messages.

    With a `"history"` (a list of messages) the question follows as the next turn. The image is added unless it is
    already in the history.

    Attributes:
        whole_question: asked about an image without markers in place of the question, whose placeholders name nothing
            there; None to ask the question itself.

    Raises:
        MarkerError: a placeholder of the question names no marker, or the image has none and there is no
            `whole_question`.
        PromptError: something is missing.
    """

    whole_question: str | None = None

    def _step(self, input: dict[str, Any]) -> list[BaseMessage]:
        if isinstance(input, Mapping) and input.get("outcome") == "no_regions":
            raise PromptError(
                "nothing was marked (outcome 'no_regions'), so there is nothing to prompt; AskAboutRegions passes such "
                "images on, MarkRegions(on_empty='whole_image') asks about the whole image."
            )
        marked, question = _need(input, "marked"), _need(input, "question")
        if not isinstance(marked, MarkedImage):
            raise PromptError(f"'marked' is a {type(marked).__name__}; expected a MarkedImage, as MarkRegions makes.")
        if not isinstance(question, str):
            raise PromptError(f"'question' is a {type(question).__name__}; expected text.")
        if not marked.markers and self.whole_question is not None:
            question = self.whole_question
        history = input.get("history") or []
        if not isinstance(history, list) or not all(isinstance(message, BaseMessage) for message in history):
            raise PromptError(f"'history' is {shorten(history, 80)}; expected a list of messages.")
        base64, kept_id = marked.encoded.base64, image_id(marked.encoded)
        shown = any(
            isinstance(block, Mapping) and (block.get("base64") == base64 or block.get("file_id") == kept_id)
            for message in history
            for block in message.content
        )
        try:
            return [*history, HumanMessage(marked.question(question)) if shown else marked.message(question)]
        except MarkerError as error:
            if marked.markers:
                raise
            raise MarkerError(
                f"the question {shorten(question)} names regions, but this image has none; pass whole_question=, what "
                "is asked about such images instead."
            ) from error


class AskAboutRegions(Step):
    """Ask about the markers: `{"marked", "question", ...}` -> the same with `"answer"` and `"message"`.

    An image of which `MarkRegions(on_empty="outcome")` says "no_regions" passes through with the answer None; the model
    is not asked.

    Attributes:
        llm: a `ChatVipLlava`, or any runnable that takes messages and returns one.
        whole_question: as for `RegionPrompt`.

    Raises:
        MarkerError: a placeholder of the question names no marker.
        PromptError: something is missing.
    """

    llm: Runnable[Any, BaseMessage]
    whole_question: str | None = None

    def _step(self, input: dict[str, Any], config: RunnableConfig | None = None) -> dict[str, Any]:
        if isinstance(input, Mapping) and input.get("outcome") == "no_regions":
            return {**input, "answer": None, "message": None}
        messages = RegionPrompt(whole_question=self.whole_question).invoke(input, config)
        message = self.llm.invoke(messages, config)
        return {**input, "answer": message.text, "message": message}


def _need(step_input: Any, key: str) -> Any:
    if not isinstance(step_input, Mapping) or step_input.get(key) is None:
        keys = f"keys {sorted(map(str, step_input))}" if isinstance(step_input, Mapping) else type(step_input).__name__
        raise PromptError(f"{keys} came into the chain; expected a mapping with {key!r}.")
    return step_input[key]
