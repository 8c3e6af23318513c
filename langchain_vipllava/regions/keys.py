"""Keys of rows of any origin, however they are spelled: `className`, `ClassName`, `class-name`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from langchain_vipllava.errors import DetectionError, shorten
from langchain_vipllava.regions.values import first_row, keys_of, rows

_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

_IMAGE_KEYS = (
    "image_id", "filename", "file_name", "image", "image_path", "image_name", "image_url", "img_path", "img_name",
    "frame", "frame_id", "frame_number", "page", "page_number",
)  # fmt: skip
"""Keys that say of which image a row is. Sources: Kaggle's and TensorFlow's CSV files, trackers, DeepForest."""


@lru_cache(maxsize=4096)
def snake_case(key: str) -> str:
    """Spell a key as Python does.

    Example:
        >>> [snake_case(key) for key in ("className", "XMin", "xMin", "LABEL", "bboxXYXY", "class name")]
        ['class_name', 'x_min', 'x_min', 'label', 'bbox_xyxy', 'class_name']
    """
    return re.sub(r"[\s-]+", "_", _WORD_STARTS.sub("_", key.strip())).lower()


def usual(source: Any) -> Any:
    """Return a mapping with its keys also in snake case; anything else as it is. A key that is there already wins."""
    with suppress(Exception):  # of a foreign class
        if isinstance(source, Mapping) and any(key != snake_case(key) for key in keys_of(source)):
            return {**{snake_case(key): source[key] for key in source if isinstance(key, str)}, **source}
    return source


def usual_first(output: Any) -> Mapping[str, Any]:
    """Return the first mapping of a list, or the output if it is a mapping, with keys also in snake case."""
    found: Mapping[str, Any] = usual(first_row(output))
    return found


def usual_rows(output: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every mapping of a list of mappings, with keys also in snake case.

    Raises:
        DetectionError: they are of several images.
        ValueError: an item is not a mapping.
    """
    spelled = [usual(row) for row in ([output] if isinstance(output, Mapping) else output)]
    for key in _IMAGE_KEYS:
        images = {
            row[key]: None for row in spelled if isinstance(row, Mapping) and isinstance(row.get(key), (str, int))
        }
        if len(images) > 1:
            shown = ", ".join(shorten(image, 30) for image in list(images)[:2])
            raise DetectionError(
                f"its rows are of {len(images)} images ({key} is {shown}); keep those of one: "
                f"[row for row in rows if row[{key!r}] == ...]."
            )
    yield from rows(spelled)
