"""Detections as columns: an (N, 4) array of boxes, N scores, N classes, N masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.geometry import BoxFormat, Size
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.stated import stated
from langchain_vipllava.regions.values import describe, field, items, numbers


def box_array(boxes: Any, width: int = 4) -> np.ndarray:
    """Convert boxes to an (N, width) array. The box classes of detectron2 and mmdet hold theirs in `.tensor`.

    Raises:
        DetectionError: another shape, or not numbers.
    """
    inner = field(boxes, "tensor")
    array = numbers(boxes if inner is None else inner, "the boxes")
    if array.size == 0:
        return np.zeros((0, width))
    if array.ndim == 1 and array.size == width:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != width:
        hint = (
            " Five columns are turned boxes: pass them alone, with format='xywhr'." if array.shape[-1:] == (5,) else ""
        )
        raise DetectionError(f"the boxes are {describe(boxes)}; expected shape (N, {width}).{hint}")
    return array


def columns(
    boxes: Any,
    context: Context,
    box_format: BoxFormat | None = "xyxy",
    *,
    scores: Any = None,
    names: Any = None,
    classes: Any = None,
    masks: Any = None,
    ids: Any = None,
    image_size: Size | None = None,
) -> Iterator[Row]:
    """Yield one row per box. `classes` may hold ids or names. A column that is None is omitted.

    Args:
        boxes: (N, 4) numbers, or as many as the layout has that they state.
        context: of the output.
        box_format: their layout, unless they or the output state another.
        scores: N confidences.
        names: N labels.
        classes: N ids or names.
        masks: N masks.
        ids: N track ids.
        image_size: `(width, height)`, where the output states it.

    Raises:
        DetectionError: a column has another length than the boxes, or there are more than the limits allow.
    """
    turned = context.is_turned(boxes)
    array = box_array(boxes, 5 if turned else 4)
    count = len(array)
    context.limits.check_rows(count)
    scores = column(scores, count, "scores")
    names = column(names, count, "names")
    classes = column(classes, count, "classes")
    ids = column(ids, count, "ids")
    if masks is not None and len(masks) != count:
        raise DetectionError(f"it has {count} boxes but {len(masks)} masks; expected one per box.")
    if image_size is None:
        image_size = canvas_size(boxes)
    if count == 0:
        return
    # `assumed` reads what the boxes say about themselves: once, not for every row
    layout = replace(context, stated=stated(boxes).over(context.stated))
    for number, box in enumerate(array):
        row = replace(
            layout.assumed(box, box_format),
            mask=None if masks is None else masks[number],
            label=names[number],
            score=scores[number],
            id=ids[number],
            image_size=image_size,
        )
        yield named(row, classes[number])


def canvas_size(boxes: Any) -> Size | None:
    """Return the `(width, height)` that a torchvision tensor of boxes states; None for any other."""
    canvas = field(boxes, "canvas_size")
    return (canvas[1], canvas[0]) if isinstance(canvas, (tuple, list)) and len(canvas) == 2 else None


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
    """Return the row with its label, if the value is a text or several, else with its class id."""
    if isinstance(name_or_class, (list, tuple)):
        name_or_class = ", ".join(map(str, name_or_class))
    if name_or_class is None or name_or_class == "":
        return row
    if isinstance(name_or_class, str):
        return replace(row, label=row.label or name_or_class)
    return replace(row, class_id=name_or_class)


def mask_column(masks: Any) -> Any:
    """Return the array of a column of masks. The mask classes of detectron2 and mmdet hold it in `.tensor`."""
    tensor = field(masks, "tensor")
    return masks if tensor is None else tensor
