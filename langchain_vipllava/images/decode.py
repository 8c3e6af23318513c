"""Encoded bytes to upright RGB pixels, within limits."""

from __future__ import annotations

import io
import sys
from contextlib import ExitStack
from importlib import import_module

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from langchain_vipllava.errors import ImageError, shorten
from langchain_vipllava.images.av1 import stream_sizes
from langchain_vipllava.images.decoder_memory import UNMEASURED, WEBP, bytes_per_pixel
from langchain_vipllava.images.decoding_room import DECODING
from langchain_vipllava.images.headers import (
    MAX_EXIF_BYTES,
    MAX_PARTS,
    MAX_SCANS,
    JpegHeader,
    png_chunks,
    read_jpeg_header,
    webp_size,
)
from langchain_vipllava.images.limits import DEFAULT_LIMITS, ImageLimits
from langchain_vipllava.images.lookalikes import advice
from langchain_vipllava.images.media_boxes import has_excessive_exif
from langchain_vipllava.images.pixels import image_to_rgb
from langchain_vipllava.images.quiet import quiet_pillow
from langchain_vipllava.images.tiff_tags import MAX_TAG_VALUES, read_tags

_PLUGINS = {
    "JPEG": "JpegImagePlugin",
    "PNG": "PngImagePlugin",
    "WEBP": "WebPImagePlugin",
    "GIF": "GifImagePlugin",
    "BMP": "BmpImagePlugin",
    "TIFF": "TiffImagePlugin",
    "MPO": "MpoImagePlugin",
    "AVIF": "AvifImagePlugin",
}
"""Pillow's modules of the default formats; HEIF is a plugin of its own."""

_HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
"""Brands of HEIF files, as phones write them."""

_READS_PER_PART = 4
"""How often Pillow reads from a file for a segment of a JPEG: twice a byte, its length, its content."""

_MAX_RLE_BYTES = 4 * 2**20
"""Size of a BMP in run lengths, which Pillow decodes in Python. Chosen: 2 seconds; 48 MB took 27."""

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


class _CountedFile(io.BytesIO):
    """An encoded image that Pillow opens with a bounded number of reads: it reads each part of a header in Python.

    Attributes:
        reads_left: reads until it raises an `ImageError`.
    """

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self._name = name
        self.reads_left = _READS_PER_PART * MAX_PARTS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise _too_many_parts(self._name)
        return super().read(size)


def decode_image(data: bytes, name: str, limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """Decode an encoded image to upright RGB; of several frames, the first.

    Args:
        data: PNG, JPEG, WebP, GIF, BMP, TIFF, ...
        name: what errors call the image.
        limits: checked before anything is decoded.

    Raises:
        ImageError: empty, not an image of an allowed format, truncated, without pixels, or too large.
    """
    if not data:
        raise ImageError(f"{shorten(name)} is empty; expected an encoded image (PNG, JPEG, WebP, ...).")
    limits.check_bytes(len(data), name)
    with quiet_pillow(), ExitStack() as room:
        _check_before_opening(data, name, limits)
        if size := webp_size(data):  # libwebp allocates when it opens a file
            room.enter_context(DECODING.enter(WEBP * size[0] * size[1], limits.max_memory))
        image, bytes_needed = _open(data, name, limits)
        limits.check_size(*image.size, name)
        limits.check_memory(bytes_needed, image.size, len(data), name, image.format or "image")
        _check_time(image, data, name)
        need = int(bytes_needed * image.width * image.height) + len(data)
        room.enter_context(DECODING.enter(need, limits.max_memory))
        return _load(image, name)


def to_upright_rgb(image: Image.Image, name: str, limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """Convert a PIL image of any mode to a new RGB one with its EXIF orientation applied.

    Raises:
        ImageError: without pixels, too large, truncated, closed, or a file of another format that was not loaded.
    """
    try:
        width, height = map(int, image.size)
    except Exception as error:  # whatever a subclass makes of it
        raise ImageError(f"{shorten(name)} has no size: {error}; expected (width, height) in pixels.") from error
    limits.check_size(width, height, name)
    # the `load` of an EPS file runs Ghostscript
    waits = isinstance(image, ImageFile.ImageFile) and (image.tile or image._im is None)
    if waits and image.format not in limits.formats:
        raise ImageError(
            f"{shorten(name)} is a file of format {shorten(image.format)} that was not loaded; expected "
            f"{_listed(limits)}. Load it (image.load()) before you pass it, if you trust it."
        )
    with quiet_pillow():
        return _load(image, name)


def _load(image: Image.Image, name: str) -> Image.Image:
    try:
        image.load()
        upright = image_to_rgb(image, _UPRIGHT.get(_orientation(image, name)))
    except ImageError:
        raise
    except MemoryError as error:
        raise _no_memory(name) from error
    except Exception as error:
        if getattr(image, "fp", image) is None and not str(error):
            raise ImageError(f"{shorten(name)} is closed; load it (image.load()) before you close it.") from error
        raise ImageError(f"{shorten(name)} is damaged or truncated: {error}. Get the file again.") from error
    upright.info.clear()  # EXIF carries places and names of people
    return upright


def _no_memory(name: str) -> ImageError:
    return ImageError(f"there is not enough memory to decode {shorten(name)}; shrink the image.")


def _check_before_opening(data: bytes, name: str, limits: ImageLimits) -> None:
    """Check what Pillow allocates in order to open a file."""
    if size := webp_size(data):
        limits.check_size(*size, name)
        limits.check_memory(WEBP, size, len(data), name, "WEBP")
    elif data[4:8] == b"ftyp":
        for size in stream_sizes(data):
            limits.check_size(*size, name)
            limits.check_memory(UNMEASURED, size, len(data), name, "AVIF")
        if has_excessive_exif(data):
            raise _too_many_tags(name)
    elif data.startswith(b"\xff\xd8"):
        _check_jpeg(read_jpeg_header(data), name)
    elif png_chunks(data) > MAX_PARTS:
        raise _too_many_parts(name)
    elif read_tags(data).excessive:
        raise _too_many_tags(name)


def _check_jpeg(header: JpegHeader, name: str) -> None:
    if header.parts > MAX_PARTS:
        raise _too_many_parts(name)
    if len(header.exif) > MAX_EXIF_BYTES:
        raise ImageError(f"{shorten(name)} has more than {MAX_EXIF_BYTES:,} bytes of EXIF; save it without.")
    if read_tags(header.exif).excessive or read_tags(header.index).excessive:
        raise _too_many_tags(name)
    if header.scans > MAX_SCANS:
        raise ImageError(f"{shorten(name)} has more than {MAX_SCANS} scans; save it again.")


def _check_time(image: Image.Image, data: bytes, name: str) -> None:
    decoders = [tile.codec_name for tile in getattr(image, "tile", ())]
    if "bmp_rle" in decoders and len(data) > _MAX_RLE_BYTES:
        raise ImageError(f"{shorten(name)} is a run-length BMP of more than {_MAX_RLE_BYTES:,} bytes; save it as PNG.")


def _too_many_parts(name: str) -> ImageError:
    return ImageError(f"{shorten(name)} has more than {MAX_PARTS:,} parts beside its pixels; save it again, without.")


def _too_many_tags(name: str) -> ImageError:
    return ImageError(
        f"{shorten(name)} has more than {MAX_TAG_VALUES:,} numbers in its tags, or more bytes in them than in the "
        "file; save it without."
    )


def _open(data: bytes, name: str, limits: ImageLimits) -> tuple[Image.Image, float]:
    """Open an image, without decoding it, and find out how many bytes per pixel its decoder needs."""
    file = _CountedFile(data, name)
    try:
        image = Image.open(file, formats=_registered(limits.formats))
        bytes_needed = bytes_per_pixel(image, data)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{shorten(name)} is not an image of an allowed format; expected {_listed(limits)}.{_hint(data, limits)}"
        ) from error
    except Image.DecompressionBombError as error:  # twice Image.MAX_IMAGE_PIXELS, which a program can raise
        raise ImageError(
            f"{shorten(name)} has too many pixels for Pillow; expected at most {limits.max_pixels:,}. Shrink the image."
        ) from error
    except MemoryError as error:
        raise _no_memory(name) from error
    except Exception as error:
        raise ImageError(f"{shorten(name)} cannot be opened as an image: {error}.") from error
    file.reads_left = sys.maxsize
    if image.format not in limits.formats:  # the decoder of JPEG opens MPO too
        raise ImageError(f"{shorten(name)} is a {image.format}; expected {_listed(limits)}.")
    return image, bytes_needed


def _registered(formats: tuple[str, ...]) -> list[str]:
    """Return the formats that Pillow has a decoder for, after loading those of them that are its own."""
    for name in formats:
        if name in _PLUGINS:
            import_module(f"PIL.{_PLUGINS[name]}")
    return [name for name in formats if name in Image.OPEN]


def _hint(data: bytes, limits: ImageLimits) -> str:
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC and "HEIF" in limits.formats and "HEIF" not in Image.OPEN:
        return " For HEIC: pip install pillow-heif, then pillow_heif.register_heif_opener()."
    return advice(data)


def _listed(limits: ImageLimits) -> str:
    return ", ".join(name for name in limits.formats if name == "MPO" or name in _registered((name,)))


def _orientation(image: Image.Image, name: str) -> int:
    exif = image.info.get("exif") or _hex_profile(image.info.get("Raw profile type exif"))
    if isinstance(exif, bytes) and len(exif) > MAX_EXIF_BYTES:
        return 1
    if isinstance(exif, bytes) and read_tags(exif).excessive:
        raise _too_many_tags(name)
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a damaged EXIF block does not damage the pixels; Pillow raises many types here
        return 1


def _hex_profile(text: object) -> bytes:
    """Return the EXIF of a PNG that ImageMagick wrote as text, as Pillow reads it."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:])) if isinstance(text, str) else b""
    except ValueError:  # Pillow says what is wrong with it
        return b""
