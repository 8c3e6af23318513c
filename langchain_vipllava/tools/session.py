"""What the tools remember: images, regions and conversations, apart for every agent thread."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol
from weakref import WeakValueDictionary

from langchain_core.messages import BaseMessage
from PIL import Image

from langchain_vipllava.errors import SessionError
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.regions.region import Region
from langchain_vipllava.tools.turnstile import FairLock


@dataclass(eq=False)
class OpenImage:
    """An image that a thread works on.

    Attributes:
        id: what the LLM calls it.
        image: RGB, upright, whole, without markers.
        regions: by region id, in the order in which they came.
        marked: the image with its markers, when this is a marked one.
        messages: the conversation about it so far, in the model's turns.
        lock: held for a moment, while regions change; never while a model answers.
        turn: entered for one question after the other.
        kept: ids of images that are in a store already, by the `id` of the object.
    """

    id: str
    image: Image.Image
    regions: OrderedDict[str, Region] = field(default_factory=OrderedDict)
    marked: MarkedImage | None = None
    messages: list[BaseMessage] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    turn: FairLock = field(default_factory=FairLock, repr=False)
    kept: dict[int, str] = field(default_factory=dict, repr=False)

    @cached_property
    def shown(self) -> MarkedImage:
        """What the model sees: the image with its markers, or bare."""
        return self.marked or MarkedImage(self.image, self.image, ())

    def add_regions(self, regions: Iterable[Region]) -> list[Region]:
        """Remember regions under short ids of their own: r1, r2, ... A region that is there keeps its id."""
        added: list[Region] = []
        known = {region.model_copy(update={"id": None}): name for name, region in self.regions.items()}
        # not their count: a marked image has some of its source's, with the ids from there
        last = max((int(name[1:]) for name in self.regions), default=0)
        for region in regions:
            bare = region.model_copy(update={"id": None})
            name = known.get(bare) or f"r{(last := last + 1)}"
            known[bare] = name
            self.regions[name] = bare.model_copy(update={"id": name})
            added.append(self.regions[name])
        return added


class Memory(Protocol):
    """Where sessions outlive the process."""

    def save(self, thread_id: str, images: Sequence[OpenImage], counts: Mapping[str, int]) -> None:
        """Remember the images of a thread, and how many ids were given out."""

    def load(self, thread_id: str) -> tuple[list[OpenImage], dict[str, int]]:
        """What `save` remembered."""


class Session:
    """The images of one thread; the least recently used go first when there are too many.

    Args:
        max_images: images that are remembered.
        thread_id: of the thread, for `memory`.
        memory: where the session comes from and is saved; None forgets it with the process.
    """

    def __init__(self, max_images: int, thread_id: str = "", memory: Memory | None = None) -> None:
        self._max_images, self._thread_id, self._memory = max_images, thread_id, memory
        images, self._counts = ([], {}) if memory is None else memory.load(thread_id)
        self._images: OrderedDict[str, OpenImage] = OrderedDict((image.id, image) for image in images)
        self._lock = threading.Lock()
        self._saving = threading.Lock()

    def save(self) -> None:
        """Save what changed, where there is a memory.

        Raises:
            ImageError: it cannot be written.
        """
        if self._memory is None:
            return
        with self._saving:  # the last one to save has seen all
            with self._lock:
                images, counts = list(self._images.values()), dict(self._counts)
            self._memory.save(self._thread_id, images, counts)

    def add(
        self,
        prefix: str,
        image: Image.Image,
        *,
        regions: Iterable[Region] = (),
        marked: MarkedImage | None = None,
    ) -> OpenImage:
        """Remember an image, with what is known of its regions, under the next id with this prefix."""
        with self._lock:
            self._counts[prefix] = self._counts.get(prefix, 0) + 1
            opened = OpenImage(f"{prefix}{self._counts[prefix]}", image, marked=marked)
            if marked is None:
                opened.add_regions(regions)
            else:  # they have their ids from the image that was marked
                opened.regions.update((region.id or "", region) for region in regions)
            return self._keep(opened)

    def find(self, image_id: str, shared: Session | None = None) -> OpenImage:
        """Look an image up; one that the program shares with all threads is copied in.

        Raises:
            SessionError: no such image.
        """
        ids, common = [], None
        if shared is not None:
            with shared._lock:
                common = shared._get(image_id)
                ids = list(shared._images)
        with self._lock:
            own = self._get(image_id)
            if common is not None and (own is None or not _same(own, common)):
                return self._keep(OpenImage(common.id, common.image, OrderedDict(common.regions)))
            if own is not None:
                return own
            ids += self._images
        known = f"open images: {', '.join(dict.fromkeys(ids))}" if ids else "no image is open"
        raise SessionError(f"no image {image_id!r}; {known}. Call open_image(source) first.")

    def _get(self, image_id: str) -> OpenImage | None:
        if image_id in self._images:
            self._images.move_to_end(image_id)
        return self._images.get(image_id)

    def _keep(self, image: OpenImage) -> OpenImage:
        self._images[image.id] = image
        while len(self._images) > self._max_images:
            self._images.popitem(last=False)
        return image


def _same(own: OpenImage, common: OpenImage) -> bool:
    """Whether a thread's copy is of the image that is shared now; after a restart, an id can mean another one."""
    if own.image is not common.image and (own.image.size, own.image.tobytes()) == (
        common.image.size,
        common.image.tobytes(),
    ):
        own.image = common.image
    return own.image is common.image


def _key(thread_id: str | None) -> str:
    return "" if thread_id is None else str(thread_id)


class SessionStore:
    """Sessions by thread id; the least recently used go first when there are too many.

    Args:
        max_threads: threads that are remembered.
        max_images: images that are remembered in each.
        memory: where threads outlive the process, and their being forgotten here.
    """

    def __init__(self, max_threads: int, max_images: int, memory: Memory | None = None) -> None:
        self.shared = Session(max_images)
        self._memory = memory
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._live: WeakValueDictionary[str, Session] = WeakValueDictionary()  # also those that a call still uses
        self._max_threads, self._max_images = max_threads, max_images
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> SessionStore:
        """A copy of the tools goes on with the same images."""
        return self

    def peek(self, thread_id: str | None) -> Session:
        """The session of a thread if there is one, else one that is not remembered."""
        with self._lock:
            key = _key(thread_id)
            return self._live.get(key) or self._begin(key)

    def of(self, thread_id: str | None) -> Session:
        """The session of a thread, new if need be; without a thread id, one for all such calls."""
        key = _key(thread_id)
        with self._lock:
            session = self._live.get(key) or self._begin(key)
            self._live[key] = self._sessions[key] = session
            self._sessions.move_to_end(key)
            while len(self._sessions) > self._max_threads:
                self._sessions.popitem(last=False)
            return session

    def _begin(self, key: str) -> Session:
        # calls without a thread belong to this process alone
        return Session(self._max_images, key, self._memory if key else None)
