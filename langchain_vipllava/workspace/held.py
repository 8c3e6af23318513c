"""How many bytes of memory open images hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.pixel_cache import pixel_bytes
from langchain_vipllava.workspace.open_image import OpenImage

_POINT_BYTES = 120
"""A polygon's point as two Python floats in a tuple in a tuple."""

_REGION_BYTES = 1000
"""A region without its mask, polygon and label. Measured with tracemalloc: 900 to 1000."""

_TOKEN_BYTES = 8
"""An id in a tuple; most ids are shared with the tokenizer."""


def held_bytes(images: Iterable[OpenImage], without: Iterable[OpenImage] = ()) -> int:
    """Return the bytes that images hold, files and pixels that several of them share counted once.

    Args:
        images: what to count.
        without: images whose files and pixels belong to somebody else.
    """
    parts: dict[int, int] = {}
    text = 0
    for image in images:
        parts |= {id(part): _size(part) for part in _parts(image)}
        text += sum(_region_bytes(region.label, region.polygon) for region in image.regions.copy().values())
        text += sum(
            2 * len(turn.question) + 2 * len(turn.answer or "") + _TOKEN_BYTES * len(turn.answer_ids or ())
            for view in image.views
            for turn in view.turns.copy()
        )
    for image in without:
        for part in _parts(image):
            parts.pop(id(part), None)
    return sum(parts.values()) + text


def _parts(image: OpenImage) -> Iterator[bytes | Image.Image | np.ndarray]:
    yield from _encoded_parts(image.image)
    regions = list(image.regions.copy().values())
    for marked in (view.marked for view in image.views):
        if marked is None:
            continue
        yield marked.image
        yield marked.original
        yield from _encoded_parts(marked.__dict__.get("encoded"))  # there once it was needed
        regions += marked.regions
    for region in regions:
        if region.mask is not None:
            yield region.mask


def _encoded_parts(image: EncodedImage | None) -> Iterator[bytes | Image.Image]:
    if image is not None:
        yield from image.in_memory


def _size(part: bytes | Image.Image | np.ndarray) -> int:
    if isinstance(part, bytes):
        return len(part)
    if isinstance(part, Image.Image):
        return pixel_bytes(part)
    return int(part.nbytes)


def _region_bytes(label: str | None, polygon: object) -> int:
    points = len(polygon) if isinstance(polygon, tuple) else 0
    return _REGION_BYTES + 2 * len(label or "") + _POINT_BYTES * points
