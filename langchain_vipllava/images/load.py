"""One loader for every image that people have at hand."""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
import threading
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import url2pathname

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from langchain_vipllava.errors import ImageError, shorten
from langchain_vipllava.images.fetch import FetchPolicy, fetch
from langchain_vipllava.images.pixels import array_to_rgb, image_to_rgb

ImageSource = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | np.ndarray
"""What `load_image` takes."""

MAX_PIXELS = 178_956_970
"""Twice Pillow's warning limit: where Pillow itself calls a file a decompression bomb."""

_DATA_URI = re.compile(r"data:[^,]*,", re.IGNORECASE)
_URL = re.compile(r"https?://", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)

_one_at_a_time = threading.Lock()
"""For images and files that are read where they stand: several threads may be given the same one."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation."""


def load_image(
    source: ImageSource,
    *,
    channels: Literal["rgb", "bgr"] = "rgb",
    fetch_policy: FetchPolicy | None = None,
) -> Image.Image:
    """Load an image as upright RGB: EXIF orientation applied, so that detector boxes fit.

    Palette, alpha (over white), grey, CMYK, 16-bit and animated images (first frame) all
    become 8-bit RGB.

    Args:
        source: a path, an `http(s)://`, `file://` or `data:` URI, encoded bytes (PNG, JPEG, ...),
            a file object, a PIL image, or an array of shape (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4): uint8, uint16, bool, or float in 0..1.
        channels: order of the channels of an array: "rgb", or "bgr" as `cv2.imread` gives.
        fetch_policy: timeout, size limit and allowed hosts of a URL.

    Returns:
        A new image of mode RGB; the one given is never changed.

    Raises:
        ImageError: missing file, no image, truncated, without pixels, too large, not fetched.

    Example:
        >>> import numpy as np
        >>> from langchain_vipllava import load_image
        >>> load_image(np.zeros((48, 64), dtype=np.uint8)).size
        (64, 48)
    """
    if channels not in ("rgb", "bgr"):
        raise ImageError(f"channels={channels!r}; expected 'rgb' or 'bgr'.")
    if isinstance(source, Image.Image):
        with _one_at_a_time:
            return _decode(source, "the PIL image")
    if isinstance(source, np.ndarray):
        return array_to_rgb(source, bgr=channels == "bgr")
    if isinstance(source, str):
        return _load_text(source, fetch_policy or FetchPolicy())
    if isinstance(source, os.PathLike):
        return _load_file(Path(os.fsdecode(source)))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _load_bytes(bytes(source), "the bytes")
    if hasattr(source, "read"):
        return _load_bytes(_read_all(source), "the file object")
    raise ImageError(
        f"cannot read an image from {type(source).__name__}; expected a path, URL, data: URI, bytes, file object, "
        "PIL image or numpy array (for a torch tensor: tensor.permute(1, 2, 0).cpu().numpy())."
    )


IMAGE_TYPES = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
    b"BM": "image/bmp",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
}
"""How encoded images begin, and the mime type of each."""


def image_type(data: bytes) -> str | None:
    """The mime type of an encoded image, from its first bytes; None for one that is not known."""
    return next((mime for begin, mime in IMAGE_TYPES.items() if data.startswith(begin)), None)


def encode_image(source: ImageSource) -> bytes | None:
    """An image's encoded bytes: those that were given, or that a data: URI holds, else a PNG; None for a URL to fetch.

    Raises:
        ImageError: see `load_image`.
    """
    if isinstance(source, str) and _DATA_URI.match(source):
        return _read_data_uri(source)
    if isinstance(source, str) and _URL.match(source):
        return None
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    buffer = io.BytesIO()
    load_image(source).save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def _load_text(source: str, policy: FetchPolicy) -> Image.Image:
    if _DATA_URI.match(source):
        return _load_bytes(_read_data_uri(source), "the data: URI")
    if _URL.match(source):
        return _load_bytes(fetch(source, policy), source)
    if source.lower().startswith("file://"):
        return _load_file(_file_of(source))
    if not source.strip():
        raise ImageError("the path is empty; expected a path, an http(s):// URL or a data: URI.")
    if _SCHEME.match(source):
        raise ImageError(f"{shorten(source)} has an unknown scheme; expected http(s)://, file:// or data:.")
    return _load_file(Path(source))


def _file_of(uri: str) -> Path:
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise ImageError(f"{shorten(uri)} is not a file:// URI: {error}.") from error
    if parts.netloc.lower() not in ("", "localhost"):
        raise ImageError(f"{shorten(uri)} is a file of another host; expected file:///path, with three slashes.")
    return Path(url2pathname(parts.path))


def _load_file(path: Path) -> Image.Image:
    try:
        path = path.expanduser()
        if path.is_dir():
            raise ImageError(f"{shorten(str(path))} is a folder; expected an image file.")
        if not path.is_file():
            raise ImageError(f"no file {shorten(str(path))}; expected a path, an http(s):// URL or a data: URI.")
        return _load_bytes(path.read_bytes(), str(path))
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error  # an OSError's own text repeats a path of any length
        raise ImageError(f"cannot read {shorten(str(path))}: {reason}.") from error


def _safe_formats() -> list[str]:
    """Formats that Pillow decodes by itself: for EPS it would run Ghostscript on whatever came."""
    Image.init()
    return [name for name in Image.OPEN if name != "EPS"]


def _read_all(file: Any) -> bytes:
    try:
        with _one_at_a_time:
            if hasattr(file, "seekable") and file.seekable():
                file.seek(0)
            data = file.read()
    except Exception as error:
        raise ImageError(f"cannot read the file object: {error}. Open it in binary mode ('rb').") from error
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise ImageError(f"the file object gave {type(data).__name__}; open it in binary mode ('rb').")
    return bytes(data)


def _read_data_uri(uri: str) -> bytes:
    head, _, payload = uri.partition(",")
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(payload)
    try:
        return base64.b64decode(b"".join(unquote_to_bytes(payload).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"the data: URI {head},... is not valid base64 ({error}); encode the file again.") from error


def _load_bytes(data: bytes, name: str) -> Image.Image:
    if not data:
        raise ImageError(f"{shorten(name)} is empty; expected an encoded image (PNG, JPEG, WebP, ...).")
    try:
        image = Image.open(io.BytesIO(data), formats=_safe_formats())
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{shorten(name)} is not an image that Pillow can read; expected PNG, JPEG, WebP, GIF, BMP or TIFF."
        ) from error
    except Exception as error:
        raise ImageError(f"{shorten(name)} cannot be opened as an image: {error}.") from error
    return _decode(image, name)


def _decode(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{shorten(name)} is {width} x {height} pixels; expected at least 1 x 1.")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{shorten(name)} is {width} x {height} pixels; expected at most {MAX_PIXELS}. Shrink it.")
    try:
        image.load()
        orientation = _orientation(image)
        upright = image_to_rgb(image)
    except ImageError:
        raise
    except Exception as error:
        if getattr(image, "fp", image) is None and not str(error):
            raise ImageError(f"{shorten(name)} is closed; load it (image.load()) before that.") from error
        raise ImageError(f"{shorten(name)} is damaged or truncated: {error}. Get the file again.") from error
    if orientation in _UPRIGHT:
        upright = upright.transpose(_UPRIGHT[orientation])
    upright.info.clear()
    return upright


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a damaged EXIF block does not damage the pixels; what it raises has no common type
        return None
