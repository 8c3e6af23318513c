"""Jupyter: conversations that show themselves, answers that grow in place, regions picked with the mouse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessageChunk, BaseMessage, message_chunk_to_message

from langchain_vipllava.chat.messages import UNOPENED, read_messages
from langchain_vipllava.errors import GenerationError, VipLlavaError
from langchain_vipllava.images.access import ImageAccessPolicy
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.load import load_image
from langchain_vipllava.images.source import ImageSource
from langchain_vipllava.markers.html import show_image
from langchain_vipllava.regions.region import Region

if TYPE_CHECKING:
    from langchain_vipllava.images.store import ImageStore

_INSTALL = "pip install 'langchain-vipllava[notebook]'"


@dataclass(frozen=True)
class ConversationView:
    """A conversation that shows itself as the last line of a cell: images, questions and answers.

    Attributes:
        messages: as `ChatVipLlava` takes them.
        store: where kept images are found.

    Example:
        >>> from langchain_core.messages import AIMessage, HumanMessage
        >>> from langchain_vipllava.apps.notebook import ConversationView
        >>> ConversationView([HumanMessage("What is it?"), AIMessage("A star.")])
        USER: What is it?
        ASSISTANT: A star.
    """

    messages: Sequence[BaseMessage]
    store: ImageStore | None = None

    def __repr__(self) -> str:
        return "\n".join(f"{role}: {'<image> ' * len(sources)}{text}" for role, text, sources in self._lines())

    def _repr_html_(self) -> str:
        parts = []
        for role, text, sources in self._lines():
            images = "".join(f"<div>{self._show(source)}</div>" for source in sources)
            lines = escape(text).replace("\n", "<br>")
            parts.append(f"{images}<p><b>{role}</b> {lines}</p>")
        return f"<div>{''.join(parts)}</div>"

    def _lines(self) -> list[tuple[str, str, list[ImageSource]]]:
        """Each question and answer: role, text and the images that came with it, not opened yet."""
        sources: list[ImageSource] = []

        def note(source: ImageSource) -> EncodedImage:
            sources.append(source)
            return UNOPENED

        lines: list[tuple[str, str, list[ImageSource]]] = []
        rest = iter(sources)
        for turn in read_messages(self.messages, note).turns:
            lines.append(("USER", turn.question, [next(rest) for _ in turn.images]))
            if turn.answer is not None:
                lines.append(("ASSISTANT", turn.answer, []))
        return lines

    def _show(self, source: ImageSource) -> str:
        try:
            return show_image(ImageAccessPolicy(store=self.store).resolve(source).decode())
        except VipLlavaError as error:  # one missing image does not spoil the page
            return f"<i>{escape(str(error))}</i>"


def watch(pieces: Iterable[AIMessageChunk]) -> BaseMessage:
    """Show an answer while it is written, in place.

    Args:
        pieces: what `llm.stream(...)` gives.

    Returns:
        The whole answer, to go on with.

    Raises:
        GenerationError: there are no pieces.
        VipLlavaError: IPython is not installed.
    """
    whole: AIMessageChunk | None = None
    output = _Display()
    for piece in pieces:
        whole = piece if whole is None else whole + piece
        output.show(whole.text)
    if whole is None:
        raise GenerationError("no answer came; expected what llm.stream(...) gives, which can be read once.")
    return message_chunk_to_message(whole)


class _Display:
    """An output that changes in place."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str) -> None:
        display = _import("IPython.display").display
        bundle = {"text/plain": text, "text/html": f"<p>{escape(text)}</p>"}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def _import(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise VipLlavaError(f"{module} is not installed; {_INSTALL} brings what notebooks need.") from error


def pick_regions(image: ImageSource, labels: Sequence[str] = ("region",)) -> Any:
    """A widget in which boxes are drawn with the mouse; `picked(widget)` reads them.

    Args:
        image: anything that `load_image` takes.
        labels: what boxes can be called.

    Returns:
        A `jupyter_bbox_widget.BBoxWidget`, to be the last line of a cell.

    Raises:
        VipLlavaError: the widget's package is not installed.
        ImageError: the image cannot be read.
    """
    upright = EncodedImage.from_pixels(load_image(image))
    widget = _import("jupyter_bbox_widget").BBoxWidget(classes=list(labels), hide_buttons=True)
    widget.image_bytes = upright.data
    return widget


def picked(widget: Any) -> list[Region]:
    """The boxes of a `pick_regions` widget as regions, with ids r1, r2, ... in the order in which they were drawn."""
    return [
        Region(
            box=(box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]),
            label=box.get("label") or None,
            id=f"r{number}",
        )
        for number, box in enumerate(widget.bboxes, 1)
    ]
