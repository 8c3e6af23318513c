"""Key points of supervision and Ultralytics without boxes: the box around the points that were found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.columns import column
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import field, first_row, keys_of, numbers, plain


def _are_key_points(output: Any) -> bool:
    points = None if isinstance(output, Mapping) else field(output, "xy")
    return (
        points is not None
        and not isinstance(points, list)
        and field(output, "xyxy") is None
        and np.ndim(plain(points)) == 3
    )


def _read_key_points(output: Any, context: Context) -> Iterator[Row]:
    points = numbers(field(output, "xy"), "the key points")
    count = len(points)
    context.limits.check_rows(count)
    visible = field(output, "visible")
    scores = column(field(output, "detection_confidence"), count, "scores")
    names = column(field(field(output, "data"), "class_name"), count, "names")
    classes = column(field(output, "class_id"), count, "classes")
    shape = field(output, "orig_shape")
    for number, found in enumerate(points):
        # (0, 0) stands for a point that was not found
        kept = np.isfinite(found).all(axis=1) & (found != 0).any(axis=1)
        if visible is not None:
            kept &= np.asarray(plain(visible))[number].astype(bool)
        if kept.sum() < 2:
            raise DetectionError("it has fewer than 2 key points that were found; expected a box, or more points.")
        yield Row(
            box=[*found[kept].min(axis=0), *found[kept].max(axis=0)],
            label=names[number],
            class_id=classes[number],
            score=scores[number],
            image_size=None if shape is None else (shape[1], shape[0]),
        )


def _are_masks(output: Any) -> bool:
    """Match Ultralytics' `Masks`, whose `xy` is a list of polygons."""
    return not isinstance(output, Mapping) and isinstance(field(output, "xy"), list) and hasattr(output, "xyn")


def _read_masks(output: Any, _context: Context) -> Iterator[Row]:
    shape = field(output, "orig_shape")
    for ring in output.xy:
        yield Row(rings=[ring], image_size=None if shape is None else (shape[1], shape[0]))


def _are_poses(output: Any) -> bool:
    """Match ViTPose's post-processing in transformers: one dict for each person."""
    return keys_of(first_row(output)) >= {"keypoints", "bbox", "labels"} and "category_id" not in first_row(output)


def _read_poses(output: Any, context: Context) -> Iterator[Row]:
    for person in [output] if isinstance(output, Mapping) else output:
        yield context.assumed(person["bbox"], "xyxy", person)


FORMATS = (
    Format(
        "keypoints", "key points of supervision or Ultralytics", _are_key_points, _read_key_points, Precedence.IMAGE
    ),
    Format("keypoints", "transformers pose estimation", _are_poses, _read_poses, Precedence.ROWS),
    Format("ultralytics", "Ultralytics masks", _are_masks, _read_masks, Precedence.LOOSE_IMAGE),
)
