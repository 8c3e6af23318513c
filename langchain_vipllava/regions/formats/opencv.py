"""OpenCV: the tuples of cascades, HOG and DetectionModel, contours, and SSD tables of its DNN module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.columns import columns
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import BoxFormat
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import numbers, plain


def _is_ssd(output: Any) -> bool:
    values = np.asarray(plain(output), dtype=np.float64)
    if values.ndim == 4:
        return values.shape[:2] == (1, 1) and values.shape[3] == 7
    # Seven bare columns are an SSD's only if the third is a confidence and the last four are in 0..1 (boxes extend
    # past the image a little).
    return (
        values.ndim == 2
        and values.shape[1] == 7
        and bool(((values[:, 2] >= 0) & (values[:, 2] <= 1)).all())
        and bool((np.abs(values[:, 3:]) <= 2).all())
    )


def _read_ssd(output: Any, _context: Context) -> Iterator[Row]:
    values = numbers(output, "the rows").reshape(-1, 7)
    # Padding: rows of zeros, or of image -1.
    real = values[(values[:, 0] >= 0) & (values[:, 1:] != 0).any(axis=1)]
    if len(set(real[:, 0].tolist())) > 1:
        raise DetectionError("its first column names several images; keep the rows of one: rows[rows[:, 0] == 0].")
    for _, class_id, score, *box in real.tolist():
        yield Row(box=box, box_format="xyxyn", class_id=class_id, score=score)


def _is_rects_and_weights(output: Any) -> bool:
    """Match `(rects, weights)` of HOG, and `(rects, counts)` and `(rects, levels, weights)` of cascades."""
    if not isinstance(output, tuple) or len(output) not in (2, 3) or not _fits(output[0], output[-1]):
        return False
    levels = np.asarray(plain(output[1]))
    return len(output) == 2 or levels.size == 0 or (_is_whole(levels) and not _is_whole(output[2]))


def _read_rects_and_weights(output: Any, context: Context) -> Iterator[Row]:
    weights = np.asarray(plain(output[-1]))
    # Whole numbers count the neighbors that a cascade merged; they are not a confidence.
    scores = weights.ravel() if weights.dtype.kind == "f" else None
    yield from columns(output[0], context, _box_format(output[0], context), scores=scores)


def _is_dnn_model(output: Any) -> bool:
    """Match `(class_ids, confidences, boxes)` of cv2.dnn.DetectionModel.detect."""
    return (
        isinstance(output, tuple) and len(output) == 3 and _fits(output[2], output[0]) and _fits(output[2], output[1])
    )


def _read_dnn_model(output: Any, context: Context) -> Iterator[Row]:
    class_ids, confidences, boxes = output
    yield from columns(
        boxes,
        context,
        _box_format(boxes, context),
        scores=confidences,
        classes=np.ravel(class_ids),
    )


def _fits(boxes: Any, values: Any) -> bool:
    table, column = np.asarray(plain(boxes), dtype=np.float64), np.asarray(plain(values), dtype=np.float64)
    if table.size == 0:
        return bool(column.size == 0)
    return bool(table.ndim == 2 and table.shape[1] == 4 and column.shape in ((len(table),), (len(table), 1)))


def _box_format(boxes: Any, context: Context) -> BoxFormat:
    """Return xywh for whole numbers, as OpenCV writes. Other libraries return such tuples with any layout."""
    if np.size(plain(boxes)) and not _is_whole(boxes):
        return context.required_box_format(
            "its boxes are not whole numbers, as OpenCV's are, so their layout is unknown"
        )
    return context.box_format_or("xywh")


def _is_whole(values: Any) -> bool:
    return np.asarray(plain(values)).dtype.kind in "iu"


def _is_contours(output: Any) -> bool:
    """Match the contours of cv2.findContours: a list or tuple of (N, 1, 2) integer arrays."""
    if not isinstance(output, (list, tuple)):
        return False
    contours = [np.asarray(plain(contour)) for contour in output]
    return bool(contours) and all(c.ndim == 3 and c.shape[1:] == (1, 2) and c.dtype.kind in "iu" for c in contours)


def _read_contours(output: Any, _context: Context) -> Iterator[Row]:
    for contour in output:
        points = np.asarray(plain(contour)).reshape(-1, 2)
        left, top = points.min(axis=0)
        right, bottom = points.max(axis=0) + 1  # contours run through the centers of the outermost pixels
        outline = [(x + 0.5, y + 0.5) for x, y in points.tolist()] if len(points) >= 3 else None
        yield Row(box=[left, top, right, bottom], rings=[outline] if outline else ())


FORMATS = (
    Format(
        "opencv-rects", "OpenCV (rects, weights) tuple", _is_rects_and_weights, _read_rects_and_weights, Precedence.ROWS
    ),
    Format("opencv-dnn", "OpenCV DetectionModel tuple", _is_dnn_model, _read_dnn_model, Precedence.ROWS),
    Format("opencv-contours", "OpenCV contours", _is_contours, _read_contours, Precedence.ROWS),
    Format("opencv-ssd", "OpenCV DNN SSD table", _is_ssd, _read_ssd, Precedence.ROWS),
)
