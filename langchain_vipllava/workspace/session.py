"""`Session`: the images, regions and conversations of one user or agent thread."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from weakref import WeakValueDictionary

from langchain_vipllava.errors import SessionError
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


class SessionStorage(Protocol):
    """Where sessions outlive the process."""

    def save(self, session_id: str, images: Sequence[OpenImage], counts: Mapping[str, int]) -> None:
        """Save the images of a session, and how many ids it has handed out."""

    def load(self, session_id: str) -> tuple[list[OpenImage], dict[str, int]]:
        """Return what `save` saved; nothing for an unknown session."""


class Session:
    """The images of one user or agent thread; the least recently used are evicted first.

    Args:
        max_images: maximum number of images.
        session_id: of the session, for `storage`.
        storage: where the session is loaded from and saved; None forgets it with the process.
    """

    def __init__(self, max_images: int, session_id: str = "", storage: SessionStorage | None = None) -> None:
        self._max_images, self._id, self._storage = max_images, session_id, storage
        images, self._counts = ([], {}) if storage is None else storage.load(session_id)
        self._images: OrderedDict[str, OpenImage] = OrderedDict((image.id, image) for image in images)
        self._lock = fork_safe_lock()
        self._saving = fork_safe_lock()

    def save(self) -> None:
        """Save what changed, where there is a storage.

        Raises:
            ImageError: it cannot be written.
        """
        if self._storage is None:
            return
        with self._saving:  # the last one to save has seen every change
            with self._lock:
                images, counts = list(self._images.values()), dict(self._counts)
            self._storage.save(self._id, images, counts)

    def add(
        self,
        prefix: str,
        image: EncodedImage,
        *,
        regions: Iterable[Region] = (),
        marked: MarkedImage | None = None,
    ) -> OpenImage:
        """Add an image under the next id with this prefix; `regions` of a marked image have their ids already."""
        with self._lock:
            self._counts[prefix] = self._counts.get(prefix, 0) + 1
            opened = OpenImage(f"{prefix}{self._counts[prefix]}", image, marked=marked)
            if marked is None:
                opened.add_regions(regions)
            else:
                opened.regions.update((region.id or "", region) for region in regions)
            return self._keep(opened)

    def find(self, image_id: str, shared: Session | None = None, *, copy: bool = True) -> OpenImage:
        """Look an image up; one that the program shares with all sessions is copied in, unless only to look at.

        Raises:
            SessionError: no such image.
        """
        ids, original = [], None
        if shared is not None:
            with shared._lock:
                original = shared._get(image_id)
                ids = list(shared._images)
        with self._lock:
            own = self._get(image_id)
            # after a restart the id may mean another shared image than the one that was copied
            if original is not None and (own is None or own.image.pixel_digest != original.image.pixel_digest):
                copied = OpenImage(original.id, original.image, OrderedDict(original.regions))
                return self._keep(copied) if copy else copied
            if own is not None:
                return own
            ids += self._images
        open_images = f"open images: {', '.join(dict.fromkeys(ids))}" if ids else "no image is open"
        raise SessionError(f"no image {image_id!r}; {open_images}. Call open_image(source) first.")

    def images(self, shared: Session | None = None) -> list[OpenImage]:
        """Return the images of the session, those that the program shares first."""
        found: dict[str, OpenImage] = {}
        for session in (shared, self):
            if session is not None:
                with session._lock:
                    found |= session._images
        return list(found.values())

    def _get(self, image_id: str) -> OpenImage | None:
        if image_id in self._images:
            self._images.move_to_end(image_id)
        return self._images.get(image_id)

    def _keep(self, image: OpenImage) -> OpenImage:
        self._images[image.id] = image
        while len(self._images) > self._max_images:
            self._images.popitem(last=False)
        return image


class SessionPool:
    """Sessions by id; the least recently used are evicted first.

    Args:
        max_sessions: maximum number of sessions.
        max_images: maximum number of images in each.
        storage: where sessions outlive the process, and their eviction here.
    """

    def __init__(self, max_sessions: int, max_images: int, storage: SessionStorage | None = None) -> None:
        self.shared = Session(max_images)
        self._storage = storage
        self._sessions: OrderedDict[str | None, Session] = OrderedDict()
        self._live: WeakValueDictionary[str | None, Session] = (
            WeakValueDictionary()
        )  # evicted ones that a call still uses
        self._max_sessions, self._max_images = max_sessions, max_images
        self._lock = fork_safe_lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> SessionPool:
        """Shared by copies of whatever holds it."""
        return self

    def peek(self, session_id: str | None) -> Session:
        """Return the session with an id if there is one, else a new one that is not remembered."""
        key = _key(session_id)
        with self._lock:
            return self._live.get(key) or self._load(key)

    def get(self, session_id: str | None) -> Session:
        """Return the session with an id, a new one if need be; None is one session for all calls without an id."""
        key = _key(session_id)
        with self._lock:
            session = self._live.get(key) or self._load(key)
            self._live[key] = self._sessions[key] = session
            self._sessions.move_to_end(key)
            while len(self._sessions) > self._max_sessions:
                self._sessions.popitem(last=False)
            return session

    def _load(self, key: str | None) -> Session:
        if key is None:  # calls without an id belong to this process alone
            return Session(self._max_images)
        return Session(self._max_images, key, self._storage)


def _key(session_id: object) -> str | None:
    return None if session_id is None else str(session_id)  # LangGraph's thread ids may be numbers
