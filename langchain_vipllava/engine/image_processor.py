"""The image processor of a checkpoint, as the training used it: on Pillow."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import transformers
from PIL import Image

_TORCHVISION_BASES = {"TorchvisionBackend", "BaseImageProcessorFast"}
"""Bases of the image processors on torchvision: of transformers 5.23, and of 4.56."""


@contextmanager
def quiet_about_torchvision() -> Iterator[None]:
    """Hold back the advice of transformers 4 to load the image processor on torchvision, which does not run here."""
    advisor = logging.getLogger("transformers.models.auto.image_processing_auto")

    def is_other(record: logging.LogRecord) -> bool:
        return "use_fast" not in record.getMessage()

    advisor.addFilter(is_other)
    try:
        yield
    finally:
        advisor.removeFilter(is_other)


def pillow_processor(image_processor: Any) -> Any:
    """Return the same image processor on Pillow, as in training; itself if it is one, or none is known.

    With torchvision installed, transformers 5 loads the one on torchvision, whose pixels differ by 1 or 2 of 255.
    """
    kind = type(image_processor)
    if not any(base.__name__ in _TORCHVISION_BASES for base in kind.__mro__):
        return image_processor
    name = kind.__name__.removesuffix("Fast")
    on_pillow: Any = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name, kind)
    return image_processor if on_pillow is kind else on_pillow.from_dict(image_processor.to_dict())


def resizing(image_processor: Any, side: int) -> tuple[int, Image.Resampling]:
    """Return the side to which an image processor resizes a square, and the filter with which it does."""
    size = dict(getattr(image_processor, "size", None) or {})
    resample = getattr(image_processor, "resample", None)
    return (
        int(size.get("shortest_edge") or size.get("height") or side),
        Image.Resampling.BICUBIC if resample is None else Image.Resampling(int(resample)),
    )
