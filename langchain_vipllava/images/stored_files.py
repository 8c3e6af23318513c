"""`StoredFiles`: the entries of an `ImageStore` as files of one folder, whatever else happens to them."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import secrets
import stat
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from string import ascii_lowercase, digits
from time import time
from typing import Any
from urllib.parse import unquote

from langchain_vipllava.errors import ImageError, shorten
from langchain_vipllava.locks import fork_safe_lock

logger = logging.getLogger(__name__)

_fcntl: Any = import_module("fcntl") if os.name == "posix" else None

ID_PREFIX = "sha256-"
"""The beginning of the key of an image; the hash of its bytes follows."""

_PREFIX, _SUFFIX = "kept-", ".bin"
"""Beginning and end of our file names: other files in the folder are left alone."""

_TEMPORARY_PREFIX, _TEMPORARY_SUFFIX = ".kept-", ".tmp"

_PLAIN = frozenset(ascii_lowercase + digits + "-_.")
"""Characters that stay in a file name. Capitals do not: some file systems take `K` and `k` for one name."""

_MAX_NAME = 255
"""Bytes of a file name on every usual file system."""

_MAX_AGE = 3600.0
"""Seconds after which a leftover is removed where there are no file locks. Chosen: no write takes an hour."""

_RELISTED = 16
"""The folder is listed again once as many bytes were written as this part of the bound: others may write, too."""

_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)

_HASH_BYTES = hashlib.sha256().digest_size
_MAX_VERIFIED = 4096


class _NotOursError(OSError):
    """A file that no store wrote."""


@dataclass(frozen=True)
class _Entry:
    key: str
    size: int
    used: int


class StoredFiles:
    """One file per key.

    A file is written beside its place, flushed to the disk, and then moved: whoever is killed, whenever, leaves the
    old entry or the new one, and what was acknowledged outlives a loss of power. Every file is read with its hash.
    No lock is held while bytes are read or written, so nothing in the folder can make other threads wait.

    Args:
        folder: created if missing, for this user alone: images are private.
        max_entry_bytes: largest entry.

    Raises:
        ImageError: the folder cannot be created or listed.
    """

    def __init__(self, folder: Path, max_entry_bytes: int) -> None:
        self._folder, self._max_entry_bytes = folder, max_entry_bytes
        self._lock = fork_safe_lock()
        self._verified: OrderedDict[str, tuple[int, ...]] = OrderedDict()
        self._total, self._written = 0, 0
        self._oldest: deque[_Entry] = deque()
        with self._errors("cannot store images in"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._list()

    def get(self, key: str) -> bytes | None:
        """Return the bytes under a key; None if they are missing or have changed.

        Raises:
            ImageError: it is there, and cannot be read.
        """
        path = self._path(key)
        if path is None:
            return None
        try:
            content, status = _read(path, self._max_entry_bytes + _HASH_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            if key.startswith(ID_PREFIX) and isinstance(error, _NotOursError):
                logger.warning("%s is not the image that was stored: %s; it counts as missing.", path.name, error)
                return None
            raise ImageError(f"cannot read {str(path)!r}: {error.strerror or error}.") from error
        data = _checked(key, content)
        if data is None:
            logger.warning("%s has changed on the disk; it counts as missing.", path.name)
            return None
        with self._lock:
            self._verified[key] = status
            self._verified.move_to_end(key)
            if len(self._verified) > _MAX_VERIFIED:
                self._verified.popitem(last=False)
        return data

    def touch(self, key: str) -> bool:
        """Mark an entry as just used; whether it is there, and unchanged. Reads it unless it is as it was read last."""
        path = self._path(key)
        if path is None:
            return False
        with self._lock:
            verified = self._verified.get(key)
        try:
            status = path.lstat()
            if _signature(status) != verified:
                return self.get(key) is not None
            with suppress(OSError):  # a folder that may only be read
                os.utime(path, follow_symlinks=os.utime not in os.supports_follow_symlinks)
            with self._lock:
                self._verified[key] = _signature(path.lstat())
        except (OSError, ImageError):
            return False
        return True

    def put(self, key: str, data: bytes) -> None:
        """Write an entry, in place of the one before.

        Raises:
            ImageError: it cannot be written; the entry before is as it was.
        """
        with self._errors(f"cannot store {shorten(key)} in"):
            path = self._path(key)
            if path is None:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            if len(data) > self._max_entry_bytes:
                raise OSError(errno.EFBIG, f"{len(data)} bytes; expected at most {self._max_entry_bytes}")
            content = data if key.startswith(ID_PREFIX) else _digest(key, data) + data
            for attempts_left in (2, 1, 0):
                try:
                    self._write(key, path, content)
                    break
                except FileNotFoundError:  # another process took the new file for a leftover, before it was locked
                    if not attempts_left:
                        raise
            _flush(self._folder)

    def delete(self, key: str) -> None:
        """Delete an entry; a missing one is not an error.

        Raises:
            ImageError: it cannot be deleted.
        """
        path = self._path(key)
        if path is not None:
            with self._errors(f"cannot delete {shorten(key)} from"), self._lock:
                self._remove(key, path)

    def list_keys(self) -> list[str]:
        """Return the keys, the least recently used first.

        Raises:
            ImageError: the folder cannot be listed.
        """
        with self._errors("cannot list"):
            return [entry.key for entry in self._scan()]

    def evict(self, max_bytes: int, keep: Iterable[str]) -> None:
        """Delete the least recently used entries until the rest fits, images first; those to keep stay.

        The folder is listed when this process has written a part of the bound, or knows of nothing old to delete;
        not at every write.
        """
        kept = set(keep)
        with self._lock, self._errors("cannot list"):
            fresh = self._written > max_bytes // _RELISTED
            if fresh:
                self._list()
            while self._total > max_bytes:
                stale = not self._oldest or not self._oldest[0].key.startswith(ID_PREFIX)
                if stale and not fresh:  # newer images may be there by now, and they go before other entries
                    self._list()
                    fresh = True
                if not self._oldest:
                    return
                self._evict_one(self._oldest.popleft(), kept)

    def _evict_one(self, entry: _Entry, kept: set[str]) -> None:
        path = self._path(entry.key)
        with suppress(OSError):  # an entry that cannot be deleted stays
            if path is None or entry.key in kept:
                return
            try:
                used = path.lstat().st_mtime_ns
            except FileNotFoundError:  # another process has deleted it meanwhile
                self._total -= entry.size
                return
            if used == entry.used:
                self._remove(entry.key, path)

    def _remove(self, key: str, path: Path) -> None:
        with suppress(FileNotFoundError):
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode):  # a folder is no entry
                path.unlink()
                self._total -= _data_bytes(key, status.st_size)

    def _write(self, key: str, path: Path, content: bytes) -> None:
        temporary = self._folder / f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}"
        opened = os.open(temporary, _CREATE, 0o600)
        try:
            if _fcntl is not None:
                with suppress(OSError):  # a file system without locks
                    _fcntl.flock(opened, _fcntl.LOCK_EX | _fcntl.LOCK_NB)  # held until we close it or are killed
            unwritten = memoryview(content)
            while unwritten:
                unwritten = unwritten[os.write(opened, unwritten) :]
            os.fsync(opened)
            with self._lock:
                replaced = 0
                with suppress(OSError):
                    replaced = _data_bytes(key, path.lstat().st_size)
                temporary.replace(path)
                self._total = max(0, self._total - replaced) + _data_bytes(key, len(content))
                self._written += len(content)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        finally:
            os.close(opened)

    def _list(self) -> None:
        entries = self._scan(clean=True)
        self._total, self._written = sum(entry.size for entry in entries), 0
        # images first: other entries (sessions) are small, and say which images there were
        self._oldest = deque(sorted(entries, key=lambda entry: not entry.key.startswith(ID_PREFIX)))

    def _scan(self, *, clean: bool = False) -> list[_Entry]:
        entries = []
        with os.scandir(self._folder) as listing:
            for file in listing:
                with suppress(OSError, ValueError):  # another process has deleted it meanwhile; a name that is not ours
                    if clean and _is_temporary(file.name):
                        _remove_leftover(Path(file.path))
                    key = unquote(file.name.removeprefix(_PREFIX).removesuffix(_SUFFIX), errors="surrogatepass")
                    if _file_name(key) == file.name and file.is_file(follow_symlinks=False):
                        status = file.stat(follow_symlinks=False)
                        entries.append(_Entry(key, _data_bytes(key, status.st_size), status.st_mtime_ns))
        return sorted(entries, key=lambda entry: (entry.used, entry.key))

    def _path(self, key: str) -> Path | None:
        """Return where an entry is; None for a key that is too long to be one."""
        name = _file_name(key) if len(key) <= _MAX_NAME else None
        return None if name is None or len(name) > _MAX_NAME else self._folder / name

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the folder's name
            reason = getattr(error, "strerror", None) or error
            raise ImageError(f"{what} {str(self._folder)!r}: {reason}.") from error


def _file_name(key: str) -> str:
    encoded = "".join(
        character
        if character in _PLAIN
        else "".join(f"%{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
        for character in key
    )
    return f"{_PREFIX}{encoded}{_SUFFIX}"


def _data_bytes(key: str, file_bytes: int) -> int:
    return file_bytes if key.startswith(ID_PREFIX) else max(0, file_bytes - _HASH_BYTES)


def _digest(key: str, data: bytes) -> bytes:
    """Return the hash that stands before the bytes of an entry that is no image; of another key's file it differs."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass") + b"\0" + data).digest()


def _checked(key: str, content: bytes) -> bytes | None:
    if key.startswith(ID_PREFIX):
        return content if hashlib.sha256(content).hexdigest() == key.removeprefix(ID_PREFIX) else None
    data = content[_HASH_BYTES:]
    return data if content[:_HASH_BYTES] == _digest(key, data) else None


def _signature(status: os.stat_result) -> tuple[int, ...]:
    """What differs once anybody has written to a file."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read(path: Path, max_bytes: int) -> tuple[bytes, tuple[int, ...]]:
    """Read a regular file, and mark it as just used. Never waits: a pipe or a device is not even opened."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise _NotOursError("it is no regular file")
    opened = os.open(path, _FLAGS)
    try:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            raise _NotOursError("it is no regular file")
        if status.st_size > max_bytes:
            raise _NotOursError(f"it has {status.st_size} bytes; expected at most {max_bytes}")
        parts = [os.read(opened, status.st_size + 1)]
        while parts[-1] and sum(map(len, parts)) <= status.st_size:
            parts.append(os.read(opened, status.st_size + 1 - sum(map(len, parts))))
        before = _signature(os.fstat(opened))
        with suppress(OSError):  # a folder that may only be read
            os.utime(opened if os.utime in os.supports_fd else path)
        unchanged = before == _signature(status)
        return b"".join(parts), _signature(os.fstat(opened)) if unchanged else ()
    finally:
        os.close(opened)


def _flush(folder: Path) -> None:
    """Flush the names of a folder to the disk. Some systems and file systems cannot."""
    if os.name == "nt":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)


def _is_temporary(name: str) -> bool:
    return name.startswith(_TEMPORARY_PREFIX) and name.endswith(_TEMPORARY_SUFFIX)


def _remove_leftover(path: Path) -> None:
    """Remove the unfinished file of a process that is gone: a living one holds its lock."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return
    if _fcntl is None:
        if time() - path.lstat().st_mtime > _MAX_AGE:
            path.unlink()
        return
    opened = os.open(path, _FLAGS)
    try:
        _fcntl.flock(opened, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(opened)
