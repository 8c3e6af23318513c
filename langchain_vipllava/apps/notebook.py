"""Jupyter: conversations that show themselves, answers that grow in place, regions picked with the mouse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessageChunk, BaseMessage, message_chunk_to_message

from langchain_vipllava.chat.image_refs import resolve_refs
from langchain_vipllava.chat.messages import read_messages
from langchain_vipllava.errors import GenerationError, VipLlavaError
from langchain_vipllava.images.load import ImageSource, encode_image, load_image
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
        return "\n".join(f"{who}: {'<image> ' * len(images)}{text}" for who, text, images in self._lines())

    def _repr_html_(self) -> str:
        parts = []
        for who, text, images in self._lines():
            shown = "".join(f"<div>{self._show(image)}</div>" for image in images)
            said = escape(text).replace("\n", "<br>")
            parts.append(f"{shown}<p><b>{who}</b> {said}</p>")
        return f"<div>{''.join(parts)}</div>"

    def _lines(self) -> list[tuple[str, str, tuple[ImageSource, ...]]]:
        lines: list[tuple[str, str, tuple[ImageSource, ...]]] = []
        for turn in read_messages(self.messages).turns:
            lines.append(("USER", turn.question, turn.images))
            if turn.answer is not None:
                lines.append(("ASSISTANT", turn.answer, ()))
        return lines

    def _show(self, image: ImageSource) -> str:
        try:
            (source,) = resolve_refs([image], self.store)
            return show_image(load_image(source))
        except VipLlavaError as error:  # a page shows what it can
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
    upright = load_image(image)
    widget = _import("jupyter_bbox_widget").BBoxWidget(classes=list(labels), hide_buttons=True)
    widget.image_bytes = encode_image(upright)
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
