"""`ImageStore`: encoded images by content hash, so that messages and checkpoints do not have to carry them."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from langchain_vipllava.errors import ImageError, shorten
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.source import ImageId
from langchain_vipllava.images.stored_files import ID_PREFIX, StoredFiles
from langchain_vipllava.locks import fork_safe_lock

MAX_BYTES = 256 * 2**20
"""Default bound of a store: some 250 photographs of 1 MB."""


def image_id(image: EncodedImage) -> ImageId:
    """Return the id under which a store keeps an image."""
    return ImageId(ID_PREFIX + image.sha256)


class ImageStore:
    """Stores encoded images by their content, within a bound; the least recently used are evicted first.

    Any thread may use it, and several processes may use one folder. Bytes are returned only if they are those that were
    stored: a file that has changed counts as missing. What a call stored is on the disk when it returns.
    `chat.byte_store.ImageByteStore` makes it a LangChain byte store.

    Args:
        folder: where to store images so that they outlive the process; created if missing, for this user alone. None
            stores in memory.
        max_bytes: maximum size in bytes. What was stored last stays, up to 256 MiB if that is more. Several processes
            together may exceed it by a sixteenth each for a while.

    Raises:
        ImageError: the folder cannot be created; `max_bytes` below 1.

    Example:
        >>> from langchain_vipllava import ImageStore
        >>> store = ImageStore()
        >>> image_id = store.add(b"the bytes of a PNG")
        >>> image_id[:19], store.get(image_id)
        ('sha256-6b6f2bdf268e', b'the bytes of a PNG')
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, *, max_bytes: int = MAX_BYTES) -> None:
        if not isinstance(max_bytes, int) or max_bytes < 1:
            raise ImageError(f"max_bytes={shorten(max_bytes)}; expected a number of bytes, at least 1.")
        try:
            self.folder = None if folder is None else Path(folder).expanduser()
        except (TypeError, RuntimeError) as error:
            raise ImageError(f"folder={shorten(folder)}; expected the path of a folder: {error}.") from error
        self.max_bytes = max_bytes
        self._backing: _Backing = _Memory()
        if self.folder is not None:
            self._backing = StoredFiles(self.folder, max(max_bytes, MAX_BYTES))

    def add(self, image: EncodedImage | bytes) -> ImageId:
        """Store an image.

        Returns:
            Its id, made of the SHA-256 of its bytes: equal images are stored once.

        Raises:
            ImageError: not encoded bytes, or they cannot be written.
        """
        if not isinstance(image, EncodedImage):
            if not isinstance(image, (bytes, bytearray, memoryview)):
                raise ImageError(f"cannot store {type(image).__name__}; expected the bytes of an encoded image.")
            image = EncodedImage(bytes(image))
        name = image_id(image)
        if self.mget([name]) != [image.data]:  # missing or damaged
            self.mset([(name, image.data)])
        return name

    def get(self, image_id: str) -> bytes:
        """Return the bytes of a stored image.

        Raises:
            ImageError: the store does not have it, or no longer.
        """
        data = self.mget([image_id])[0]
        if data is None:
            # not the folder: whoever wrote the id must not learn where it is
            place = "in memory, which ends with the process" if self.folder is None else "a folder"
            raise ImageError(
                f"no image {shorten(image_id)} in the image store ({place}; at most {self.max_bytes} bytes). "
                "Send the image itself once more; ImageStore(folder) keeps images over a restart."
            )
        return data

    def __contains__(self, image_id: object) -> bool:
        """Whether an image is stored, unchanged; counts as a use of it. Reads it unless it is as it was read last."""
        return isinstance(image_id, str) and self._backing.touch(image_id)

    def __deepcopy__(self, memo: dict[int, Any]) -> ImageStore:
        """Shared by copies of whatever holds it."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process: a store of the same folder."""
        if self.folder is None:
            raise ImageError("an image store in memory stays in its process; ImageStore(folder) can be pickled.")
        return partial(ImageStore, self.folder, max_bytes=self.max_bytes), ()

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the bytes under each key, None for a missing one.

        Raises:
            ImageError: bytes are there and cannot be read; a key that is not text.
        """
        return [self._backing.get(key) for key in _checked_keys(keys)]

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Store bytes under keys, replacing what was there.

        Raises:
            ImageError: they cannot be written; a key that is not text, a value that is not bytes.
        """
        pairs = _checked_pairs(key_value_pairs)  # before any of them is written
        for key, data in pairs:
            self._backing.put(key, data)
        self._backing.evict(self.max_bytes, keep=[key for key, _ in pairs])

    def mdelete(self, keys: Sequence[str]) -> None:
        """Delete keys; a missing one is not an error.

        Raises:
            ImageError: they cannot be deleted; a key that is not text.
        """
        for key in _checked_keys(keys):
            self._backing.delete(key)

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """Yield all keys with a prefix, the least recently used first.

        Raises:
            ImageError: the folder cannot be listed; a prefix that is not text.
        """
        beginning = _checked_key(prefix or "")
        yield from (key for key in self._backing.list_keys() if key.startswith(beginning))

    def __repr__(self) -> str:
        return f"ImageStore({str(self.folder) if self.folder else ''!r}, max_bytes={self.max_bytes})"


class _Backing(Protocol):
    """Where the bytes are."""

    def get(self, key: str) -> bytes | None: ...
    def touch(self, key: str) -> bool:
        """Mark an entry as just used; whether it is there."""

    def put(self, key: str, data: bytes) -> None: ...
    def delete(self, key: str) -> None: ...
    def list_keys(self) -> list[str]:
        """Return the keys, the least recently used first."""

    def evict(self, max_bytes: int, keep: Iterable[str]) -> None:
        """Delete the least recently used entries until the rest fits, images first; those to keep stay."""


class _Memory:
    def __init__(self) -> None:
        self._lock = fork_safe_lock()
        self._entries: OrderedDict[str, bytes] = OrderedDict()
        self._total = 0

    def get(self, key: str) -> bytes | None:
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def touch(self, key: str) -> bool:
        return self.get(key) is not None

    def put(self, key: str, data: bytes) -> None:
        with self._lock:
            self._total += len(data) - len(self._entries.get(key, b""))
            self._entries[key] = data
            self._entries.move_to_end(key)

    def delete(self, key: str) -> None:
        with self._lock:
            self._total -= len(self._entries.pop(key, b""))

    def list_keys(self) -> list[str]:
        with self._lock:
            return list(self._entries)

    def evict(self, max_bytes: int, keep: Iterable[str]) -> None:
        with self._lock:
            if self._total <= max_bytes:
                return
            kept = set(keep)
            # images first: other entries (sessions) are small, and say which images there were
            for key in sorted(self._entries, key=lambda key: not key.startswith(ID_PREFIX)):
                if self._total <= max_bytes:
                    return
                if key not in kept:
                    self.delete(key)


def _checked_key(key: object) -> str:
    if not isinstance(key, str):
        raise ImageError(f"the key {shorten(key)} is of type {type(key).__name__}; expected text, such as an image id.")
    return key


def _checked_keys(keys: object) -> list[str]:
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
        raise ImageError(f"keys {shorten(keys)}; expected a sequence of texts, such as image ids.")
    return [_checked_key(key) for key in keys]


def _checked_pairs(pairs: object) -> list[tuple[str, bytes]]:
    if not isinstance(pairs, Iterable):
        raise ImageError(f"cannot store {shorten(pairs)}; expected pairs of a key and bytes.")
    return [_checked_pair(pair) for pair in pairs]


def _checked_pair(pair: object) -> tuple[str, bytes]:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ImageError(f"cannot store {shorten(pair)}; expected a pair of a key and bytes.")
    key, data = pair
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise ImageError(f"cannot store {type(data).__name__} under {shorten(key)}; expected bytes.")
    return _checked_key(key), bytes(data)
