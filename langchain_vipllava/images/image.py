"""`EncodedImage`: the one value that carries an image through the package."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import partial
from typing import Any
from weakref import ref

from PIL import Image

from langchain_vipllava.errors import ImageError
from langchain_vipllava.images.decode import decode_image
from langchain_vipllava.images.inline import Base64Text, decode_base64
from langchain_vipllava.images.limits import DEFAULT_LIMITS, ImageLimits
from langchain_vipllava.images.pixel_cache import PIXELS
from langchain_vipllava.images.png import encode_png
from langchain_vipllava.images.pydantic_value import value_schema
from langchain_vipllava.locks import cached_property, fork_safe_lock

_BLOCK_PIXELS = 2**20
"""Pixels that are hashed at once. Chosen: 7 MiB of copies, where the whole of a large image would be 900 MB."""


class EncodedImage:
    """An image: its encoded bytes, their mime type and hash, and its pixels on demand.

    `ImageAccessPolicy.resolve` makes one where an image comes in; behind that edge nothing opens, fetches or
    converts an image again. It never changes. Bytes are decoded at the first `decode()`; the pixels stay as long as
    somebody uses them, and a while longer in a cache that the process shares. An image that came as pixels is
    encoded, as PNG, at the first use of `data`, and at most once.

    Args:
        data: encoded bytes (PNG, JPEG, ...). They are not checked before `decode()`.
        name: what errors call the image.
        limits: within which `decode()` decodes.

    Example:
        >>> from PIL import Image
        >>> image = EncodedImage.from_pixels(Image.new("RGB", (64, 48), "red"))
        >>> image.mime_type, image.decode().size
        ('image/png', (64, 48))
    """

    def __init__(self, data: bytes, *, name: str = "the image", limits: ImageLimits = DEFAULT_LIMITS) -> None:
        self._bytes: bytes | None = data
        self._pixels: Image.Image | None = None
        self._decoded: ref[Image.Image] | None = None
        self._size: tuple[int, int] | None = None
        self._name = name
        self._limits = limits
        self._lock = fork_safe_lock()

    @classmethod
    def from_pixels(cls, pixels: Image.Image) -> EncodedImage:
        """Wrap upright RGB pixels. The caller hands `pixels` over and does not change them afterwards."""
        image = cls(b"")
        image._bytes, image._pixels, image._size = None, pixels, pixels.size
        return image

    @property
    def data(self) -> bytes:
        """The encoded bytes: as they came, or a PNG of the pixels."""
        with self._lock:
            if self._bytes is None:
                assert self._pixels is not None  # noqa: S101  # one of both is always there
                try:
                    self._bytes = encode_png(self._pixels)
                except MemoryError as error:
                    raise ImageError("there is not enough memory to encode the image; shrink it.") from error
            return self._bytes

    @property
    def base64(self) -> str:
        """`data` as base64 text, as content blocks carry it."""
        return b64encode(self.data).decode("ascii")

    def decode(self, *, keep: bool = True) -> Image.Image:
        """Return the upright RGB pixels (EXIF orientation applied). Shared: copy them before you draw on them.

        Args:
            keep: whether they go into the cache of the process, for the next call.

        Raises:
            ImageError: the bytes are not an image, truncated, or too large.
        """
        with self._lock:
            pixels = self._pixels or (self._decoded() if self._decoded is not None else None)
            if pixels is None:
                assert self._bytes is not None  # noqa: S101  # one of both is always there
                pixels = decode_image(self._bytes, self._name, self._limits)
                self._decoded, self._size = ref(pixels), pixels.size
        if keep and self._pixels is None:
            PIXELS.keep(pixels)
        return pixels

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, upright. Decodes the image the first time."""
        return self._size or self.decode().size

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
        digest = hashlib.sha256(repr(pixels.size).encode())
        rows = max(1, _BLOCK_PIXELS // pixels.width)
        for top in range(0, pixels.height, rows):
            digest.update(pixels.crop((0, top, pixels.width, min(top + rows, pixels.height))).tobytes())
        return digest.digest()

    def model_dump(self) -> dict[str, Any]:
        """Return what makes an equal image: `EncodedImage(**image.model_dump())`. LangGraph's serializer calls it."""
        return {"data": self.data}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """A field of a pydantic model takes an encoded image, its base64 as `{"base64": ...}`, or `model_dump()`."""

        def read(value: dict[str, Any]) -> EncodedImage:
            if isinstance(value.get("data"), bytes):
                return cls(value["data"])
            if not isinstance(value.get("base64"), str):
                raise ImageError("expected an EncodedImage, or an image as {'base64': ...}.")
            return cls(decode_base64(Base64Text(value["base64"]), DEFAULT_LIMITS))

        return value_schema(cls, read, lambda image: {"base64": image.base64, "mime_type": image.mime_type})

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
        return partial(EncodedImage, limits=self._limits), (self.data,)

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
