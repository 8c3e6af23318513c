"""`OpenImage`: an image that a session works on, with its regions and its conversation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_vipllava.errors import SessionError, shorten
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.locks import fork_safe_lock
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.markers.marker import Marker
from langchain_vipllava.markers.pages import MarkedPages
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.regions.region import Region
from langchain_vipllava.workspace.fair_lock import FairLock


@dataclass(eq=False)
class OpenImage:
    """An image that a session works on.

    Attributes:
        id: what callers and LLMs call it.
        image: upright, whole, without markers.
        regions: by region id, in the order in which they came.
        marked: the image with its markers, if this is a marked one.
        pages: the views of an image that is marked on several, each with its own regions and conversation.
        last_page: index of the page that was asked about last.
        turns: the conversation about it so far; all answered. The first holds the image.
        lock: held for a moment, while regions change; never while a model answers.
        question_lock: held while a question is answered, so that questions are answered one at a time.
    """

    id: str
    image: EncodedImage
    regions: OrderedDict[str, Region] = field(default_factory=OrderedDict)
    marked: MarkedImage | None = None
    pages: tuple[OpenImage, ...] = ()
    last_page: int | None = None
    turns: list[Turn] = field(default_factory=list)
    lock: Any = field(default_factory=fork_safe_lock, repr=False)
    question_lock: FairLock = field(default_factory=FairLock, repr=False)

    @classmethod
    def marked_as(cls, image: EncodedImage, marked: MarkedImage | MarkedPages, regions: Iterable[Region]) -> OpenImage:
        """Make a marked image of regions that have their ids, without an id of its own."""
        opened = cls("", image, OrderedDict((region.id or "", region) for region in regions))
        if isinstance(marked, MarkedImage):
            opened.marked = marked
        else:
            opened.pages = tuple(cls.marked_as(image, page, page.regions) for page in marked)
        return opened

    @property
    def views(self) -> tuple[OpenImage, ...]:
        """What the model sees of it, each with a conversation: the image itself, or its pages."""
        return self.pages or (self,)

    def view(self, page: int) -> OpenImage:
        """Return one of the views.

        Raises:
            SessionError: there is no such page.
        """
        if page not in range(len(self.views)):
            raise SessionError(f"page={shorten(page)}; {self.id} has pages 0 to {len(self.views) - 1}.")
        return self.views[page]

    @property
    def markers(self) -> tuple[Marker, ...]:
        """All markers, in the order of the regions."""
        found = {marker.region.id: marker for view in self.views if view.marked for marker in view.marked.markers}
        return tuple(found[name] for name in self.regions if name in found)

    @property
    def shown(self) -> MarkedImage:
        """What the model sees: the image with its markers, or without any."""
        if self.marked is None:
            pixels = self.image.decode()
            return MarkedImage(pixels, pixels, ())
        return self.marked

    @property
    def shown_image(self) -> EncodedImage:
        """The same, as the value that travels to the model."""
        return self.image if self.marked is None else self.marked.encoded

    def conversation(self, question: str, forget: int = 0) -> Conversation:
        """Return the conversation with one more question; only the first turn holds the image.

        Args:
            question: the new one.
            forget: how many of the oldest turns to leave out.
        """
        turns = (*self.turns[forget:], Turn(question))
        return Conversation((replace(turns[0], images=(self.shown_image,)), *turns[1:]))

    def add_answer(self, asked: Conversation, text: str, token_ids: tuple[int, ...] | None) -> None:
        """Go on with a conversation that `conversation` returned, and the answer to its question."""
        self.turns = [*asked.turns[:-1], replace(asked.turns[-1], answer=text, answer_ids=token_ids)]

    def add_regions(self, regions: Iterable[Region]) -> list[Region]:
        """Add regions under short ids: r1, r2, ... A region that is there already keeps its id."""
        added: list[Region] = []
        ids = {region.model_copy(update={"id": None}): name for name, region in self.regions.items()}
        # not their count: a marked image has some regions of its source, with the ids from there
        last = max((int(name[1:]) for name in self.regions), default=0)
        for region in regions:
            unnamed = region.model_copy(update={"id": None})
            name = ids.get(unnamed) or f"r{(last := last + 1)}"
            ids[unnamed] = name
            self.regions[name] = unnamed.model_copy(update={"id": name})
            added.append(self.regions[name])
        return added
