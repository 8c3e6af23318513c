"""Detections that come as columns: an (N, 4) table of boxes, N scores, N classes, N masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.formats.context import Row
from langchain_vipllava.regions.formats.geometry import Size
from langchain_vipllava.regions.formats.values import describe, field, items, numbers


def table(boxes: Any, width: int = 4) -> np.ndarray:
    """Read boxes as an (N, width) array; box classes of detectron2 and mmdet keep theirs under `.tensor`."""
    inner = field(boxes, "tensor")
    array = numbers(boxes if inner is None else inner, "the boxes")
    if array.size == 0:
        return np.zeros((0, width))
    if array.ndim == 1 and array.size == width:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != width:
        raise DetectionError(f"the boxes are {describe(boxes)}; expected shape (N, {width}).")
    return array


def columns(
    boxes: Any,
    *,
    box_format: str = "xyxy",
    scores: Any = None,
    names: Any = None,
    classes: Any = None,
    masks: Any = None,
    ids: Any = None,
    image_size: Size | None = None,
) -> Iterator[Row]:
    """One row a box. `classes` may hold ids or names; a column that is None is left out."""
    boxes = table(boxes)
    count = len(boxes)
    scores = column(scores, count, "scores")
    names = column(names, count, "names")
    classes = column(classes, count, "classes")
    ids = column(ids, count, "ids")
    if masks is not None and len(masks) != count:
        raise DetectionError(f"it has {count} boxes but {len(masks)} masks; expected one a box.")
    for number, box in enumerate(boxes):
        yield named(
            Row(
                box=box,
                box_format=box_format,
                mask=None if masks is None else masks[number],
                label=names[number],
                score=scores[number],
                id=ids[number],
                image_size=image_size,
            ),
            classes[number],
        )


def column(values: Any, count: int, what: str) -> list[Any]:
    """Read a column of `count` values; None is a column of None."""
    if values is None:
        return [None] * count
    listed = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in items(values)]
    if len(listed) != count:
        raise DetectionError(f"it has {count} boxes but {len(listed)} {what}; expected one a box.")
    return listed


def named(row: Row, name_or_class: Any) -> Row:
    """The row with a value that is a name where it is text, and a class id where it is a number."""
    if name_or_class is None:
        return row
    if isinstance(name_or_class, str):
        return replace(row, label=row.label or name_or_class)
    return replace(row, class_id=name_or_class)
