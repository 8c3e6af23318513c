"""`ImageLimits`: how large an image may be, and in which formats."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_vipllava.errors import ImageError, expect_positive, shorten

DEFAULT_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO", "AVIF", "HEIF")
"""Pillow's names of the formats that are decoded by default. HEIF (HEIC) needs the plugin of pillow-heif. Each other
decoder is one more that strangers can feed: Pillow's FITS decoder took 4.2 GiB for 2 MB (CVE-2026-40192)."""

_NEVER = frozenset({"EPS", "PDF", "PS", "WMF", "EMF"})
"""Formats that a program decodes on Pillow's behalf: Ghostscript for PostScript, Windows' GDI for metafiles."""

PEAK_BYTES_PER_PIXEL = 10
"""Memory that an image takes at most on its way in, in bytes per pixel of `ImageLimits.max_pixels`. Chosen: two RGB
images of Pillow (4 bytes per pixel each), the decoded one and its upright copy, and the encoded bytes."""


@dataclass(frozen=True)
class ImageLimits:
    """How large an image may be, and in which formats. Checked before an image is decoded.

    An image that is let in takes at most 10 bytes of memory per pixel of `max_pixels` while it is read, whatever it
    claims to be. A decoder that takes more than that per pixel, such as WebP's, is asked for fewer pixels.

    Attributes:
        max_bytes: size of the encoded image. The default of 50 MiB is above the largest JPEG that cameras write.
        max_pixels: width times height. The default of 89,478,485 is where Pillow begins to warn: 256 MiB as 8-bit RGB.
        max_side: width, and height. The default of 65,535 is the longest side that JPEG can express.
        formats: Pillow's names of the formats that are decoded: by default JPEG, PNG, WebP, GIF, BMP, TIFF, MPO, AVIF,
            and HEIF where the plugin of pillow-heif is registered. EPS, PDF and metafiles cannot be among them,
            because decoding them runs a program.

    Raises:
        ImageError: a bound below 1, a format that runs a program, or one that Pillow does not have.

    Example:
        >>> from langchain_vipllava import ImageLimits
        >>> small = ImageLimits(max_pixels=4_000_000)
        >>> more = ImageLimits(formats=(*ImageLimits().formats, "JPEG2000"))
    """

    max_bytes: int = 50 * 2**20
    max_pixels: int = 89_478_485
    max_side: int = 65_535
    formats: tuple[str, ...] = DEFAULT_FORMATS

    def __post_init__(self) -> None:
        expect_positive(self, ("max_bytes", "max_pixels", "max_side"), ImageError)
        given: object = self.formats
        if not isinstance(given, (tuple, list)) or not all(isinstance(name, str) for name in given):
            raise ImageError(f"formats={shorten(self.formats)}; expected Pillow's names, such as ('JPEG', 'PNG').")
        formats = tuple(name.upper() for name in self.formats)
        object.__setattr__(self, "formats", formats)
        if forbidden := sorted(_NEVER.intersection(formats)):
            raise ImageError(f"formats has {', '.join(forbidden)}, which a program decodes: convert them beforehand.")
        if added := set(formats) - set(DEFAULT_FORMATS):
            _check_known(added)

    @property
    def max_memory(self) -> int:
        """Bytes of memory that an image takes at most while it is read."""
        return PEAK_BYTES_PER_PIXEL * self.max_pixels

    def check_bytes(self, count: int, name: str) -> None:
        """Check the size of an encoded image.

        Raises:
            ImageError: it is too large.
        """
        if count > self.max_bytes:
            raise ImageError(
                f"{shorten(name)} has more than {self.max_bytes:,} bytes. Shrink the image; the program can allow more "
                "with ImageLimits(max_bytes=...)."
            )

    def check_size(self, width: int, height: int, name: str) -> None:
        """Check the size of an image in pixels.

        Raises:
            ImageError: it is too large, or without pixels.
        """
        size = f"{shorten(name)} is {width} x {height} pixels"
        if width < 1 or height < 1:
            raise ImageError(f"{size}; expected at least 1 x 1.")
        if max(width, height) > self.max_side:
            raise ImageError(f"{size}; expected sides of at most {self.max_side:,}. Shrink the image, or crop it.")
        if width * height > self.max_pixels:
            raise ImageError(f"{size}; expected at most {self.max_pixels:,} pixels. Shrink the image.")

    def check_memory(self, bytes_per_pixel: float, size: tuple[int, int], encoded: int, name: str, kind: str) -> None:
        """Check what decoding an image takes.

        Args:
            bytes_per_pixel: memory of the decoder, its result included.
            size: (width, height) in pixels.
            encoded: size of the encoded image in bytes.
            name: what errors call the image.
            kind: what errors call its format.

        Raises:
            ImageError: it is more than an image may take.
        """
        if bytes_per_pixel * size[0] * size[1] + encoded > self.max_memory:
            raise ImageError(
                f"{shorten(name)} is {size[0]} x {size[1]} pixels, and decoding this {kind} takes "
                f"{bytes_per_pixel:g} bytes per pixel; expected at most {self.max_memory:,} bytes in all. Shrink the "
                "image, or save it as PNG."
            )


def _check_known(formats: set[str]) -> None:
    from PIL import Image  # noqa: PLC0415  # loads every plugin of Pillow: only for formats that a program adds

    Image.init()
    if unknown := sorted(formats - Image.OPEN.keys()):
        raise ImageError(
            f"formats has {', '.join(unknown)}; expected some of {', '.join(sorted(Image.OPEN.keys() - _NEVER))}. "
            "Register the plugin of a format before you name it."
        )


DEFAULT_LIMITS = ImageLimits()
"""What holds where nobody says otherwise."""
