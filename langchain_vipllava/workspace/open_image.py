"""`OpenImage`: an image that a session works on, with its regions and its conversation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.locks import fork_safe_lock
from langchain_vipllava.markers.marked_image import MarkedImage
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
        turns: the conversation about it so far; all answered. The first holds the image.
        lock: held for a moment, while regions change; never while a model answers.
        question_lock: held while a question is answered, so that questions are answered one at a time.
    """

    id: str
    image: EncodedImage
    regions: OrderedDict[str, Region] = field(default_factory=OrderedDict)
    marked: MarkedImage | None = None
    turns: list[Turn] = field(default_factory=list)
    lock: Any = field(default_factory=fork_safe_lock, repr=False)
    question_lock: FairLock = field(default_factory=FairLock, repr=False)

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

    def conversation(self, question: str) -> Conversation:
        """Return the conversation with one more question; only the first turn holds the image."""
        images = () if self.turns else (self.shown_image,)
        return Conversation((*self.turns, Turn(question, images)))

    def add_answer(self, asked: Conversation, text: str, token_ids: tuple[int, ...] | None) -> None:
        """Append an answered question to the conversation."""
        self.turns.append(replace(asked.turns[-1], answer=text, answer_ids=token_ids))

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
