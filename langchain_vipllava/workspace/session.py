"""`Session`: the images, regions and conversations of one user or agent thread."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from langchain_vipllava.errors import SessionError, shorten
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.locks import fork_safe_lock
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.markers.pages import MarkedPages
from langchain_vipllava.regions.region import Region
from langchain_vipllava.workspace.held import held_bytes
from langchain_vipllava.workspace.limits import SessionLimits
from langchain_vipllava.workspace.open_image import OpenImage
from langchain_vipllava.workspace.session_id import StoredKey


class SessionStorage(Protocol):
    """Where sessions outlive the process."""

    def save(self, session: StoredKey, images: Sequence[OpenImage], counts: Mapping[str, int]) -> None:
        """Save the images of a session, and how many ids it has handed out."""

    def load(self, session: StoredKey) -> tuple[list[OpenImage], dict[str, int]]:
        """Return what `save` saved; nothing for an unknown session."""

    def delete(self, session: StoredKey) -> None:
        """Forget what `save` saved."""


class Session:
    """The images of one user or agent thread; the least recently used are forgotten first.

    Args:
        limits: how much it holds.
        key: of the session, for `storage`.
        storage: where the session is loaded from and saved; None forgets it with the process.
    """

    def __init__(self, limits: SessionLimits, key: StoredKey = "", storage: SessionStorage | None = None) -> None:
        self._limits, self._key, self._storage = limits, key, storage
        self._images: OrderedDict[str, OpenImage] = OrderedDict()
        self._counts: dict[str, int] = {}
        self._loaded = storage is None
        self._lock = fork_safe_lock()
        self._saving = fork_safe_lock()
        self.held = 0
        """Bytes that its images held when it was last fitted."""

    def load(self) -> None:
        """Load what was saved, unless that was done before.

        Raises:
            ImageError: it is there and cannot be read.
        """
        with self._opened():
            pass

    def save(self) -> None:
        """Save what changed, where there is a storage.

        Raises:
            ImageError: it cannot be written.
        """
        with self._saving:  # the last one to save has seen every change
            if (storage := self._storage) is None:  # or it was forgotten by now
                return
            with self._opened():
                images, counts = list(self._images.values()), dict(self._counts)
            storage.save(self._key, images, counts)

    def add(
        self,
        prefix: str,
        image: EncodedImage,
        *,
        regions: Iterable[Region] = (),
        marked: MarkedImage | MarkedPages | None = None,
    ) -> OpenImage:
        """Add an image under the next id with this prefix; `regions` of a marked image have their ids already.

        Raises:
            SessionError: it alone is more than the session holds.
        """
        if marked is None:
            opened = OpenImage("", image)
            opened.add_regions(regions)
        else:
            opened = OpenImage.marked_as(image, marked, regions)
        size = held_bytes([opened])
        if size > self._limits.max_session_bytes:
            raise SessionError(
                f"this image takes {size} bytes of memory (4 per pixel, and its masks); a session holds at most "
                f"max_session_bytes={self._limits.max_session_bytes}. Use a smaller one."
            )
        with self._opened():
            self._counts[prefix] = self._counts.get(prefix, 0) + 1
            opened.id = f"{prefix}{self._counts[prefix]}"
            return self._keep(opened)

    def find(self, image_id: str, shared: Session | None = None, *, copy: bool = True) -> OpenImage:
        """Look an image up; one that the program shares with all sessions is copied in, unless only to look at.

        Raises:
            SessionError: no such image, or no longer.
        """
        ids, original, forgotten = [], None, False
        if shared is not None:
            with shared._opened():
                original = shared._get(image_id)
                ids = list(shared._images)
                forgotten = shared._had(image_id)
        with self._opened():
            own = self._get(image_id)
            # after a restart the id may mean another shared image than the one that was copied
            if original is not None and (own is None or own.image.pixel_digest != original.image.pixel_digest):
                copied = OpenImage(original.id, original.image, OrderedDict(original.regions))
                return self._keep(copied) if copy else copied
            if own is not None:
                return own
            ids += self._images
            forgotten = forgotten or self._had(image_id)
        open_images = f"open images: {', '.join(dict.fromkeys(ids))}" if ids else "no image is open"
        if forgotten:
            raise SessionError(
                f"{image_id} was forgotten: a session holds at most {self._limits.max_images} images and "
                f"{self._limits.max_session_bytes} bytes, those used last; {open_images}. Call open_image or "
                "mark_regions again."
            )
        advice = "Use one of these, or call open_image." if ids else "Call open_image first."
        raise SessionError(f"no image {shorten(image_id)}; {open_images}. {advice}")

    def images(self, shared: Session | None = None) -> list[OpenImage]:
        """Return the images of the session, those that the program shares first."""
        found: dict[str, OpenImage] = {}
        for session in (shared, self):
            if session is not None:
                with session._opened():
                    found |= session._images
        return list(found.values())

    def fit(self, shared: Iterable[OpenImage]) -> None:
        """Forget the least recently used images until the rest are within the limit in bytes; the last one stays.

        Args:
            shared: images of the program, whose bytes do not count.
        """
        with self._opened():
            self.held = held_bytes(self._images.values(), shared)
            while self.held > self._limits.max_session_bytes and len(self._images) > 1:
                self._images.popitem(last=False)
                self.held = held_bytes(self._images.values(), shared)

    def forget(self, image_id: str) -> None:
        """Forget an image; an unknown one is no error."""
        with self._opened():
            self._images.pop(image_id, None)

    def forget_all(self) -> None:
        """Forget everything, also where it is stored, and save nothing from now on."""
        with self._saving, self._lock:
            storage, self._storage, self._loaded = self._storage, None, True
            self._images.clear()
            self.held = 0
        if storage is not None:
            storage.delete(self._key)

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Hold the lock of the session, which is loaded first: here, where only its own calls wait for a disk."""
        with self._lock:
            if not self._loaded and self._storage is not None:
                images, self._counts = self._storage.load(self._key)
                self._images.update((image.id, image) for image in images)
                self._loaded = True
            yield

    def _get(self, image_id: str) -> OpenImage | None:
        if image_id in self._images:
            self._images.move_to_end(image_id)
        return self._images.get(image_id)

    def _had(self, image_id: str) -> bool:
        """Whether an id was handed out before."""
        number = re.fullmatch(r"([a-z]+)([1-9]\d{0,17})", image_id)
        return number is not None and int(number[2]) <= self._counts.get(number[1], 0)

    def _keep(self, image: OpenImage) -> OpenImage:
        self._images[image.id] = image
        while len(self._images) > self._limits.max_images:
            self._images.popitem(last=False)
        return image
