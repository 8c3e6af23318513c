"""Jupyter helpers: display conversations, stream answers in place, draw boxes with the mouse."""

from __future__ import annotations

from collections.abc import AsyncIterable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any, overload

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessageChunk, BaseMessage, message_chunk_to_message

from langchain_vipllava.chat.messages import UNOPENED, as_messages, read_messages
from langchain_vipllava.errors import GenerationError, VipLlavaError
from langchain_vipllava.images.access import ImageAccessPolicy
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.load import load_image
from langchain_vipllava.images.source import ImageSource
from langchain_vipllava.markers.html import show_image
from langchain_vipllava.regions.region import Region
from langchain_vipllava.text import printable

if TYPE_CHECKING:
    from langchain_vipllava.images.store import ImageStore

_INSTALL = "pip install 'langchain-vipllava[notebook]'"


@dataclass(frozen=True)
class ConversationView:
    """Displays a conversation as the last line of a cell: images, questions and answers.

    Attributes:
        messages: the conversation, as for `ChatVipLlava`. They may name files below the working folder.
        store: holds the images of messages that went through `keep_images`.

    Example:
        >>> from langchain_core.messages import AIMessage, HumanMessage
        >>> from langchain_vipllava.apps.notebook import ConversationView
        >>> ConversationView([HumanMessage("What is it?"), AIMessage("A star.")])
        USER: What is it?
        ASSISTANT: A star.
    """

    messages: LanguageModelInput
    store: ImageStore | None = None

    def __repr__(self) -> str:
        lines = self._lines()
        return "\n".join(f"{role}: {'<image> ' * len(sources)}{printable(text)}" for role, text, sources in lines)

    def _repr_html_(self) -> str:
        parts = []
        for role, text, sources in self._lines():
            images = "".join(f"<div>{self._show(source)}</div>" for source in sources)
            lines = escape(printable(text)).replace("\n", "<br>")
            parts.append(f"{images}<p><b>{role}</b> {lines}</p>")
        return f"<div>{''.join(parts)}</div>"

    def _lines(self) -> list[tuple[str, str, list[ImageSource]]]:
        """Return role, text and images of each question and answer; the images are not opened yet."""
        sources: list[ImageSource] = []

        def collect(source: ImageSource) -> EncodedImage:
            sources.append(source)
            return UNOPENED

        lines: list[tuple[str, str, list[ImageSource]]] = []
        remaining = iter(sources)
        for turn in read_messages(as_messages(self.messages), collect, allow_partial=True).turns:
            lines.append(("USER", turn.question, [next(remaining) for _ in turn.images]))
            if turn.answer is not None:
                lines.append(("ASSISTANT", turn.answer, []))
        return lines

    def _show(self, source: ImageSource) -> str:
        try:
            return show_image(ImageAccessPolicy(image_root=".", store=self.store).resolve(source).decode())
        except VipLlavaError as error:  # a missing image must not hide the rest of the conversation
            return f"<i>{escape(str(error))}</i>"


@overload
def watch(chunks: Iterable[AIMessageChunk]) -> BaseMessage: ...
@overload
def watch(chunks: AsyncIterable[AIMessageChunk]) -> Coroutine[Any, Any, BaseMessage]: ...
def watch(
    chunks: Iterable[AIMessageChunk] | AsyncIterable[AIMessageChunk],
) -> BaseMessage | Coroutine[Any, Any, BaseMessage]:
    """Display a streamed answer in place, as it grows.

    Args:
        chunks: the iterator that `llm.stream(...)` returns; or that of `llm.astream(...)`, and then await the result:
            `await watch(llm.astream(...))`.

    Returns:
        The whole answer as one message.

    Raises:
        GenerationError: the iterator is empty, or is none.
        VipLlavaError: IPython is not installed.
    """
    if isinstance(chunks, AsyncIterable):
        return _watch_async(chunks)
    if not isinstance(chunks, Iterable):
        raise GenerationError(
            f"watch got a {type(chunks).__name__}; expected the iterator of llm.stream(...) or llm.astream(...)."
        )
    view = _Growing()
    for chunk in chunks:
        view.add(chunk)
    return view.message()


async def _watch_async(chunks: AsyncIterable[AIMessageChunk]) -> BaseMessage:
    view = _Growing()
    async for chunk in chunks:
        view.add(chunk)
    return view.message()


class _Growing:
    """An answer that grows, and is displayed."""

    def __init__(self) -> None:
        self._whole: AIMessageChunk | None = None
        self._output = _Display()

    def add(self, chunk: AIMessageChunk) -> None:
        self._whole = chunk if self._whole is None else self._whole + chunk
        self._output.show(self._whole.text)

    def message(self) -> BaseMessage:
        if self._whole is None:
            raise GenerationError(
                "no answer came; expected the iterator of llm.stream(...), which can be read only once."
            )
        return message_chunk_to_message(self._whole)


class _Display:
    """A cell output that is updated in place."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str) -> None:
        display = _import("IPython.display").display
        bundle = {"text/plain": printable(text), "text/html": f"<p>{escape(printable(text))}</p>"}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def _import(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise VipLlavaError(f"{module} is not installed; install the packages for notebooks: {_INSTALL}.") from error


def pick_regions(image: ImageSource, labels: Sequence[str] = ("region",)) -> Any:
    """Return a widget for drawing boxes with the mouse; `picked(widget)` returns them as regions.

    Args:
        image: any source that `load_image` accepts.
        labels: the labels to choose from.

    Returns:
        A `jupyter_bbox_widget.BBoxWidget`, for the last line of a cell.

    Raises:
        VipLlavaError: jupyter_bbox_widget is not installed.
        ImageError: the image cannot be read.
    """
    encoded = EncodedImage.from_pixels(load_image(image))
    widget = _import("jupyter_bbox_widget").BBoxWidget(classes=list(labels), hide_buttons=True)
    widget.image_bytes = encoded.data
    return widget


def picked(widget: Any) -> list[Region]:
    """Return the boxes of a `pick_regions` widget as regions, with ids r1, r2, ... in drawing order."""
    return [
        Region(
            box=(box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]),
            label=box.get("label") or None,
            id=f"r{number}",
        )
        for number, box in enumerate(widget.bboxes, 1)
    ]
