"""mmdet 2 and mmrotate 0.x: a list with one array for each class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.turned import degrees_clockwise
from langchain_vipllava.regions.values import describe, plain


def _are_per_class(output: Any, width: int) -> bool:
    return isinstance(output, (list, tuple)) and bool(output) and all(_is_table(boxes, width) for boxes in output)


def _is_table(boxes: Any, width: int) -> bool:
    array = np.asarray(plain(boxes), dtype=np.float64 if isinstance(boxes, list) else None)
    if isinstance(boxes, list) and not boxes:  # as `tolist()` writes a class without boxes
        return True
    return array.dtype.kind == "f" and array.ndim == 2 and array.shape[1] == width


def _has_segments(output: Any) -> bool:
    """Match `(boxes, masks)`, each a list with one item for each class."""
    return (
        isinstance(output, tuple)
        and len(output) == 2
        and _are_per_class(output[0], 5)
        and isinstance(output[1], list)
        and len(output[1]) == len(output[0])
        and all(len(masks) == len(boxes) for boxes, masks in zip(*output, strict=True))
    )


def _read(output: Any, _context: Context) -> Iterator[Row]:
    boxes, masks = output if _has_segments(output) else (output, None)
    if not _are_per_class(boxes, 5):
        raise DetectionError(f"{describe(output)} is not a list of (n, 5) arrays, one for each class.")
    for class_id, table in enumerate(boxes):
        for number, (*box, score) in enumerate(np.asarray(plain(table)).tolist()):
            mask = None if masks is None else masks[class_id][number]
            yield Row(box=box, mask=mask, class_id=class_id, score=score)


def _are_turned(output: Any) -> bool:
    return _are_per_class(output, 6)


def _read_turned(output: Any, _context: Context) -> Iterator[Row]:
    if not _are_turned(output):
        raise DetectionError(f"{describe(output)} is not a list of (n, 6) arrays, one for each class.")
    for class_id, table in enumerate(output):
        for *box, angle, score in np.asarray(plain(table)).tolist():
            turned = degrees_clockwise(angle, "radians")
            yield Row(box=box, box_format="cxcywh", angle=turned, class_id=class_id, score=score)


def _is_list(output: Any) -> bool:
    return _are_per_class(output, 5)


FORMATS = (
    Format("mmdet2", "mmdet 2 (boxes, masks) for each class", _has_segments, _read, Precedence.ROWS),
    Format("mmdet2", "mmdet 2 boxes for each class", _is_list, _read, Precedence.ON_REQUEST),
    Format("mmrotate", "mmrotate turned boxes for each class", _are_turned, _read_turned, Precedence.ON_REQUEST),
)
