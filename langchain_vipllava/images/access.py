"""`ImageAccessPolicy`: which files and URLs are opened, and the one function that opens them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from langchain_vipllava.errors import ImageError, shorten
from langchain_vipllava.images.fetch import FetchPolicy, fetch
from langchain_vipllava.images.files import path_of_uri, read_any_file, read_file_below
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.inline import Base64Text, decode_data_uri
from langchain_vipllava.images.limits import DEFAULT_LIMITS, ImageLimits
from langchain_vipllava.images.lookalikes import base64_kind
from langchain_vipllava.images.shown_url import show_url
from langchain_vipllava.images.source import ImageId, ImageSource, source_kind
from langchain_vipllava.images.store import ImageStore
from langchain_vipllava.images.value import encoded, read_value

Channels = Literal["rgb", "bgr"]
"""Order of the channels of an array; `cv2.imread` returns "bgr"."""

ImageRoot = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""One folder of images, or several."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True)
class ImageAccessPolicy:
    """Which images may be opened, wherever somebody else than the program names them.

    `resolve` is the only way into the package: messages, tools, caches, stores and the command line all use it.
    An image that is passed by value (bytes, a data: URI, a PIL image, an array) is always accepted.

    Attributes:
        image_root: open only files below this folder, or below one of several. Relative paths are taken from there,
            from the first folder that has the file. None opens no file.
        fetch_policy: how URLs are fetched; None for `FetchPolicy()`.
        store: where images are looked up that messages name by id; None knows no ids.
        any_file: open whatever file is named; see `trusted`.
        limits: how large an image may be, and in which formats, however it comes in.

    Raises:
        ImageError: `image_root` is empty, or no folder name; `image_root` beside `any_file`.

    Example:
        >>> from langchain_vipllava import ImageAccessPolicy
        >>> ImageAccessPolicy(image_root="examples").resolve("scene.png").size
        (640, 636)
    """

    image_root: ImageRoot | None = None
    fetch_policy: FetchPolicy | None = None
    store: ImageStore | None = None
    any_file: bool = False
    limits: ImageLimits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        """Check the folders."""
        if self.any_file and self.image_root is not None:
            raise ImageError("image_root beside any_file; expected one of them: any_file opens every file.")
        read_roots(self.image_root)

    @classmethod
    def trusted(
        cls,
        *,
        fetch_policy: FetchPolicy | None = None,
        store: ImageStore | None = None,
        limits: ImageLimits = DEFAULT_LIMITS,
    ) -> ImageAccessPolicy:
        """Make a policy that opens any file: for names that the program writes itself, never for those of others."""
        return cls(fetch_policy=fetch_policy, store=store, any_file=True, limits=limits)

    def resolve(self, source: ImageSource, *, channels: Channels = "rgb") -> EncodedImage:
        """Turn whatever names or holds an image into an `EncodedImage`.

        Args:
            source: see `ImageSource`.
            channels: order of the channels of an array.

        Raises:
            ImageError: a file or URL that may not be opened, or cannot be; an id that the store does not have;
                an array or a PIL image that is not an image; any other type.
        """
        if channels not in ("rgb", "bgr"):
            raise ImageError(f"channels={shorten(channels)}; expected 'rgb' or 'bgr'.")
        kind = source_kind(source)
        if isinstance(source, ImageId):
            return self._find(source)
        if isinstance(source, os.PathLike):
            return self._read_file(_fspath(source))
        if isinstance(source, str):
            if kind == "data":
                return encoded(decode_data_uri(source, self.limits), "the data: URI", self.limits)
            if kind == "url":
                policy = self.fetch_policy or FetchPolicy()
                policy = replace(policy, max_bytes=min(policy.max_bytes, self.limits.max_bytes))
                return encoded(fetch(source.strip(), policy), show_url(source), self.limits)
            return self._read_named_file(source)
        return read_value(source, self.limits, bgr=channels == "bgr")

    def _find(self, image_id: ImageId) -> EncodedImage:
        if self.store is None:
            raise ImageError(
                f"a message names the stored image {shorten(image_id)}; give ChatVipLlava its image_store."
            )
        return encoded(self.store.get(image_id), image_id, self.limits)

    def _read_named_file(self, text: str) -> EncodedImage:
        if not text.strip():
            raise ImageError("the path is empty; expected a path, an http(s):// URL or a data: URI.")
        if base64_kind(text) is not None:  # as Ollama and others take images
            return read_value(Base64Text(text), self.limits, bgr=False)
        if text.lstrip()[: len("file:")].lower() == "file:":
            return self._read_file(path_of_uri(text), name=text)
        if _SCHEME.match(text.lstrip()):
            raise ImageError(f"{show_url(text)} has an unknown scheme; expected http(s)://, file:// or data:.")
        # messages and LLMs put spaces around a path; in the program's own hands they belong to the name
        return self._read_file(text if self.any_file else text.strip())

    def _read_file(self, path: str, *, name: str | None = None) -> EncodedImage:
        if self.any_file:
            data = read_any_file(path, self.limits.max_bytes)
        else:
            data = read_file_below(read_roots(self.image_root), path, self.limits.max_bytes, name=name)
        return encoded(data, name or path, self.limits)


def read_roots(image_root: ImageRoot | None) -> tuple[Path, ...]:
    """Return the folders of an `image_root`.

    Raises:
        ImageError: it is empty, or no folder name.
    """
    if image_root is None:
        return ()
    roots: Sequence[str | os.PathLike[str]] = ()
    if isinstance(image_root, (str, os.PathLike)):
        roots = (image_root,)
    elif isinstance(image_root, Sequence):
        roots = image_root
    if not roots or not all(isinstance(root, (str, os.PathLike)) and str(root).strip() for root in roots):
        raise ImageError(
            f"image_root={shorten(image_root)}; expected a folder or several, or None to open no file. The working "
            "folder is '.'."
        )
    try:
        return tuple(Path(root).expanduser() for root in roots)
    except (TypeError, RuntimeError) as error:
        raise ImageError(f"image_root={shorten(image_root)} cannot be used: {error}.") from error


def _fspath(source: os.PathLike[str]) -> str:
    try:
        return os.fsdecode(source)
    except Exception as error:  # whatever an object's __fspath__ raises
        raise ImageError(f"{shorten(source)} has no path: {error}; expected a path.") from error
