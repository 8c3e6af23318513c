"""TensorFlow's object detection: columns named `detection_boxes`; Matterport's Mask R-CNN with `rois`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.columns import columns
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import MAX_NORMALIZED
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import field, keys_of, numbers, plain


def _is_detection_boxes(output: Any) -> bool:
    return "detection_boxes" in keys_of(output)


def _read_detection_boxes(output: Mapping[str, Any], context: Context) -> Iterator[Row]:
    boxes = _of_one_image(output["detection_boxes"], 2)
    found = field(output, "num_detections")
    count = len(boxes) if found is None else int(numbers(found, "num_detections").ravel()[0])
    # The model zoo writes 0..1, EfficientDet on TF Hub pixels.
    in_pixels = boxes.size > 0 and float(boxes[:count].max(initial=0)) > MAX_NORMALIZED
    classes = field(output, "detection_class_entities", "detection_class_names", "detection_class_labels")
    classes = field(output, "detection_classes") if classes is None else classes
    masks = field(output, "detection_masks_reframed")
    yield from columns(
        boxes[:count],
        context,
        "yxyx" if in_pixels else "yxyxn",
        scores=_cut(field(output, "detection_scores"), count),
        classes=_texts(_cut(classes, count)),
        masks=None if masks is None else _of_one_image(masks, 3)[:count],
    )


def _of_one_image(values: Any, ndim: int) -> np.ndarray:
    array = np.asarray(plain(values))
    if array.ndim == ndim + 1:
        if len(array) > 1:
            raise DetectionError(f"it holds {len(array)} images; pass one: {{name: v[:1] for name, v in out.items()}}.")
        array = array[0]
    return array


def _cut(column: Any, count: int) -> Any:
    if column is None:
        return None
    array = np.asarray(plain(column))
    return (array[0] if array.ndim > 1 else array)[:count]


def _texts(column: Any) -> Any:
    if column is None or column.dtype.kind not in "SO":
        return column
    return [text.decode(errors="replace") if isinstance(text, bytes) else text for text in column.tolist()]


def _is_mask_rcnn(output: Any) -> bool:
    return keys_of(output) >= {"rois", "class_ids"}


def _read_mask_rcnn(output: Mapping[str, Any], context: Context) -> Iterator[Row]:
    masks = field(output, "masks")
    is_certain = masks is not None or context.named
    if not is_certain and context.box_format is None:
        raise DetectionError(
            "rois without masks are yxyx in Matterport's Mask R-CNN and xyxy in PyTorch's EfficientDet: pass "
            "box_format='yxyx' or 'xyxy'."
        )
    yield from columns(
        output["rois"],
        context,
        "yxyx" if is_certain else None,
        scores=field(output, "scores"),
        classes=output["class_ids"],
        masks=None if masks is None else np.moveaxis(np.asarray(plain(masks)), -1, 0),  # (H, W, N)
    )


FORMATS = (
    Format(
        "tensorflow",
        "TensorFlow detections",
        _is_detection_boxes,
        _read_detection_boxes,
        Precedence.IMAGE,
        clues=("detection_boxes", "detection_classes", "detection_scores", "num_detections"),
    ),
    Format("mask-rcnn", "Matterport Mask R-CNN result", _is_mask_rcnn, _read_mask_rcnn, Precedence.IMAGE),
)
