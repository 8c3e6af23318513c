"""`ImageStore`: encoded images by content hash, so that messages and checkpoints need not carry them."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

from langchain_core.stores import BaseStore

from langchain_vipllava.errors import ImageError, shorten

MAX_BYTES = 256 * 2**20
PREFIX = "sha256-"
"""How the id of a kept image begins."""


class ImageId(str):
    """Stands for an image that is kept in a store, where a source of an image is expected."""

    __slots__ = ()


def image_id(data: bytes) -> str:
    """The id that a store gives to an encoded image."""
    return PREFIX + hashlib.sha256(data).hexdigest()


class ImageStore(BaseStore[str, bytes]):
    """Keeps bytes up to a bound; the least recently used images go first. Any thread, and any process, may use it.

    It is a LangChain byte store; images go in by `keep`, which names them by their content.

    Args:
        folder: where to keep them, so that they outlive the process; made if missing. None keeps them in memory.
        max_bytes: most bytes in all. What was just put in stays, however large.

    Raises:
        ImageError: the folder cannot be made; the bound is not positive.

    Example:
        >>> from langchain_vipllava import ImageStore
        >>> store = ImageStore()
        >>> image_id = store.keep(b"the bytes of a PNG")
        >>> image_id[:19], store.find(image_id)
        ('sha256-6b6f2bdf268e', b'the bytes of a PNG')
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, *, max_bytes: int = MAX_BYTES) -> None:
        if not isinstance(max_bytes, int) or max_bytes < 1:
            raise ImageError(f"max_bytes={max_bytes!r}; expected a number of bytes, at least 1.")
        self.folder = None if folder is None else Path(folder).expanduser()
        self.max_bytes = max_bytes
        self._shelf: _Shelf = _Memory() if self.folder is None else _Folder(self.folder)
        self._lock = threading.Lock()

    def keep(self, data: bytes) -> str:
        """Keep an encoded image.

        Returns:
            Its id, the SHA-256 of its bytes: the same image is kept once.

        Raises:
            ImageError: these are no bytes, or they cannot be written.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise ImageError(f"cannot keep {type(data).__name__}; expected the bytes of an encoded image.")
        name = image_id(data)
        if self.mget([name]) != [data]:  # not there, or damaged
            self.mset([(name, bytes(data))])
        return name

    def find(self, image_id: str) -> bytes:
        """The bytes of an image that was kept.

        Raises:
            ImageError: there is no such image, or no more.
        """
        data = self.mget([image_id])[0]
        if data is None:
            place = "memory, where images end with the process" if self.folder is None else str(self.folder)
            raise ImageError(
                f"no image {shorten(image_id)} in the image store ({place}; at most {self.max_bytes} bytes). "
                "Send the image itself once more; ImageStore(folder) keeps images over a restart."
            )
        return data

    def __deepcopy__(self, memo: dict[int, Any]) -> ImageStore:
        """A copy of whatever holds a store shares it."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process, a store of the same folder."""
        if self.folder is None:
            raise ImageError("an image store in memory stays in its process; ImageStore(folder) can be sent on.")
        return partial(ImageStore, self.folder, max_bytes=self.max_bytes), ()

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes for each key, None where there are none.

        Raises:
            ImageError: they are there and cannot be read.
        """
        with self._lock:
            return [self._shelf.get(key) for key in keys]

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Keep bytes under keys; what was there is replaced.

        Raises:
            ImageError: they cannot be written.
        """
        with self._lock:
            for key, data in key_value_pairs:
                self._shelf.put(key, data)
            sizes = self._shelf.sizes()
            spare, total = {key for key, _ in key_value_pairs}, sum(sizes.values())
            # images first: what else is kept is small, and says which images there were
            for key, size in sorted(sizes.items(), key=lambda item: not item[0].startswith(PREFIX)):
                if total <= self.max_bytes:
                    break
                if key not in spare:
                    self._shelf.drop(key)
                    total -= size

    def mdelete(self, keys: Sequence[str]) -> None:
        """Forget keys; one that is not there is no error."""
        with self._lock:
            for key in keys:
                self._shelf.drop(key)

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """All keys that begin so, the least recently used first."""
        with self._lock:
            keys = list(self._shelf.sizes())
        yield from (key for key in keys if key.startswith(prefix or ""))

    def __repr__(self) -> str:
        return f"ImageStore({str(self.folder) if self.folder else ''!r}, max_bytes={self.max_bytes})"


class _Shelf(Protocol):
    """Where bytes lie."""

    def get(self, key: str) -> bytes | None: ...
    def put(self, key: str, data: bytes) -> None: ...
    def drop(self, key: str) -> None: ...
    def sizes(self) -> Mapping[str, int]:
        """Bytes by key, the least recently used first."""


class _Memory:
    def __init__(self) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def get(self, key: str) -> bytes | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: str, data: bytes) -> None:
        self._kept[key] = data
        self._kept.move_to_end(key)

    def drop(self, key: str) -> None:
        self._kept.pop(key, None)

    def sizes(self) -> Mapping[str, int]:
        return {key: len(data) for key, data in self._kept.items()}


_BEGIN, _END = "kept-", ".bin"
"""How the names of our files begin and end: others in the folder are left alone."""


class _Folder:
    """A file per key. A file is written beside its place and moved there, so a killed process leaves none half."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImageError(f"cannot keep images in {str(folder)!r}: {error.strerror}.") from error

    def _path(self, key: str) -> Path:
        return self._folder / f"{_BEGIN}{quote(key, safe='', errors='surrogatepass')}{_END}"

    def get(self, key: str) -> bytes | None:
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
                return None
            raise ImageError(f"cannot read {str(path)!r}: {error.strerror}.") from error
        with suppress(OSError):
            os.utime(path)  # used now
        return data

    def put(self, key: str, data: bytes) -> None:
        try:
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".", delete=False) as file:
                file.write(data)
            Path(file.name).replace(self._path(key))
        except OSError as error:
            with suppress(OSError, UnboundLocalError):
                Path(file.name).unlink()
            raise ImageError(f"cannot keep {shorten(key)} in {str(self._folder)!r}: {error.strerror}.") from error

    def drop(self, key: str) -> None:
        with suppress(OSError):
            self._path(key).unlink()

    def sizes(self) -> Mapping[str, int]:
        found = []
        for entry in os.scandir(self._folder):
            with suppress(OSError):  # another process has dropped it meanwhile
                key = unquote(entry.name.removeprefix(_BEGIN).removesuffix(_END), errors="surrogatepass")
                if self._path(key).name == entry.name and entry.is_file(follow_symlinks=False):  # nobody else's
                    state = entry.stat()
                    found.append((state.st_mtime_ns, key, state.st_size))
        return {key: size for _, key, size in sorted(found)}
