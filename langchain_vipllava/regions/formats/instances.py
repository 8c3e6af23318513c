"""The instance objects of detectron2 and mmdet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.formats.columns import columns
from langchain_vipllava.regions.formats.context import Context, Format, Row
from langchain_vipllava.regions.formats.values import field


def _is_detectron2(found: Any) -> bool:
    # The raw outputs of transformers have pred_boxes too, beside their logits.
    return field(_inner(found, "instances"), "pred_boxes") is not None and field(found, "logits") is None


def _read_detectron2(found: Any, _context: Context) -> Iterator[Row]:
    instances = _inner(found, "instances")
    shape = field(instances, "image_size")
    yield from columns(
        field(instances, "pred_boxes"),
        scores=field(instances, "scores"),
        classes=field(instances, "pred_classes"),
        masks=_masks(instances, "pred_masks"),
        image_size=None if shape is None else (shape[1], shape[0]),
    )


def _is_mmdet(found: Any) -> bool:
    return field(_mmdet_instances(found), "bboxes") is not None


def _read_mmdet(found: Any, _context: Context) -> Iterator[Row]:
    predictions = field(found, "predictions")
    if isinstance(predictions, (list, tuple)) and len(predictions) > 1:
        raise DetectionError(f"it holds {len(predictions)} images; pass one: result['predictions'][0].")
    instances = _mmdet_instances(found)
    yield from columns(
        field(instances, "bboxes"),
        scores=field(instances, "scores"),
        names=field(instances, "label_names"),
        classes=field(instances, "labels"),
        masks=_masks(instances, "masks"),
    )


def _inner(found: Any, name: str) -> Any:
    """What `found` holds under a name, else `found`. Without `or`: instances that found nothing are false."""
    inner = field(found, name)
    return found if inner is None else inner


def _mmdet_instances(found: Any) -> Any:
    """`pred_instances`, or what `DetInferencer` writes: `{"predictions": [{"bboxes", "labels", "scores"}]}`."""
    inner = field(found, "pred_instances")
    if inner is not None:
        return inner
    predictions = field(found, "predictions")
    if isinstance(predictions, (list, tuple)) and predictions and isinstance(predictions[0], Mapping):
        return predictions[0]
    # Flat, this is mmdet only with scores: without them Florence-2 writes the same keys.
    return found if field(found, "scores") is not None else None


def _masks(instances: Any, name: str) -> Any:
    return _inner(field(instances, name), "tensor")


FORMATS = (
    Format("detectron2 Instances", _is_detectron2, _read_detectron2),
    Format("mmdet result", _is_mmdet, _read_mmdet),
)
