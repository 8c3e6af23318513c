"""detectron2's `Instances`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from langchain_vipllava.regions.columns import columns, mask_column
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import SegmentMask
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.stated import Stated
from langchain_vipllava.regions.values import field, keys_of, plain


def _is_detectron2(output: Any) -> bool:
    # The raw outputs of transformers also have pred_boxes, and logits.
    return field(_instances(output), "pred_boxes") is not None and field(output, "logits") is None


def _read_detectron2(output: Any, context: Context) -> Iterator[Row]:
    instances = _instances(output)
    shape = field(instances, "image_size")
    boxes = field(instances, "pred_boxes")
    if np.shape(plain(field(boxes, "tensor")))[-1:] == (5,):  # RotatedBoxes: center, size, counterclockwise degrees
        context = replace(context, stated=Stated("cxcywh", 0.0, "center"))
    yield from columns(
        boxes,
        context,
        scores=field(instances, "scores"),
        classes=field(instances, "pred_classes"),
        masks=mask_column(field(instances, "pred_masks")),
        image_size=None if shape is None else (shape[1], shape[0]),
    )


def _instances(output: Any) -> Any:
    # Not `or`: Instances without a detection are falsy.
    inner = field(output, "instances")
    return output if inner is None else inner


def _panoptic(output: Any) -> Any:
    return field(output, "panoptic_seg") if isinstance(output, Mapping) else output


def _is_panoptic(output: Any) -> bool:
    """Match `(map of segments, segments_info)`, also under the key `panoptic_seg`."""
    found = _panoptic(output)
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], list):
        return False
    return np.ndim(plain(found[0])) == 2 and all(keys_of(segment) >= {"id"} for segment in found[1])


def _read_panoptic(output: Any, _context: Context) -> Iterator[Row]:
    segments, infos = _panoptic(output)
    array = np.asarray(plain(segments))
    for info in infos:
        yield Row(mask=SegmentMask(array, info["id"]), class_id=info.get("category_id"), score=info.get("score"))


_CLUES = ("instances", "pred_boxes", "pred_classes", "pred_masks")

FORMATS = (
    Format("detectron2", "detectron2 Instances", _is_detectron2, _read_detectron2, Precedence.IMAGE, clues=_CLUES),
    Format("detectron2", "detectron2 panoptic_seg", _is_panoptic, _read_panoptic, Precedence.LOOSE_IMAGE),
)
