"""Images that are passed by value: bytes, file objects, PIL images, arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from langchain_vipllava.errors import ImageError
from langchain_vipllava.images.decode import to_upright_rgb
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.inline import Base64Text, decode_base64
from langchain_vipllava.images.limits import ImageLimits
from langchain_vipllava.images.pixels import array_to_rgb, check_shape
from langchain_vipllava.locks import fork_safe_lock

_read_lock = fork_safe_lock()
"""Held while a PIL image or a file object is read: several threads may pass the same one."""


def read_value(source: Any, limits: ImageLimits, *, bgr: bool) -> EncodedImage:
    """Turn an image that is passed by value into an `EncodedImage`.

    Args:
        source: an `ImageSource` that names nothing.
        limits: how large it may be.
        bgr: whether the channels of an array are blue, green, red.

    Raises:
        ImageError: not an image, or too large.
    """
    if isinstance(source, EncodedImage):
        return source
    if isinstance(source, (bytes, bytearray, memoryview)):
        return encoded(source, "the bytes", limits)
    if isinstance(source, Base64Text):
        return encoded(decode_base64(source, limits), "the base64", limits)
    if isinstance(source, Image.Image):
        with _read_lock:
            return EncodedImage.from_pixels(to_upright_rgb(source, "the PIL image", limits))
    if isinstance(source, np.ndarray):
        return _read_array(source, limits, bgr=bgr)
    if hasattr(source, "read"):
        return encoded(_read_all(source, limits), "the file object", limits)
    if source is None:
        raise ImageError("the image is None; cv2.imread returns None for a file that it cannot read: check the path.")
    raise ImageError(
        f"cannot read an image from {type(source).__name__}; expected a path, URL, data: URI, bytes, file object, "
        "PIL image or numpy array (for a torch tensor: tensor.permute(1, 2, 0).cpu().numpy())."
    )


def encoded(data: bytes | bytearray | memoryview, name: str, limits: ImageLimits) -> EncodedImage:
    """Return an image of encoded bytes.

    Raises:
        ImageError: there are too many.
    """
    limits.check_bytes(memoryview(data).nbytes, name)
    return EncodedImage(bytes(data), name=name, limits=limits)


def _read_array(array: np.ndarray, limits: ImageLimits, *, bgr: bool) -> EncodedImage:
    height, width = check_shape(array).shape[:2]
    limits.check_size(width, height, "the array")
    try:
        return EncodedImage.from_pixels(array_to_rgb(array, bgr=bgr))
    except MemoryError as error:
        raise ImageError("there is not enough memory to convert the array; shrink it.") from error


def _read_all(file: Any, limits: ImageLimits) -> bytes | bytearray | memoryview:
    try:
        with _read_lock:
            if hasattr(file, "seekable") and file.seekable():
                file.seek(0)
            data = _read_at_most(file, limits.max_bytes + 1)
    except Exception as error:
        raise ImageError(f"cannot read the file object: {error}. Open it in binary mode ('rb').") from error
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise ImageError(f"the file object returned {type(data).__name__}; open it in binary mode ('rb').")
    return data


def _read_at_most(file: Any, max_bytes: int) -> Any:
    try:
        data = file.read(max_bytes)
    except TypeError:  # its `read` takes no size
        return file.read()
    if not isinstance(data, (bytes, bytearray)):
        return data
    parts, size = [data], len(data)
    while parts[-1] and size < max_bytes:  # a raw file may return less than there is
        parts.append(file.read(max_bytes - size))
        size += len(parts[-1])
    return b"".join(parts)
