"""The square that the model reads, made without a square of the image's own size."""

from __future__ import annotations

import math

from PIL import Image

from langchain_vipllava.images.view import CLIP_MEAN_COLOR, ImageFit, crop_to_square, make_square

MAX_WHOLE_PIXELS = 2**20
"""Largest square that goes to the checkpoint's image processor as it is, in pixels. Chosen: 1,024 x 1,024; the
processor takes some 20 bytes for each of its pixels."""

_STRIP_PIXELS = 2**20
"""Pixels of a padded image that exist at once."""

_SUPPORT = 3
"""How far the widest of Pillow's filters (Lanczos) reaches, in pixels of its result."""


def model_square(
    image: Image.Image,
    fit: ImageFit,
    side: int,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
    color: tuple[int, int, int] = CLIP_MEAN_COLOR,
) -> Image.Image:
    """Make the square that the checkpoint's image processor turns into what the model reads.

    A padded square has as many pixels as its long side squared: 15,000 x 1 pixels would make 900 MB. So an image
    whose square is large is shrunk first, to what the processor itself would make of the square: its pixels differ
    from that by at most 1 of 255, because Pillow rounds the corners of a part of an image to 32 bits.

    Args:
        image: RGB image of any size.
        fit: how it becomes square.
        side: side to which the processor resizes, in pixels.
        resample: the filter with which it does.
        color: RGB of the padding.

    Returns:
        A square of the image's own size if that is small, else one of side `side`.
    """
    long = max(image.size) if fit == "pad" else min(image.size)
    if long * long <= max(MAX_WHOLE_PIXELS, side * side):
        return make_square(image, fit, color)
    if fit == "center_crop":
        return crop_to_square(image).resize((side, side), resample)
    return _shrink_padded(image, side, resample, color)


def processor_crop(image: Image.Image, side: int, resample: Image.Resampling) -> Image.Image:
    """Return what CLIP's image processor makes of an image that is not padded: its short side resized, the middle cut.

    Cutting the middle out first differs: the filter reads beyond the cut, and the place of the cut is a whole pixel of
    the resized image, not of the image itself. On Pillow, the result is the processor's own. A resized image of more
    than `MAX_WHOLE_PIXELS` is not made: only the cut is, with other roundings, which on noise are up to some 20 of 255.

    Args:
        image: RGB image of any size.
        side: side to which the processor resizes, in pixels.
        resample: the filter with which it does.

    Returns:
        A square of side `side`.
    """
    short = min(image.size)
    resized = [int(side * length / short) for length in image.size]
    starts = [(length - side) // 2 for length in resized]
    if resized[0] * resized[1] <= MAX_WHOLE_PIXELS:
        whole = image.resize((resized[0], resized[1]), resample)
        return whole.crop((starts[0], starts[1], starts[0] + side, starts[1] + side))
    scales = [before / after for before, after in zip(image.size, resized, strict=True)]
    left, top = (start * scale for start, scale in zip(starts, scales, strict=True))
    right, bottom = (
        min((start + side) * scale, length) for start, scale, length in zip(starts, scales, image.size, strict=True)
    )
    return image.resize((side, side), resample, (left, top, right, bottom))


def _shrink_padded(
    image: Image.Image, side: int, resample: Image.Resampling, color: tuple[int, int, int]
) -> Image.Image:
    """Return `pad_to_square(image, color).resize((side, side), resample)`, in strips: rows first, then columns."""
    width, height = image.size
    long = max(width, height)
    across = _Window.of((long - width) // 2, width, long, side)
    down = _Window.of((long - height) // 2, height, long, side)

    rows = max(1, _STRIP_PIXELS // across.source)
    narrow = Image.new("RGB", (across.result, down.source), color)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = Image.new("RGB", (across.source, bottom - top), color)
        strip.paste(image.crop((0, top, width, bottom)), (across.offset, 0))
        box = (across.start, 0.0, across.stop, float(bottom - top))
        narrow.paste(strip.resize((across.result, bottom - top), resample, box), (0, down.offset + top))
    box = (0.0, down.start, float(across.result), down.stop)
    seen = narrow.resize((across.result, down.result), resample, box)
    square = Image.new("RGB", (side, side), color)
    square.paste(seen, (across.first, down.first))
    return square


class _Window:
    """The part of one axis of a padded square that an image reaches: beyond it, all is padding.

    Attributes:
        first, result: the first pixel of the result that the image reaches, and how many it reaches.
        source: pixels of the padded square from which these are computed.
        offset: where the image begins among them.
        start, stop: which part of them becomes the pixels of the result.
    """

    def __init__(self, first: int, last: int, scale: float, begin: int, long: int) -> None:
        left = max(0, math.floor((first - _SUPPORT) * scale))
        right = min(long, math.ceil((last + _SUPPORT) * scale))
        self.first, self.result = first, last - first
        self.source, self.offset = right - left, begin - left
        self.start, self.stop = first * scale - left, min(last * scale - left, self.source)

    @classmethod
    def of(cls, begin: int, length: int, long: int, side: int) -> _Window:
        """Return the window of an image that takes `length` of `long` pixels, from `begin`."""
        scale = long / side
        first = max(0, math.floor(begin / scale) - _SUPPORT)
        last = min(side, math.ceil((begin + length) / scale) + _SUPPORT)
        return cls(first, last, scale, begin, long)
