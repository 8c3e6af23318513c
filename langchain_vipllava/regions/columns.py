"""Detections as columns: an (N, 4) array of boxes, N scores, N classes, N masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.geometry import BoxFormat, Size
from langchain_vipllava.regions.limits import DEFAULT_LIMITS, RegionLimits
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import describe, field, items, numbers


def box_array(boxes: Any) -> np.ndarray:
    """Convert boxes to an (N, 4) array. The box classes of detectron2 and mmdet hold theirs in `.tensor`.

    Raises:
        DetectionError: another shape, or not numbers.
    """
    inner = field(boxes, "tensor")
    array = numbers(boxes if inner is None else inner, "the boxes")
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim == 1 and array.size == 4:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != 4:
        raise DetectionError(f"the boxes are {describe(boxes)}; expected shape (N, 4).")
    return array


def columns(
    boxes: Any,
    *,
    box_format: BoxFormat = "xyxy",
    scores: Any = None,
    names: Any = None,
    classes: Any = None,
    masks: Any = None,
    ids: Any = None,
    image_size: Size | None = None,
    limits: RegionLimits = DEFAULT_LIMITS,
) -> Iterator[Row]:
    """Yield one row per box. `classes` may hold ids or names. A column that is None is omitted.

    Raises:
        DetectionError: a column has another length than the boxes, or there are more than the limits allow.
    """
    boxes = box_array(boxes)
    count = len(boxes)
    limits.check_rows(count)
    scores = column(scores, count, "scores")
    names = column(names, count, "names")
    classes = column(classes, count, "classes")
    ids = column(ids, count, "ids")
    if masks is not None and len(masks) != count:
        raise DetectionError(f"it has {count} boxes but {len(masks)} masks; expected one per box.")
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
    """Convert a column to a list of `count` values. None is a column of None.

    Raises:
        DetectionError: it has another length.
    """
    if values is None:
        return [None] * count
    listed = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in items(values, count + 1)]
    if len(listed) != count:
        raise DetectionError(f"it has {count} boxes but {len(listed)} {what}; expected one per box.")
    return listed


def named(row: Row, name_or_class: Any) -> Row:
    """Return the row with its label, if the value is a string, else with its class id."""
    if name_or_class is None:
        return row
    if isinstance(name_or_class, str):
        return replace(row, label=row.label or name_or_class)
    return replace(row, class_id=name_or_class)


def mask_column(masks: Any) -> Any:
    """Return the array of a column of masks. The mask classes of detectron2 and mmdet hold it in `.tensor`."""
    tensor = field(masks, "tensor")
    return masks if tensor is None else tensor
