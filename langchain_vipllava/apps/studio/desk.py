"""`Desk`: what one person does on the page: an image, its regions, and the chat about them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any
from uuid import uuid4

from langchain_vipllava.apps.studio.drawn import Drawn
from langchain_vipllava.apps.studio.telling import Told, listening
from langchain_vipllava.errors import RegionError, SessionError, VipLlavaError, shorten
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.markers.kinds import MarkerColor, MarkerKind, parse_color, parse_kind
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.markers.marker import Marker
from langchain_vipllava.regions.region import Region
from langchain_vipllava.workspace.heat_map import HeatMap
from langchain_vipllava.workspace.results import Answered, Marked
from langchain_vipllava.workspace.voted import Voted
from langchain_vipllava.workspace.workspace import Workspace

MAX_REGIONS = 60
"""Regions of an image on the page. Chosen: beyond that, nobody tells the markers apart."""

_MAX_NAME = 255
"""Characters of a file's name: no file system of a desktop has longer ones, and the code that is copied opens it."""

_STOP_SECONDS = 10.0
"""How long a stopped answer may take to end. Chosen: a token of a large model on a CPU takes seconds."""


@dataclass(frozen=True)
class Exchange:
    """A question and its answer.

    Attributes:
        question: as it was typed.
        answered: what came back.
        told: the request and its answer; None for a vote, which is several.
    """

    question: str
    answered: Answered
    told: Told | None = None

    @property
    def is_vote(self) -> bool:
        """Whether several looks were asked."""
        return isinstance(self.answered, Voted)


@dataclass
class Desk:
    """One person's session. Its methods may be called from any thread.

    Attributes:
        workspace: where the images and conversations are.
        session: id of the session there; nobody else knows it.
        image: the open image.
        name: of its file.
        drawn: its regions, in the order of their ids r1, r2, ...
        zoom: whether to crop around small regions.
        exchanges: about the image as it is marked now.
        shown: the chat as the page shows it, with what was asked before the regions changed.
    """

    workspace: Workspace
    session: str = field(default_factory=lambda: f"studio-{uuid4().hex}")
    image: EncodedImage | None = None
    name: str = ""
    drawn: list[Drawn] = field(default_factory=list)
    zoom: bool = False
    exchanges: list[Exchange] = field(default_factory=list)
    shown: list[dict[str, str]] = field(default_factory=list)
    _marked: Marked | None = None
    _source_id: str = ""
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _answering: threading.Lock = field(default_factory=threading.Lock)

    def open(self, data: bytes, name: str) -> None:
        """Open an image instead of the one before.

        Raises:
            ImageError: it cannot be read, or is larger than the package allows.
        """
        with self._lock:
            encoded = EncodedImage(data, name=f"the image {shorten(name)}")
            encoded.decode()
            self.image, self.name = encoded, PurePath(name).name[-_MAX_NAME:] or "image.png"
            self.drawn, self.shown, self.exchanges = [], [], []
            self._place()

    def edit(self, message: Any) -> None:
        """Do what the page asks for: add, change, or remove regions, find some, or begin again.

        Raises:
            VipLlavaError: it cannot be done; the regions are as they were.
        """
        if not isinstance(message, Mapping):
            raise RegionError(f"{shorten(message)} is no message of the page; reload it.")
        with self._lock:
            before = self.drawn.copy(), self.zoom
            try:
                self._edit(str(message.get("action")), message)
                self._place()
            except VipLlavaError:
                self.drawn, self.zoom = before
                raise

    def _edit(self, action: str, message: Mapping[str, Any]) -> None:
        image = self._open_image()
        if action == "add":
            self._add([Drawn.read(message, image.size)])
        elif action == "change":
            index = self._index(message)
            old = self.drawn[index]
            kind = parse_kind(message["kind"]) if message.get("kind") else old.kind
            color = old.color if "color" not in message else _color(message["color"])
            self.drawn[index] = replace(old, kind=kind, color=color)
        elif action == "remove":
            del self.drawn[self._index(message)]
        elif action == "clear":
            self.drawn = []
        elif action == "detect":
            self._add([Drawn.found(region) for region in self._found(None)])
        elif action == "segment":
            self._add([Drawn.found(region) for region in self._found(Drawn.read(message, image.size).region)])
        elif action == "restart":
            self.exchanges, self.shown = [], []
        elif action == "zoom":
            self.zoom = bool(message.get("on"))
        else:
            raise RegionError(f"{shorten(action)} is no action of the page; reload it.")

    @property
    def marked(self) -> MarkedImage | None:
        """What is sent; of several pages, the first. None without an image."""
        pages = self.pages
        return pages[0] if pages else None

    @property
    def pages(self) -> tuple[MarkedImage, ...]:
        """What is sent: the image, with its markers, on one page or several."""
        if self.image is None:
            return ()
        if self._marked is not None:
            return self._marked.pages
        self._reopen()
        return (self.workspace.look(self._source_id, session=self.session),)

    @property
    def markers(self) -> tuple[Marker, ...]:
        """One per region, in their order."""
        return () if self._marked is None else tuple(self._marked.marked.markers)

    @property
    def kinds(self) -> MarkerKind | list[MarkerKind]:
        """Kinds of the markers; one for all where they are alike: then `mark` needs no color for each, but pages."""
        kinds = [drawn.kind for drawn in self.drawn]
        return kinds[0] if len(set(kinds)) == 1 and self.colors is None else kinds

    @property
    def colors(self) -> list[MarkerColor | None] | None:
        """Colors that were chosen; None where none was."""
        colors = [drawn.color for drawn in self.drawn]
        return colors if any(colors) else None

    @property
    def notes(self) -> list[str]:
        """What is hard to see in the markers, and what to do."""
        lines = [] if self._marked is None else self._marked.text.split("\n")
        return [line.removeprefix("Note: ") for line in lines if line.startswith("Note: ")]

    @property
    def image_id(self) -> str:
        """Id of what is asked about."""
        return self._marked.image_id if self._marked else self._source_id

    def ask(self, question: str, *, vote: bool = False) -> Generator[str, None, None]:
        """Ask, and yield what the answer is so far. Closing it stops the model; then nothing was asked.

        Raises:
            VipLlavaError: it cannot be answered; the conversation is as it was.
        """
        self._open_image()
        with self._answering:
            self._reopen()
            if vote:
                image_id = self.image_id
                voted = self.workspace.ask_vote(image_id, question, session=self.session)
                self._keep(image_id, Exchange(question, voted))
                yield voted.answer
            else:
                yield from self._stream(self.image_id, question)

    def _stream(self, image_id: str, question: str) -> Generator[str, None, None]:
        told: list[Told] = []
        pieces = self.workspace.stream(image_id, question, session=self.session)
        text = ""
        try:
            with listening(told):
                piece = next(pieces, None)
            while piece is not None:
                if isinstance(piece, Answered):
                    self._keep(image_id, Exchange(question, piece, told[-1] if told else None))
                    yield piece.answer
                else:
                    text += piece
                    yield text
                piece = next(pieces, None)
        except GeneratorExit:
            if not told:  # the answer was not complete
                self._say(question, f"{text} [stopped]".strip())
            raise
        finally:
            pieces.close()

    def wait(self) -> None:
        """Wait until an answer that is being stopped has ended."""
        if self._answering.acquire(timeout=_STOP_SECONDS):
            self._answering.release()

    def heat_map(self, on_progress: Callable[[float], object] | None = None) -> HeatMap:
        """Return what the last answer depends on, by occlusion.

        Args:
            on_progress: called with the finished share, 0 to 1.

        Raises:
            VipLlavaError: nothing was asked, or the model cannot tell.
        """
        if not self.exchanges:
            raise SessionError("nothing was asked about this image yet; ask first.")
        page = self.exchanges[-1].answered.page or 0
        return self.workspace.heat_map(self.image_id, session=self.session, page=page, on_progress=on_progress)

    def close(self) -> None:
        """Forget the session."""
        self.workspace.forget_session(self.session)

    def __deepcopy__(self, memo: dict[int, Any]) -> Desk:
        return self  # Gradio copies the state that it keeps

    def _keep(self, image_id: str, exchange: Exchange) -> None:
        with self._lock:
            if image_id == self.image_id:  # the regions may have changed meanwhile
                self.exchanges.append(exchange)
            self._say(exchange.question, exchange.answered.answer)

    def _say(self, question: str, answer: str) -> None:
        self.shown += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    def _add(self, drawn: list[Drawn]) -> None:
        if len(self.drawn) + len(drawn) > MAX_REGIONS:
            raise RegionError(f"{len(self.drawn) + len(drawn)} regions; the page marks at most {MAX_REGIONS}.")
        self.drawn += drawn

    def _found(self, prompt: Region | None) -> tuple[Region, ...]:
        if prompt is None:
            found = self.workspace.detect(self._source_id, session=self.session, max_regions=MAX_REGIONS).regions
            return tuple(region for region in found if region.box not in [drawn.region.box for drawn in self.drawn])
        return self.workspace.segment(self._source_id, [prompt], session=self.session).regions

    def _place(self) -> None:
        """Open the image anew, so that its regions are r1, r2, ... again, and mark it; a new conversation begins."""
        source_id = self.workspace.add_image(self._open_image().data, session=self.session)
        marked: Marked | None = None
        try:
            if self.drawn:
                marked = self.workspace.mark(
                    source_id,
                    [drawn.region for drawn in self.drawn],
                    session=self.session,
                    kind=self.kinds,
                    color=self.colors,
                    zoom="auto" if self.zoom else None,
                )
        except VipLlavaError:
            self._forget([source_id])
            raise
        self._forget([self.image_id, self._source_id])
        if self.exchanges:
            self.shown.append({"role": "assistant", "content": "- the regions changed: a new conversation begins -"})
        self._marked, self._source_id, self.exchanges = marked, source_id, []

    def _reopen(self) -> None:
        """Open the image again if the workspace forgot it, because too many others came."""
        with self._lock:
            try:
                self.workspace.conversation(self.image_id, session=self.session)
            except SessionError:
                self._place()

    def _forget(self, image_ids: list[str]) -> None:
        for image_id in dict.fromkeys(filter(None, image_ids)):
            try:
                self.workspace.forget(image_id, session=self.session)
            except SessionError:  # the workspace forgot it first: it was full
                continue

    def _index(self, message: Mapping[str, Any]) -> int:
        index = message.get("index")
        if not isinstance(index, int) or index not in range(len(self.drawn)):
            raise RegionError(f"there is no region {shorten(index)}; reload the page.")
        return index

    def _open_image(self) -> EncodedImage:
        if self.image is None:
            raise SessionError("there is no image; open one first.")
        return self.image


def _color(color: Any) -> Any:
    return None if color in (None, "", "auto") else parse_color(color)
