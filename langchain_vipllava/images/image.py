"""`EncodedImage`: the one value that carries an image through the package."""

from __future__ import annotations

import hashlib
import io
from base64 import b64encode
from functools import cached_property
from typing import Any

from PIL import Image

from langchain_vipllava.images.decode import decode_image
from langchain_vipllava.locks import fork_safe_lock

_PNG_LEVEL = 3
"""zlib level of the PNGs written here: chosen for speed; level 6 takes three times as long for 5% fewer bytes."""


class EncodedImage:
    """An image: its encoded bytes, their mime type and hash, and its pixels on demand.

    `ImageAccessPolicy.resolve` makes one where an image comes in; behind that edge nothing opens, fetches or
    converts an image again. It never changes. Bytes are decoded at the first `decode()`, and at most once. An image
    that came as pixels is encoded, as PNG, at the first use of `data`, and at most once.

    Args:
        data: encoded bytes (PNG, JPEG, ...). They are not checked before `decode()`.
        name: what errors call the image.

    Example:
        >>> from PIL import Image
        >>> image = EncodedImage.from_pixels(Image.new("RGB", (64, 48), "red"))
        >>> image.mime_type, image.decode().size
        ('image/png', (64, 48))
    """

    def __init__(self, data: bytes, *, name: str = "the image") -> None:
        self._bytes: bytes | None = data
        self._pixels: Image.Image | None = None
        self._name = name
        self._lock = fork_safe_lock()

    @classmethod
    def from_pixels(cls, pixels: Image.Image) -> EncodedImage:
        """Wrap upright RGB pixels. The caller hands `pixels` over and does not change them afterwards."""
        image = cls(b"")
        image._bytes, image._pixels = None, pixels
        return image

    @property
    def data(self) -> bytes:
        """The encoded bytes: as they came, or a PNG of the pixels."""
        with self._lock:
            if self._bytes is None:
                assert self._pixels is not None  # noqa: S101  # one of both is always there
                buffer = io.BytesIO()
                self._pixels.save(buffer, format="PNG", compress_level=_PNG_LEVEL)
                self._bytes = buffer.getvalue()
            return self._bytes

    @property
    def base64(self) -> str:
        """`data` as base64 text, as content blocks carry it."""
        return b64encode(self.data).decode("ascii")

    def decode(self) -> Image.Image:
        """Return the upright RGB pixels (EXIF orientation applied). Shared: copy them before you draw on them.

        Raises:
            ImageError: the bytes are not an image, truncated, or too large.
        """
        with self._lock:
            if self._pixels is None:
                assert self._bytes is not None  # noqa: S101  # one of both is always there
                self._pixels = decode_image(self._bytes, self._name)
            return self._pixels

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, upright. Decodes the image."""
        return self.decode().size

    @cached_property
    def mime_type(self) -> str:
        """The type that the bytes themselves show, whatever anybody called them."""
        return sniff_mime_type(self.data) or "application/octet-stream"

    @cached_property
    def sha256(self) -> str:
        """Hex digest of `data`."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def is_encoded(self) -> bool:
        """Whether bytes are there, so that `sha256` costs no encoding."""
        return self._bytes is not None

    @property
    def in_memory(self) -> tuple[bytes | Image.Image, ...]:
        """What it holds at the moment: its encoded bytes, its pixels, or both. To count them, not to use them."""
        return tuple(part for part in (self._bytes, self._pixels) if part is not None)

    @cached_property
    def pixel_digest(self) -> bytes:
        """SHA-256 of size and pixels: equal for equal pixels, whatever their encoding. Decodes the image."""
        pixels = self.decode()
        return hashlib.sha256(repr(pixels.size).encode() + pixels.tobytes()).digest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EncodedImage):
            return NotImplemented
        return self is other or self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __deepcopy__(self, memo: dict[int, Any]) -> EncodedImage:
        """Shared by copies: it never changes."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return EncodedImage, (self.data,)

    def __repr__(self) -> str:
        # LangChain's cache identifies what it cannot serialize by its repr: this one names the content
        return f"EncodedImage({self.mime_type}, sha256-{self.sha256})"


_SIGNATURES = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"BM": "image/bmp",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
}
"""The first bytes of each encoding."""

_CONTAINERS = {b"WEBP": "image/webp", b"ftypavif": "image/avif", b"ftypheic": "image/heic"}
"""Encodings whose name stands behind a length: after 8 bytes (RIFF), or 4 (ISO media)."""


def sniff_mime_type(data: bytes) -> str | None:
    r"""Return the mime type that the first bytes of an encoded image show, or None.

    Example:
        >>> sniff_mime_type(b"\x89PNG..."), sniff_mime_type(b"%PDF-1.7")
        ('image/png', None)
    """
    for signature, mime_type in _SIGNATURES.items():
        if data.startswith(signature):
            return mime_type
    return _CONTAINERS.get(data[8:12] if data.startswith(b"RIFF") else data[4:12])
