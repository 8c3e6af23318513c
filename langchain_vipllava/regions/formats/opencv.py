"""OpenCV's tuples and rows, and scikit-image's cascade."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.formats.columns import columns
from langchain_vipllava.regions.formats.context import Context, Format, Row
from langchain_vipllava.regions.formats.corners import corner_row
from langchain_vipllava.regions.formats.values import first_row, keys_of, numbers, plain, rows


def _is_ssd(found: Any) -> bool:
    values = np.asarray(plain(found), dtype=np.float64)
    if values.ndim == 4:
        return values.shape[:2] == (1, 1) and values.shape[3] == 7
    # Seven bare columns are SSD's only if the third is a confidence and the rest are fractions.
    return (
        values.ndim == 2
        and values.shape[1] == 7
        and bool(((values[:, 2] >= 0) & (values[:, 2] <= 1)).all())
        and bool((np.abs(values[:, 3:]) <= 2).all())
    )


def _read_ssd(found: Any, _context: Context) -> Iterator[Row]:
    values = numbers(found, "the rows").reshape(-1, 7)
    # Rows of zeros or with image -1 fill up the table where nothing was found.
    real = values[(values[:, 0] >= 0) & (values[:, 1:] != 0).any(axis=1)]
    if len(set(real[:, 0].tolist())) > 1:
        raise DetectionError("its first column counts several images; keep the rows of one: rows[rows[:, 0] == 0].")
    for _, class_id, score, *box in real.tolist():
        yield Row(box=box, box_format="xyxyn", class_id=class_id, score=score)


def _is_rects_and_weights(found: Any) -> bool:
    """`(rects, weights)` of HOG, `(rects, counts)` and `(rects, levels, weights)` of cascades."""
    if not isinstance(found, tuple) or len(found) not in (2, 3) or not _fits(found[0], found[-1]):
        return False
    levels = np.asarray(plain(found[1]))
    return len(found) == 2 or levels.size == 0 or (_is_whole(levels) and not _is_whole(found[2]))


def _read_rects_and_weights(found: Any, context: Context) -> Iterator[Row]:
    weights = np.asarray(plain(found[-1]))
    # Whole numbers count the neighbours that a cascade merged; they are no confidence.
    scores = weights.ravel() if weights.dtype.kind == "f" else None
    yield from columns(found[0], box_format=_layout(found[0], context), scores=scores)


def _is_dnn_model(found: Any) -> bool:
    """`(class_ids, confidences, boxes)` of cv2.dnn.DetectionModel.detect."""
    return isinstance(found, tuple) and len(found) == 3 and _fits(found[2], found[0]) and _fits(found[2], found[1])


def _read_dnn_model(found: Any, context: Context) -> Iterator[Row]:
    class_ids, confidences, boxes = found
    yield from columns(boxes, box_format=_layout(boxes, context), scores=confidences, classes=np.ravel(class_ids))


def _fits(boxes: Any, values: Any) -> bool:
    table, column = np.asarray(plain(boxes), dtype=np.float64), np.asarray(plain(values), dtype=np.float64)
    if table.size == 0:
        return bool(column.size == 0)
    return bool(table.ndim == 2 and table.shape[1] == 4 and column.shape in ((len(table),), (len(table), 1)))


def _layout(boxes: Any, context: Context) -> str:
    """OpenCV's boxes are whole numbers, xywh; others that give such tuples mean anything."""
    if np.size(plain(boxes)) and not _is_whole(boxes):
        return context.named_layout("its boxes are decimals, which OpenCV's are not, so nothing says what they mean")
    return context.layout("xywh")


def _is_whole(values: Any) -> bool:
    return np.asarray(plain(values)).dtype.kind in "iu"


def _is_contours(found: Any) -> bool:
    """`cv2.findContours`: a list or tuple of (N, 1, 2) whole-number arrays."""
    if not isinstance(found, (list, tuple)):
        return False
    contours = [np.asarray(plain(contour)) for contour in found]
    return bool(contours) and all(c.ndim == 3 and c.shape[1:] == (1, 2) and c.dtype.kind in "iu" for c in contours)


def _read_contours(found: Any, _context: Context) -> Iterator[Row]:
    for contour in found:
        points = np.asarray(plain(contour)).reshape(-1, 2)
        left, top = points.min(axis=0)
        right, bottom = points.max(axis=0) + 1  # contours run through the middles of the outermost pixels
        outline = [(x + 0.5, y + 0.5) for x, y in points.tolist()] if len(points) >= 3 else None
        yield Row(box=[left, top, right, bottom], rings=[outline] if outline else ())


def _is_skimage(found: Any) -> bool:
    return keys_of(first_row(found)) >= {"r", "c", "width", "height"}


def _read_skimage(found: Any, context: Context) -> Iterator[Row]:
    for row in rows(found):
        yield corner_row(row, row, context)


FORMATS = (
    Format("scikit-image cascade result", _is_skimage, _read_skimage),
    Format("OpenCV (rects, weights) tuple", _is_rects_and_weights, _read_rects_and_weights),
    Format("OpenCV DetectionModel tuple", _is_dnn_model, _read_dnn_model),
    Format("OpenCV contours", _is_contours, _read_contours),
    Format("OpenCV DNN SSD table", _is_ssd, _read_ssd),
)
