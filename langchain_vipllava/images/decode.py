"""Encoded bytes to upright RGB pixels."""

from __future__ import annotations

import io

from PIL import ExifTags, Image, UnidentifiedImageError

from langchain_vipllava.errors import ImageError, shorten
from langchain_vipllava.images.pixels import image_to_rgb

MAX_PIXELS = 178_956_970
"""Largest image that is decoded: twice Pillow's warning limit, where Pillow itself raises DecompressionBombError."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that undoes each EXIF orientation."""


def decode_image(data: bytes, name: str) -> Image.Image:
    """Decode an encoded image to upright RGB.

    Args:
        data: PNG, JPEG, WebP, GIF, BMP, TIFF, ...
        name: what errors call the image.

    Raises:
        ImageError: empty, not an image, truncated, without pixels, or too large.
    """
    if not data:
        raise ImageError(f"{shorten(name)} is empty; expected an encoded image (PNG, JPEG, WebP, ...).")
    try:
        image = Image.open(io.BytesIO(data), formats=_formats())
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{shorten(name)} is not an image that Pillow can read; expected PNG, JPEG, WebP, GIF, BMP or TIFF."
        ) from error
    except Exception as error:
        raise ImageError(f"{shorten(name)} cannot be opened as an image: {error}.") from error
    return to_upright_rgb(image, name)


def to_upright_rgb(image: Image.Image, name: str) -> Image.Image:
    """Convert a PIL image of any mode to a new RGB one with its EXIF orientation applied.

    Raises:
        ImageError: without pixels, too large, truncated, or closed.
    """
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
            raise ImageError(f"{shorten(name)} is closed; load it (image.load()) before you close it.") from error
        raise ImageError(f"{shorten(name)} is damaged or truncated: {error}. Get the file again.") from error
    if orientation in _UPRIGHT:
        upright = upright.transpose(_UPRIGHT[orientation])
    upright.info.clear()  # EXIF carries places and names of people
    return upright


def _formats() -> list[str]:
    """Formats that Pillow decodes by itself. For EPS it would run Ghostscript on untrusted bytes."""
    Image.init()
    return [name for name in Image.OPEN if name != "EPS"]


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a damaged EXIF block does not damage the pixels; Pillow raises many types here
        return None
