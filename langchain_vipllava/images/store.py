"""`ImageStore`: encoded images by content hash, so that messages and checkpoints do not have to carry them."""

from __future__ import annotations

import errno
import os
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

from langchain_vipllava.errors import ImageError, shorten
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.source import ImageId
from langchain_vipllava.locks import fork_safe_lock

MAX_BYTES = 256 * 2**20
"""Default bound of a store: some 250 photographs of 1 MB."""

ID_PREFIX = "sha256-"
"""The beginning of every image id."""


def image_id(image: EncodedImage) -> ImageId:
    """Return the id under which a store keeps an image."""
    return ImageId(ID_PREFIX + image.sha256)


class ImageStore:
    """Stores encoded images by their content, within a bound; the least recently used are evicted first.

    Any thread may use it, and several processes may use one folder. `chat.byte_store.ImageByteStore` makes it a
    LangChain byte store.

    Args:
        folder: where to store images so that they outlive the process; created if missing. None stores in memory.
        max_bytes: maximum size in bytes. What was stored last stays, however large it is.

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
            raise ImageError(f"max_bytes={max_bytes!r}; expected a number of bytes, at least 1.")
        self.folder = None if folder is None else Path(folder).expanduser()
        self.max_bytes = max_bytes
        self._backing: _Backing = _Memory() if self.folder is None else _Folder(self.folder)
        self._lock = fork_safe_lock()

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
            place = "in memory, which ends with the process" if self.folder is None else str(self.folder)
            raise ImageError(
                f"no image {shorten(image_id)} in the image store ({place}; at most {self.max_bytes} bytes). "
                "Send the image itself once more; ImageStore(folder) keeps images over a restart."
            )
        return data

    def __contains__(self, image_id: object) -> bool:
        """Whether an image is stored; counts as a use of it, and reads nothing."""
        with self._lock:
            return self._backing.touch(str(image_id))

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
            ImageError: bytes are there and cannot be read.
        """
        with self._lock:
            return [self._backing.get(key) for key in keys]

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Store bytes under keys, replacing what was there.

        Raises:
            ImageError: they cannot be written.
        """
        with self._lock:
            for key, data in key_value_pairs:
                self._backing.put(key, data)
            self._evict(keep={key for key, _ in key_value_pairs})

    def mdelete(self, keys: Sequence[str]) -> None:
        """Delete keys; a missing one is not an error."""
        with self._lock:
            for key in keys:
                self._backing.delete(key)

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """Yield all keys with a prefix, the least recently used first."""
        with self._lock:
            keys = list(self._backing.sizes())
        yield from (key for key in keys if key.startswith(prefix or ""))

    def _evict(self, keep: set[str]) -> None:
        sizes = self._backing.sizes()
        total = sum(sizes.values())
        # images first: other entries (sessions) are small, and say which images there were
        for key, size in sorted(sizes.items(), key=lambda item: not item[0].startswith(ID_PREFIX)):
            if total <= self.max_bytes:
                return
            if key not in keep:
                self._backing.delete(key)
                total -= size

    def __repr__(self) -> str:
        return f"ImageStore({str(self.folder) if self.folder else ''!r}, max_bytes={self.max_bytes})"


class _Backing(Protocol):
    """Where the bytes are."""

    def get(self, key: str) -> bytes | None: ...
    def touch(self, key: str) -> bool:
        """Mark an entry as just used; whether it is there."""

    def put(self, key: str, data: bytes) -> None: ...
    def delete(self, key: str) -> None: ...
    def sizes(self) -> Mapping[str, int]:
        """Size in bytes of each entry, the least recently used first."""


class _Memory:
    def __init__(self) -> None:
        self._entries: OrderedDict[str, bytes] = OrderedDict()

    def get(self, key: str) -> bytes | None:
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def touch(self, key: str) -> bool:
        return self.get(key) is not None

    def put(self, key: str, data: bytes) -> None:
        self._entries[key] = data
        self._entries.move_to_end(key)

    def delete(self, key: str) -> None:
        self._entries.pop(key, None)

    def sizes(self) -> Mapping[str, int]:
        return {key: len(data) for key, data in self._entries.items()}


_FILE_PREFIX, _FILE_SUFFIX = "kept-", ".bin"
"""Beginning and end of our file names: other files in the folder are left alone."""


class _Folder:
    """One file per key. A file is written beside its place and then moved: a killed process leaves no half file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImageError(f"cannot store images in {str(folder)!r}: {error.strerror}.") from error

    def _path(self, key: str) -> Path:
        return self._folder / f"{_FILE_PREFIX}{quote(key, safe='', errors='surrogatepass')}{_FILE_SUFFIX}"

    def get(self, key: str) -> bytes | None:
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
                return None
            raise ImageError(f"cannot read {str(path)!r}: {error.strerror}.") from error
        self.touch(key)
        return data

    def touch(self, key: str) -> bool:
        try:
            os.utime(self._path(key))
        except OSError:
            return False
        return True

    def put(self, key: str, data: bytes) -> None:
        try:
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".", delete=False) as file:
                file.write(data)
            Path(file.name).replace(self._path(key))
        except OSError as error:
            with suppress(OSError, UnboundLocalError):
                Path(file.name).unlink()
            raise ImageError(f"cannot store {shorten(key)} in {str(self._folder)!r}: {error.strerror}.") from error

    def delete(self, key: str) -> None:
        with suppress(OSError):
            self._path(key).unlink()

    def sizes(self) -> Mapping[str, int]:
        entries = []
        for entry in os.scandir(self._folder):
            with suppress(OSError):  # another process has deleted it meanwhile
                key = unquote(entry.name.removeprefix(_FILE_PREFIX).removesuffix(_FILE_SUFFIX), errors="surrogatepass")
                if self._path(key).name == entry.name and entry.is_file(follow_symlinks=False):
                    status = entry.stat()
                    entries.append((status.st_mtime_ns, key, status.st_size))
        return {key: size for _, key, size in sorted(entries)}
