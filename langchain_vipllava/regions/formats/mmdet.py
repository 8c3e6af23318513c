"""mmdet's `DetDataSample`, its instances, and the dict of `DetInferencer`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.columns import box_array, column, columns, mask_column
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.turned import degrees_clockwise
from langchain_vipllava.regions.values import field, plain


def _is_mmdet(output: Any) -> bool:
    # Vertex AI also writes predictions with bboxes, whose numbers are in another order.
    instances = _instances(output)
    return field(instances, "bboxes") is not None and field(instances, "displayNames") is None


def _read_mmdet(output: Any, context: Context) -> Iterator[Row]:
    predictions = field(output, "predictions")
    if isinstance(predictions, (list, tuple)) and len(predictions) > 1:
        raise DetectionError(f"it holds {len(predictions)} images; pass one: result['predictions'][0].")
    instances = _instances(output)
    boxes = field(instances, "bboxes")
    width = np.shape(plain(field(boxes, "tensor") if field(boxes, "tensor") is not None else boxes))[-1:]
    if width in ((5,), (8,)):  # mmrotate: center, size and radians, or four corners
        yield from _turned(instances, boxes, width[0])
        return
    yield from columns(
        boxes,
        context,
        scores=field(instances, "scores"),
        names=field(instances, "label_names"),
        classes=field(instances, "labels"),
        masks=mask_column(field(instances, "masks")),
    )


def _turned(instances: Any, boxes: Any, width: int) -> Iterator[Row]:
    table = box_array(boxes, width)
    scores = column(field(instances, "scores"), len(table), "scores")
    classes = column(field(instances, "labels"), len(table), "labels")
    names = column(field(instances, "label_names"), len(table), "label_names")
    for values, score, class_id, name in zip(table, scores, classes, names, strict=True):
        row = Row(label=name, class_id=class_id, score=score)
        if width == 8:
            yield replace(row, rings=[values])
        else:
            angle = degrees_clockwise(values[4].item(), "radians")
            yield replace(row, box=values[:4], box_format="cxcywh", angle=angle)


def _instances(output: Any) -> Any:
    """Return `pred_instances`, or the first of `DetInferencer`: `{"predictions": [{"bboxes", "labels", "scores"}]}`."""
    inner = field(output, "pred_instances")
    if inner is not None:
        return inner
    predictions = field(output, "predictions")
    if isinstance(predictions, (list, tuple)) and predictions and isinstance(predictions[0], Mapping):
        return predictions[0]
    # Without scores, a dict with these keys is Florence-2's.
    return output if field(output, "scores") is not None else None


_CLUES = ("bboxes", "pred_instances", "predictions")

FORMATS = (Format("mmdet", "mmdet result", _is_mmdet, _read_mmdet, Precedence.IMAGE, clues=_CLUES),)
