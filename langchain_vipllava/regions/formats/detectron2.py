"""detectron2's `Instances`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_vipllava.regions.columns import columns, mask_column
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import field


def _is_detectron2(output: Any) -> bool:
    # The raw outputs of transformers also have pred_boxes, and logits.
    return field(_instances(output), "pred_boxes") is not None and field(output, "logits") is None


def _read_detectron2(output: Any, context: Context) -> Iterator[Row]:
    instances = _instances(output)
    shape = field(instances, "image_size")
    yield from columns(
        field(instances, "pred_boxes"),
        limits=context.limits,
        scores=field(instances, "scores"),
        classes=field(instances, "pred_classes"),
        masks=mask_column(field(instances, "pred_masks")),
        image_size=None if shape is None else (shape[1], shape[0]),
    )


def _instances(output: Any) -> Any:
    # Not `or`: Instances without a detection are falsy.
    inner = field(output, "instances")
    return output if inner is None else inner


_CLUES = ("instances", "pred_boxes", "pred_classes", "pred_masks")

FORMATS = (
    Format("detectron2", "detectron2 Instances", _is_detectron2, _read_detectron2, Precedence.IMAGE, clues=_CLUES),
)
