"""What the model sees of an image: a square, a few hundred pixels wide."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from langchain_vipllava.errors import ImageError
from langchain_vipllava.images.limits import DEFAULT_LIMITS

ImageFit = Literal["pad", "center_crop"]
"""How an image becomes square: "pad" shows all of it, as in training; "center_crop" cuts the long sides off."""

CLIP_MEAN_COLOR = (122, 116, 104)
"""CLIP's mean pixel in 0..255: the color with which ViP-LLaVA's training padded images."""

VIEW_SIZE = 336
"""Side of the square that ViP-LLaVA's vision tower (CLIP ViT-L/14-336) reads, in pixels."""


def view_size_of(answerer: object) -> int:
    """Return the side of the square that a backend, a chat model or a vision model reads of an image, in pixels.

    Args:
        answerer: its `view_size`; without one, that of the published checkpoints.
    """
    side = getattr(answerer, "view_size", None)
    return side if isinstance(side, int) and side > 0 else VIEW_SIZE


def padding_color(image_mean: object) -> tuple[int, int, int]:
    """Return the color with which training pads images, that of an image processor's mean; without one, CLIP's.

    Args:
        image_mean: three numbers in 0..1, red first, as an image processor subtracts them.
    """
    if isinstance(image_mean, (list, tuple)) and len(image_mean) == len(CLIP_MEAN_COLOR):
        with suppress(TypeError, ValueError, OverflowError):  # the processor says what is wrong with them
            red, green, blue = (min(max(int(mean * 255), 0), 255) for mean in image_mean)  # cut, as in training
            return red, green, blue
    return CLIP_MEAN_COLOR


def make_square(image: Image.Image, fit: ImageFit, color: tuple[int, int, int] = CLIP_MEAN_COLOR) -> Image.Image:
    """Make an RGB image square, with padding of this color."""
    return pad_to_square(image, color) if fit == "pad" else crop_to_square(image)


def pad_to_square(image: Image.Image, color: tuple[int, int, int] = CLIP_MEAN_COLOR) -> Image.Image:
    """Pad an image to a square, with the image in the middle; nothing of it is lost.

    The checkpoint's own processor would scale the short side and cut the long one off.

    Args:
        image: RGB image of any size.
        color: RGB of the padding.

    Returns:
        An image of side `max(width, height)`; `image` itself if it is square.

    Raises:
        ImageError: the square would have more pixels than `ImageLimits` allows an image by default.

    Example:
        >>> from PIL import Image
        >>> pad_to_square(Image.new("RGB", (300, 100))).size
        (300, 300)
    """
    width, height = image.size
    if width == height:
        return image
    side = max(width, height)
    if side * side > DEFAULT_LIMITS.max_pixels:
        raise ImageError(
            f"padding {width} x {height} pixels makes {side} x {side}; expected at most "
            f"{DEFAULT_LIMITS.max_pixels:,} pixels. Shrink the image first: image.thumbnail((1024, 1024))."
        )
    square = Image.new("RGB", (side, side), color)
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def crop_to_square(image: Image.Image) -> Image.Image:
    """Cut the middle square out of an image: its ends are lost."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


@dataclass(frozen=True)
class View:
    """Scale of an image in the padded square that the model reads.

    Attributes:
        image_size: (width, height) of the image in pixels.
        side: side of the model's square in pixels.
    """

    image_size: tuple[int, int]
    side: int = VIEW_SIZE

    @property
    def scale(self) -> float:
        """Model pixels per image pixel."""
        return self.side / max(self.image_size)

    def size_of(self, box: tuple[float, float, float, float]) -> tuple[float, float]:
        """Width and height of an image's box `(x0, y0, x1, y1)`, in pixels of the model's square."""
        x0, y0, x1, y1 = box
        return (x1 - x0) * self.scale, (y1 - y0) * self.scale
