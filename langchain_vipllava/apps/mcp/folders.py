"""Which folders a client's calls may read: those of the operator, those that the client calls its roots, or both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from langchain_vipllava.errors import ImageError
from langchain_vipllava.images.access import Channels, ImageAccessPolicy, read_roots
from langchain_vipllava.images.files import path_of_uri
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.source import ImageSource

_MAX_ROOTS = 100
"""Roots of a client that are used. Chosen: more than an editor has folders open."""

_MAX_URI = 3 * 4096
"""Characters of a root. Chosen: a path of PATH_MAX bytes, each of them escaped."""

_FOLDERS: ContextVar[tuple[Path, ...] | None] = ContextVar("folders", default=None)
"""Of the call that is running; None: those of the policy."""


@dataclass(frozen=True)
class ClientAccess(ImageAccessPolicy):
    """A policy whose files are those below the folders that the client of the running call may read."""

    def resolve(self, source: ImageSource, *, channels: Channels = "rgb") -> EncodedImage:
        """As `ImageAccessPolicy.resolve`."""
        folders = _FOLDERS.get()
        root = self.image_root if folders is None else folders or None
        policy = ImageAccessPolicy(root, self.fetch_policy, limits=self.limits)
        return policy.resolve(source, channels=channels)


@contextmanager
def reading(folders: tuple[Path, ...] | None) -> Iterator[None]:
    """Let the calls inside read files below some folders; None: those of the policy."""
    token = _FOLDERS.set(folders)
    try:
        yield
    finally:
        _FOLDERS.reset(token)


def readable(operator: Sequence[Path], roots: Iterable[str], *, is_local: bool) -> tuple[Path, ...]:
    """Return the folders that a client with roots may read.

    Args:
        operator: folders that the operator allows.
        roots: URIs of the client's roots.
        is_local: whether the client runs on this machine for the same user. Its roots alone then decide where the
            operator names no folder; the roots of another client can only narrow the operator's folders.
    """
    named = [folder for uri in list(roots)[:_MAX_ROOTS] if (folder := _folder(uri)) is not None]
    if not operator:
        return tuple(named) if is_local else ()
    allowed = [folder.resolve() for folder in operator]
    inside = [root for root in named for folder in allowed if root.is_relative_to(folder)]
    around = [folder for root in named for folder in allowed if folder.is_relative_to(root)]
    return tuple(dict.fromkeys([*inside, *around]))


def _folder(uri: str) -> Path | None:
    if not uri.lower().startswith("file:") or len(uri) > _MAX_URI:
        return None
    try:
        (folder,) = read_roots(path_of_uri(uri))
        return folder.resolve() if folder.is_absolute() else None
    except (ImageError, OSError, ValueError, RuntimeError):  # NUL, a loop of links, a host
        return None
