"""Masks without anything around them, label maps, and RLE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.columns import column
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import SegmentMask
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import describe, field, keys_of, number_or_none, plain

_MIN_SIDE = 8
"""Sides from which an array may be a mask. Chosen: a table of detections is wider only with extra columns, and then
holds more than two values."""

_MAX_ASPECT = 20
"""Sides of an image, longer to shorter. Chosen: panoramas have up to 10."""

_MAX_CHANNELS = 4
"""Length of a last axis that may be the channels of an image."""


def _is_two_valued(array: np.ndarray) -> bool:
    if array.dtype.kind == "b":
        return True
    if array.dtype.kind not in "iuf" or not array.size:
        return False
    low, high = array.min(), array.max()
    return bool(low == 0 and high in (0, 1, 255) and ((array == low) | (array == high)).all())


def _is_soft(array: np.ndarray) -> bool:
    """Whether an array holds probabilities, and some of them other than 0 and 1."""
    return bool(array.dtype.kind == "f" and array.size and array.min() >= 0 and array.max() <= 1)


def _mask_array(output: Any) -> np.ndarray | None:
    """Return a stack of masks of one size as an array; None for anything else."""
    if isinstance(output, (str, bytes, Mapping)):
        return None
    if isinstance(output, (list, tuple)) and output and hasattr(output[0], "convert"):  # PIL images
        output = [np.asarray(mask) for mask in output]
    array = np.asarray(plain(output))
    if array.ndim < 2 or array.dtype.kind not in "buif":
        return None
    sides = array.shape[-3:-1] if array.shape[-1] == 1 and array.ndim > 2 else array.shape[-2:]
    return array if min(sides) >= _MIN_SIDE or (array.shape[-1] > 1 and min(array.shape[:2]) >= _MIN_SIDE) else None


def _are_masks(output: Any) -> bool:
    array = _mask_array(output)
    if array is None:
        return False
    height, width = array.shape[-2:]
    is_long = max(height, width) > _MAX_ASPECT * min(height, width)  # raw output of a model, such as (1, 84, 8400)
    return _is_two_valued(array) or (array.ndim > 2 and _is_soft(array) and not is_long)


def _read_masks(output: Any, context: Context) -> Iterator[Row]:
    for mask in _stack(output, context):
        yield Row(mask=mask)


def _stack(output: Any, context: Context) -> Any:
    """Return masks one by one, each (H, W)."""
    array = _mask_array(output)
    if array is None:
        raise DetectionError(f"{describe(output)} holds no masks; expected (N, H, W) or (H, W).")
    while array.ndim > 3 and 1 in array.shape[:2]:
        array = array.squeeze(array.shape[:2].index(1))  # the batch, or one mask per object
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim == 4:
        raise DetectionError(
            f"masks of shape {array.shape} are {array.shape[1]} proposals for each of {array.shape[0]} objects; "
            "pass one for each: masks[:, 0], or the best by iou_scores."
        )
    if array.ndim == 2:
        return array[None]
    if array.shape[2] == 1:
        return array[..., 0][None]
    return _with_masks_first(array, context)


def _with_masks_first(array: np.ndarray, context: Context) -> np.ndarray:
    size = context.image_size
    if size is not None and array.shape[1:] != size[::-1] and array.shape[:2] == size[::-1]:
        return np.moveaxis(array, 2, 0)
    if array.shape[2] <= _MAX_CHANNELS and size is None:
        raise DetectionError(
            f"an array of shape {array.shape} may be {array.shape[2]} masks, or {array.shape[0]}; pass image_size="
            "(width, height). An image is not a detection."
        )
    return array


def _is_masks_dict(output: Any) -> bool:
    return "masks" in keys_of(output) and not keys_of(output) & {"boxes", "scores", "rois", "bboxes"}


def _read_masks_dict(output: Any, context: Context) -> Iterator[Row]:
    masks = output["masks"]
    listed = _stack(masks, context) if _are_masks(masks) else masks
    scores = column(field(output, "iou_scores", "confidence"), len(listed), "scores")
    names = column(field(output, "labels", "class_names", "names"), len(listed), "labels")
    for mask, score, name in zip(listed, scores, names, strict=True):
        yield Row(mask=mask, score=score, label=name if isinstance(name, str) else None, class_id=name)


def _is_sam_tuple(output: Any) -> bool:
    """Match `(masks, scores, low_res_logits)` of SamPredictor.predict."""
    if not isinstance(output, tuple) or len(output) != 3:
        return False
    masks, scores, logits = (np.asarray(plain(part)) for part in output)
    return (
        masks.ndim in (3, 4)
        and logits.ndim == masks.ndim
        and scores.shape == logits.shape[:-2] == masks.shape[:-2]
        and logits.shape[-2:] in ((256, 256), (288, 288))  # SAM, SAM 2; SAM 3
    )


def _read_sam_tuple(output: Any, context: Context) -> Iterator[Row]:
    masks = np.asarray(plain(output[0]))
    scores = np.asarray(plain(output[1]), dtype=np.float64)
    if masks.ndim == 4 and masks.shape[1] > 1:
        raise DetectionError(
            f"its masks have shape {masks.shape}: {masks.shape[1]} proposals for each of {len(masks)} prompts; predict "
            "with multimask_output=False, or pass the best of each."
        )
    masks = masks.reshape(-1, *masks.shape[-2:])
    for mask, score in zip(masks > 0 if masks.dtype.kind == "f" else masks, scores.ravel().tolist(), strict=True):
        yield Row(mask=mask, score=score, image_size=context.image_size)


def _is_label_map(output: Any) -> bool:
    """Match (H, W) whole numbers of which each is a segment, as scikit-image and OpenCV number them: 0, 1, 2, ..."""
    array = _mask_array(output)
    if array is None or array.ndim != 2 or array.dtype.kind not in "iu" or array.dtype.itemsize == 1:
        return False  # bytes may be a gray picture
    values = np.unique(array)
    return bool(len(values) > 2 and values[0] in (-1, 0) and values[-1] - values[0] == len(values) - 1)


def _may_be_label_map(output: Any) -> bool:
    array = _mask_array(output)
    return array is not None and array.ndim == 2 and array.dtype.kind in "iu"


def _read_label_map(output: Any, context: Context) -> Iterator[Row]:
    if not _may_be_label_map(output):
        raise DetectionError(
            f"{describe(output)} is not a map of labels; expected (H, W) whole numbers, 0 for nothing."
        )
    array = np.asarray(plain(output))
    for label in np.unique(array).tolist():
        if label > 0:
            context.masks.spend(array.shape[1], array.shape[0])
            yield Row(mask=SegmentMask(array, label), class_id=label)


def _is_connected_components(output: Any) -> bool:
    """Match `(count, labels, stats, centroids)` of cv2.connectedComponentsWithStats."""
    if not isinstance(output, tuple) or len(output) != 4 or number_or_none(output[0], "count") is None:
        return False
    count, labels, stats, centroids = output
    return np.ndim(labels) == 2 and np.shape(stats) == (count, 5) and np.shape(centroids) == (count, 2)


def _read_connected_components(output: Any, _context: Context) -> Iterator[Row]:
    _, labels, stats, _ = output
    for label, (left, top, width, height, _area) in enumerate(stats.tolist()):
        if label > 0:  # 0 is the ground
            yield Row(box=[left, top, width, height], box_format="xywh", mask=SegmentMask(labels, label))


def _is_rle(output: Any) -> bool:
    return keys_of(output) >= {"size", "counts"}


def _are_rles(output: Any) -> bool:
    return _is_rle(output) or (isinstance(output, (list, tuple)) and bool(output) and all(map(_is_rle, output)))


def _read_rles(output: Any, _context: Context) -> Iterator[Row]:
    for rle in [output] if _is_rle(output) else output:
        yield Row(mask=rle)


FORMATS = (
    Format("masks", "stack of masks", _are_masks, _read_masks, Precedence.SHARED_ROWS),
    Format("masks", "dict of masks", _is_masks_dict, _read_masks_dict, Precedence.LOOSE_IMAGE, clues=("masks",)),
    Format("masks", "SamPredictor tuple (masks, scores, logits)", _is_sam_tuple, _read_sam_tuple, Precedence.ROWS),
    Format("label-map", "map of labels", _is_label_map, _read_label_map, Precedence.SHARED_ROWS),
    Format("label-map", "map of labels on request", _may_be_label_map, _read_label_map, Precedence.ON_REQUEST),
    Format(
        "label-map",
        "OpenCV connectedComponentsWithStats tuple",
        _is_connected_components,
        _read_connected_components,
        Precedence.ROWS,
    ),
    Format("rle", "COCO RLE", _are_rles, _read_rles, Precedence.IMAGE, clues=("counts",)),
)
