"""Files on disk: regular ones only, opened once, and every check made on the open file."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path, PurePath
from urllib.parse import unquote_to_bytes
from urllib.request import url2pathname

from langchain_vipllava.errors import ImageError, shorten
from langchain_vipllava.images.lookalikes import base64_kind

logger = logging.getLogger(__name__)

_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
"""O_NONBLOCK: a FIFO that takes a file's place after it was looked at must not hang. Windows lacks all but O_BINARY."""

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
"""O_PATH, of Linux: a folder that may be entered and not listed is enough."""

_WALKS = {os.open, os.stat, os.readlink} <= os.supports_dir_fd
"""Whether a file can be opened relative to an open folder: on Linux and macOS, not on Windows."""

_MAX_LINKS = 40
"""Symbolic links that one path may lead through; the kernel of Linux follows as many (path_resolution(7))."""

_MAX_PATH = 4096
"""Characters of a path; PATH_MAX of Linux. Longer ones are not even taken apart."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def read_any_file(path: str, max_bytes: int) -> bytes:
    """Read a file that the program itself names. A leading `~` is the home folder.

    Raises:
        ImageError: no such file, not a regular one, empty, larger than `max_bytes`, or not readable.
    """
    name = shorten(path)
    try:
        file = Path(path)
        if file.parts[:1] == ("~",):  # "~name" may be a file, and is nobody's home here
            file = file.expanduser()
        _expect_regular(file.stat(), name)  # before it is opened: to open a device or a pipe can have effects
        return _read(os.open(file, _FLAGS), name, max_bytes)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(f"no file {name}; expected a path, an http(s):// URL or a data: URI.{_hint(path)}") from error
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a NUL byte; RuntimeError: no home folder
        reason = getattr(error, "strerror", None) or error  # an OSError's own text repeats a path of any length
        raise ImageError(f"cannot read {name}: {reason}.{_hint(path)}") from error


def _hint(path: str) -> str:
    kind = base64_kind(path)
    return f" It looks like base64: pass 'data:image/{kind};base64,' + text." if kind else ""


def read_file_below(roots: Sequence[Path], path: str, max_bytes: int, *, name: str | None = None) -> bytes:
    """Read a file that somebody else names, from the first of some folders that has it.

    Nothing outside of the folders is touched. What is not there, is outside, is no regular file or may not be read has
    one and the same error: nothing can be found out by asking.

    Args:
        roots: the folders. A relative path is tried in each of them, in order.
        path: the file, absolute or relative.
        max_bytes: maximum size in bytes.
        name: what errors call it; None for the path.

    Raises:
        ImageError: there is no such file below the folders; the file is empty or too large.
    """
    name = shorten(path if name is None else name)
    reason: Exception | None = None
    for root in roots if len(path) <= _MAX_PATH else ():
        try:
            opened = _open_below(root, PurePath(path))
        except (OSError, ValueError) as error:
            reason = error
            if not root.is_dir():  # for the program: whoever named the file must not learn it
                logger.warning("the image folder %r is not there; nothing below it can be opened.", str(root))
            continue
        return _read(opened, name, max_bytes)
    raise ImageError(
        f"cannot open {name}: no image of this name may be opened here. Expected an http(s):// URL, or the path of a "
        "file that the program lets be opened. It names folders with image_root=."
    ) from reason


def path_of_uri(uri: str) -> str:
    """Return the path that a file: URI names.

    Raises:
        ImageError: the URI names another host, or no absolute path.
    """
    rest = uri.strip()[len("file:") :]
    host = ""
    if rest.startswith("//"):
        host, slash, rest = rest[2:].partition("/")
        rest = slash + rest
    if host.lower() not in ("", "localhost"):
        raise ImageError(f"{shorten(uri)} is a file of another host; expected file:///path, with three slashes.")
    if not rest.startswith("/"):
        raise ImageError(f"{shorten(uri)} has no absolute path; expected file:///path, with three slashes.")
    try:
        return url2pathname(rest) if os.name == "nt" else os.fsdecode(unquote_to_bytes(rest))
    except ValueError as error:  # a lone surrogate; on Windows also a path that cannot be
        raise ImageError(f"{shorten(uri)} is not a file: URI: {error}; expected file:///path.") from error


def _expect_regular(status: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")
        raise ImageError(f"{name} is {kind}; expected an image file.")


def _read(opened: int, name: str, max_bytes: int) -> bytes:
    """Read and close an open file."""
    try:
        status = os.fstat(opened)
        _expect_regular(status, name)
        if status.st_size > max_bytes:
            raise ImageError(
                f"{name} has {status.st_size:,} bytes; expected at most {max_bytes:,}. Shrink the image; the program "
                "can allow more with ImageLimits(max_bytes=...)."
            )
        # a file without a size is either empty or made by the kernel while it is read, as those in /proc are
        data = os.read(opened, status.st_size + 1) if status.st_size else b""
        while data and len(data) <= max_bytes and (more := os.read(opened, max_bytes + 1 - len(data))):
            data += more  # it grew, or the system reads less at once
    except OSError as error:
        raise ImageError(f"cannot read {name}: {error.strerror}.") from error
    finally:
        os.close(opened)
    if not data:
        raise ImageError(f"{name} is empty; expected an encoded image (PNG, JPEG, WebP, ...).")
    if len(data) > max_bytes:
        raise ImageError(f"{name} grew beyond {max_bytes:,} bytes while it was read; open it once it is written.")
    return data


def _open_below(root: Path, path: PurePath) -> int:
    """Open a regular file below a folder. Any other outcome is an OSError or a ValueError."""
    parts = _parts_below(root, path)
    return _walk(root, parts) if _WALKS else _open_unlinked(root, parts)


def _parts_below(root: Path, path: PurePath) -> list[str]:
    """Return the parts of a path behind a root, by its text alone: what lies outside is not looked at."""
    if not path.is_absolute() and not path.anchor:  # "C:name" and "\\name" of Windows have an anchor
        return list(path.parts)
    for folder in (Path(os.path.abspath(root)), Path(os.path.realpath(root))):
        if path.parts[: len(folder.parts)] == folder.parts:
            return list(path.parts[len(folder.parts) :])
    raise ValueError("outside of the folder")


def _walk(root: Path, parts: Sequence[str]) -> int:
    """Open a file folder by folder, each relative to the open one before it: nobody can swap one for a link between.

    `..` goes back to the folder that was open before, and a link is followed by reading it: both end at the root.
    """
    folders = [os.open(root, _FOLDER)]
    waiting, links = list(reversed(parts)), 0
    try:
        while waiting:
            part = waiting.pop()
            if part == "..":
                _leave(folders)
                continue
            mode = os.stat(part, dir_fd=folders[-1], follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                links += 1
                if links > _MAX_LINKS:
                    raise ValueError("too many symbolic links")
                waiting += reversed(_follow(part, root, folders))
            elif stat.S_ISDIR(mode):
                folders.append(os.open(part, _FOLDER | _NOFOLLOW, dir_fd=folders[-1]))
            elif stat.S_ISREG(mode) and not waiting:
                return _regular(os.open(part, _FLAGS | _NOFOLLOW, dir_fd=folders[-1]))
            else:
                break
        raise ValueError("not a regular file")
    finally:
        for folder in folders:
            os.close(folder)


def _leave(folders: list[int]) -> None:
    os.close(folders.pop())
    if not folders:
        raise ValueError("outside of the folder")


def _follow(link: str, root: Path, folders: list[int]) -> Sequence[str]:
    """Return the parts that a link stands for; an absolute one begins again at the root."""
    target = PurePath(os.readlink(link, dir_fd=folders[-1]))
    if not target.is_absolute():
        return target.parts
    parts = _parts_below(root, target)
    while len(folders) > 1:
        _leave(folders)
    return parts


def _open_unlinked(root: Path, parts: Sequence[str]) -> int:
    """Open a file where `_walk` cannot: no links at all. Who may write below the root can still win a race."""
    if any(part == ".." or ":" in part for part in parts):  # "file.png:stream" and "C:" of Windows
        raise ValueError("not a plain path")
    root = root.resolve(strict=True)
    before = _identities(root, parts)
    opened = _regular(os.open(root.joinpath(*parts), _FLAGS | _NOFOLLOW))
    status = os.fstat(opened)
    if before != _identities(root, parts) or before[-1] != (status.st_dev, status.st_ino):
        os.close(opened)
        raise ValueError("changed while it was opened")
    return opened


def _identities(root: Path, parts: Sequence[str]) -> list[tuple[int, int]]:
    """Return what stands at each part of a path, none of them a link or a junction."""
    identities, place = [], root
    for number, part in enumerate(parts, 1):
        place = place / part
        status = place.lstat()
        reparse = getattr(status, "st_file_attributes", 0) & getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0x400)
        expected = stat.S_ISREG if number == len(parts) else stat.S_ISDIR
        if reparse or not expected(status.st_mode):
            raise ValueError("not a regular file in plain folders")
        identities.append((status.st_dev, status.st_ino))
    if not identities:
        raise ValueError("a folder")
    return identities


def _regular(opened: int) -> int:
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise ValueError("not a regular file")
    return opened
