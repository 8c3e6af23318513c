"""`ImageAccessPolicy`: which files and URLs are opened, and the one function that opens them."""

from __future__ import annotations

import base64
import binascii
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import url2pathname

import numpy as np
from PIL import Image

from langchain_vipllava.errors import ImageError, shorten
from langchain_vipllava.images.decode import to_upright_rgb
from langchain_vipllava.images.fetch import FetchPolicy, fetch
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.pixels import array_to_rgb
from langchain_vipllava.images.source import ImageSource
from langchain_vipllava.images.store import ImageId, ImageStore
from langchain_vipllava.locks import fork_safe_lock

Channels = Literal["rgb", "bgr"]
"""Order of the channels of an array; `cv2.imread` returns "bgr"."""

_DATA_URI = re.compile(r"data:[^,]*,", re.IGNORECASE)
_URL = re.compile(r"https?://", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)

_read_lock = fork_safe_lock()
"""Held while a PIL image or a file object is read: several threads may pass the same one."""


@dataclass(frozen=True)
class ImageAccessPolicy:
    """Which images may be opened, wherever somebody else than the program names them.

    `resolve` is the only way into the package: messages, tools, caches, stores and the command line all use it.
    An image that is passed by value (bytes, a data: URI, a PIL image, an array) is always accepted.

    Attributes:
        image_root: open only files below this folder, and take relative paths from there; None opens any file.
        fetch_policy: how URLs are fetched; None for `FetchPolicy()`.
        store: where images are looked up that messages name by id; None knows no ids.
    """

    image_root: Path | str | None = None
    fetch_policy: FetchPolicy | None = None
    store: ImageStore | None = None

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
            raise ImageError(f"channels={channels!r}; expected 'rgb' or 'bgr'.")
        if isinstance(source, EncodedImage):
            return source
        if isinstance(source, ImageId):
            return self._find(source)
        if isinstance(source, str):
            return self._resolve_text(source)
        if isinstance(source, os.PathLike):
            return self._read_file(Path(os.fsdecode(source)))
        if isinstance(source, (bytes, bytearray, memoryview)):
            return EncodedImage(bytes(source), name="the bytes")
        if isinstance(source, Image.Image):
            with _read_lock:
                return EncodedImage.from_pixels(to_upright_rgb(source, "the PIL image"))
        if isinstance(source, np.ndarray):
            return EncodedImage.from_pixels(array_to_rgb(source, bgr=channels == "bgr"))
        if hasattr(source, "read"):
            return EncodedImage(_read_all(source), name="the file object")
        raise ImageError(
            f"cannot read an image from {type(source).__name__}; expected a path, URL, data: URI, bytes, file object, "
            "PIL image or numpy array (for a torch tensor: tensor.permute(1, 2, 0).cpu().numpy())."
        )

    def _find(self, image_id: ImageId) -> EncodedImage:
        if self.store is None:
            raise ImageError(f"a message names the stored image {image_id}; give ChatVipLlava its image_store.")
        return EncodedImage(self.store.get(image_id), name=image_id)

    def _resolve_text(self, text: str) -> EncodedImage:
        if _DATA_URI.match(text.lstrip()):
            return EncodedImage(_read_data_uri(text.lstrip()), name="the data: URI")
        if _URL.match(text.lstrip()):
            return EncodedImage(fetch(text.strip(), self.fetch_policy or FetchPolicy()), name=text)
        if text.lower().startswith("file://"):
            return self._read_file(_path_of_uri(text))
        if not text.strip():
            raise ImageError("the path is empty; expected a path, an http(s):// URL or a data: URI.")
        if _SCHEME.match(text):
            raise ImageError(f"{shorten(text)} has an unknown scheme; expected http(s)://, file:// or data:.")
        # messages and LLMs put spaces around a path; in the program's own hands they belong to the name
        return self._read_file(Path(text if self.image_root is None else text.strip()))

    def _read_file(self, path: Path) -> EncodedImage:
        try:
            path = path.expanduser() if self.image_root is None else _below(Path(self.image_root).expanduser(), path)
            if path.is_dir():
                raise ImageError(f"{shorten(str(path))} is a folder; expected an image file.")
            if not path.is_file():
                raise ImageError(f"no file {shorten(str(path))}; expected a path, an http(s):// URL or a data: URI.")
            return EncodedImage(path.read_bytes(), name=str(path))
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error  # an OSError's own text repeats a path of any length
            raise ImageError(f"cannot read {shorten(str(path))}: {reason}.") from error


def is_remote(source: ImageSource) -> bool:
    """Whether a source is a URL that would have to be fetched."""
    return isinstance(source, str) and _URL.match(source.lstrip()) is not None


def is_data_uri(source: ImageSource) -> bool:
    """Whether a source is a data: URI, which holds its own content."""
    return isinstance(source, str) and _DATA_URI.match(source.lstrip()) is not None


def _below(root: Path, path: Path) -> Path:
    root = root.resolve()
    try:
        path = (root / path).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise ImageError(f"{shorten(str(path))} is not a path: {error}; expected one below {str(root)!r}.") from error
    if not path.is_relative_to(root):
        raise ImageError(f"{shorten(str(path))} lies outside the image folder; expected a path below {str(root)!r}.")
    return path


def _path_of_uri(uri: str) -> Path:
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise ImageError(f"{shorten(uri)} is not a file:// URI: {error}.") from error
    if parts.netloc.lower() not in ("", "localhost"):
        raise ImageError(f"{shorten(uri)} is a file of another host; expected file:///path, with three slashes.")
    return Path(url2pathname(parts.path))


def _read_all(file: Any) -> bytes:
    try:
        with _read_lock:
            if hasattr(file, "seekable") and file.seekable():
                file.seek(0)
            data = file.read()
    except Exception as error:
        raise ImageError(f"cannot read the file object: {error}. Open it in binary mode ('rb').") from error
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise ImageError(f"the file object returned {type(data).__name__}; open it in binary mode ('rb').")
    return bytes(data)


def _read_data_uri(uri: str) -> bytes:
    head, _, payload = uri.partition(",")
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(payload)
    try:
        return base64.b64decode(b"".join(unquote_to_bytes(payload).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"the data: URI {head},... is not valid base64 ({error}); encode the file again.") from error
