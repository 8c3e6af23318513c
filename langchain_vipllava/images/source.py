"""`ImageSource`: everything that people pass where an image is expected, and the one function that tells it apart."""

from __future__ import annotations

import os
from typing import IO, Literal

import numpy as np
from PIL import Image

from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.inline import Base64Text

ImageSource = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | np.ndarray | EncodedImage | Base64Text
"""A path, an http(s)://, file:// or data: URI, encoded bytes, a binary file object, a PIL image, an array, an
`EncodedImage`, an `ImageId`, or base64 as `Base64Text`."""

SourceKind = Literal["data", "url", "file", "id", "value"]
"""What a source is: a data: URI, a URL to fetch, the name of a file, the id of a stored image, or the image itself."""


class ImageId(str):
    """The id of a stored image, where an image is expected."""

    __slots__ = ()


def source_kind(source: object) -> SourceKind:
    """Tell what a source is. Whatever opens, keeps or caches images asks here, so that no two disagree.

    A text that begins with `data:`, `http:` or `https:` never names a file, whatever files there are.

    Example:
        >>> source_kind("photo.png"), source_kind("DATA:image/png;base64,AAAA"), source_kind("data:/../secret.png")
        ('file', 'data', 'data')
    """
    if isinstance(source, ImageId):
        return "id"
    if isinstance(source, os.PathLike):
        return "file"
    if not isinstance(source, str):
        return "value"
    # the longest of these schemes, and no more of a text of megabytes
    scheme, colon, _ = source.lstrip()[: len("https:")].lower().partition(":")
    if colon and scheme == "data":
        return "data"
    return "url" if colon and scheme in ("http", "https") else "file"
