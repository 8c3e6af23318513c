"""mmdet's `DetDataSample`, its instances, and the dict of `DetInferencer`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.columns import columns, mask_column
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import field


def _is_mmdet(output: Any) -> bool:
    # Vertex AI also writes predictions with bboxes, whose numbers are in another order.
    instances = _instances(output)
    return field(instances, "bboxes") is not None and field(instances, "displayNames") is None


def _read_mmdet(output: Any, context: Context) -> Iterator[Row]:
    predictions = field(output, "predictions")
    if isinstance(predictions, (list, tuple)) and len(predictions) > 1:
        raise DetectionError(f"it holds {len(predictions)} images; pass one: result['predictions'][0].")
    instances = _instances(output)
    yield from columns(
        field(instances, "bboxes"),
        context,
        scores=field(instances, "scores"),
        names=field(instances, "label_names"),
        classes=field(instances, "labels"),
        masks=mask_column(field(instances, "masks")),
    )


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
