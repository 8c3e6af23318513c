"""What the tools remember: pictures, regions and conversations, apart for every agent thread."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from langchain_core.messages import BaseMessage
from PIL import Image

from langchain_vipllava.errors import SessionError
from langchain_vipllava.markers.marked import MarkedImage
from langchain_vipllava.regions.region import Region


@dataclass(eq=False)
class OpenImage:
    """A picture that a thread works on.

    Attributes:
        id: what the LLM calls it.
        image: RGB, upright, whole, without markers.
        regions: by region id, in the order in which they came.
        marked: the picture with its markers, when this is a marked one.
        messages: the conversation about it so far, in the model's turns.
        lock: held for one question after the other.
    """

    id: str
    image: Image.Image
    regions: OrderedDict[str, Region] = field(default_factory=OrderedDict)
    marked: MarkedImage | None = None
    messages: list[BaseMessage] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add_regions(self, regions: Iterable[Region]) -> list[Region]:
        """Remember regions under short ids of their own: r1, r2, ... A region that is there keeps its id."""
        added: list[Region] = []
        known = {region.model_copy(update={"id": None}): name for name, region in self.regions.items()}
        # not their count: a marked picture has some of its source's, with the ids from there
        last = max((int(name[1:]) for name in self.regions), default=0)
        for region in regions:
            bare = region.model_copy(update={"id": None})
            name = known.get(bare) or f"r{(last := last + 1)}"
            known[bare] = name
            self.regions[name] = bare.model_copy(update={"id": name})
            added.append(self.regions[name])
        return added


class Session:
    """The pictures of one thread; the least recently used go first when there are too many."""

    def __init__(self, max_images: int) -> None:
        self._images: OrderedDict[str, OpenImage] = OrderedDict()
        self._max_images = max_images
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(
        self,
        prefix: str,
        image: Image.Image,
        *,
        regions: Iterable[Region] = (),
        marked: MarkedImage | None = None,
    ) -> OpenImage:
        """Remember a picture, with what is known of its regions, under the next id with this prefix."""
        with self._lock:
            self._counts[prefix] = self._counts.get(prefix, 0) + 1
            opened = OpenImage(f"{prefix}{self._counts[prefix]}", image, marked=marked)
            if marked is None:
                opened.add_regions(regions)
            else:  # they have their ids from the picture that was marked
                opened.regions.update((region.id or "", region) for region in regions)
            return self._keep(opened)

    def find(self, image_id: str, shared: Session | None = None) -> OpenImage:
        """Look a picture up; one that the program shares with all threads is copied in.

        Raises:
            SessionError: no such picture.
        """
        with self._lock:
            own = self._get(image_id)
            if own is not None:
                return own
            ids = list(self._images)
        if shared is not None:
            with shared._lock:
                common = shared._get(image_id)
                ids = [*shared._images, *ids]
            if common is not None:
                with self._lock:
                    return self._get(image_id) or self._keep(
                        OpenImage(common.id, common.image, OrderedDict(common.regions))
                    )
        known = f"open pictures: {', '.join(dict.fromkeys(ids))}" if ids else "no picture is open"
        raise SessionError(f"no picture {image_id!r}; {known}. Call open_image(source) first.")

    def _get(self, image_id: str) -> OpenImage | None:
        if image_id in self._images:
            self._images.move_to_end(image_id)
        return self._images.get(image_id)

    def _keep(self, image: OpenImage) -> OpenImage:
        self._images[image.id] = image
        while len(self._images) > self._max_images:
            self._images.popitem(last=False)
        return image


class SessionStore:
    """Sessions by thread id; the least recently used go first when there are too many.

    Args:
        max_threads: threads that are remembered.
        max_images: pictures that are remembered in each.
    """

    def __init__(self, max_threads: int, max_images: int) -> None:
        self.shared = Session(max_images)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._max_threads, self._max_images = max_threads, max_images
        self._lock = threading.Lock()

    def peek(self, thread_id: str | None) -> Session:
        """The session of a thread if there is one, else an empty one that is not remembered."""
        with self._lock:
            return self._sessions.get("" if thread_id is None else str(thread_id)) or Session(self._max_images)

    def of(self, thread_id: str | None) -> Session:
        """The session of a thread, new if need be; without a thread id, one for all such calls."""
        key = "" if thread_id is None else str(thread_id)
        with self._lock:
            session = self._sessions.setdefault(key, Session(self._max_images))
            self._sessions.move_to_end(key)
            while len(self._sessions) > self._max_threads:
                self._sessions.popitem(last=False)
            return session
