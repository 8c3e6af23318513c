"""YOLO's annotation text: one line of numbers per object."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row

_NUMBERS = re.compile(r"[\d\s.+\-eE]*")
_POSE_LENGTH = 4 + 3 * 17
"""Numbers of a box and of COCO's 17 keypoints (x, y, visibility)."""

_HALF_IMAGE = 0.505
"""Largest distance of a box's edge from the image's center, in image sides. Chosen: half, plus 1% for rounding."""

_KEYPOINT_REACH = 0.6
"""Largest distance of a keypoint from the box's center, in box sides. Chosen: half, plus 20%, because models place
keypoints just outside of their boxes."""


def _is_yolo(output: Any) -> bool:
    return isinstance(output, str) and _NUMBERS.fullmatch(output) is not None


def _read_yolo(output: str, context: Context) -> Iterator[Row]:
    context.limits.check_rows(output.count("\n"))
    context.limits.check_values(len(output.split()))
    lines = [line.split() for line in output.splitlines() if line.strip()]
    # Ultralytics writes track ids last, in every line or in none. A 1 may be an id, a score or a corner: the other
    # lines decide.
    tracked = any(_is_track(line[-1], 2) for line in lines if len(line) > 5 and not _is_pose(line[1:]))
    for class_id, *values in lines:
        yield _yolo_row(class_id, values, tracked=tracked)


def _yolo_row(class_id: str, values: list[str], *, tracked: bool) -> Row:
    """Read a line of `box [score] [id]`, `polygon [score] [id]` or, for a pose, `box keypoints [score] [id]`."""
    if _is_pose(values):
        values = values[:4] + values[_POSE_LENGTH:]
    track = None
    # A triangle has as many numbers as a box with score and track. Only a track is a whole number.
    if len(values) > 4 and _is_track(values[-1], 1 if tracked or len(values) == 6 else 2):
        *values, track = values
    numbers = [float(value) for value in values]
    if len(values) in (4, 5):
        score = numbers[4] if len(numbers) > 4 else None
        return Row(box=numbers[:4], box_format="cxcywhn", class_id=class_id, score=score, id=track)
    if len(values) < 6:
        line = " ".join([class_id, *values])
        raise ValueError(f"{line[:60]!r}; expected 'class cx cy w h [score]' or 'class x1 y1 x2 y2 x3 y3 ...'")
    corners = len(numbers) // 2 * 2
    score = numbers[-1] if len(numbers) % 2 else None
    return Row(rings=[numbers[:corners]], rings_normalized=True, class_id=class_id, score=score, id=track)


def _is_track(value: str, min_id: int) -> bool:
    return value.isdigit() and int(value) >= min_id


def _is_pose(values: list[str]) -> bool:
    """Whether a box is followed by COCO's 17 keypoints, with every visible one in or near the box."""
    if not _POSE_LENGTH <= len(values) <= _POSE_LENGTH + 2:
        return False
    cx, cy, width, height, *points = map(float, values[:_POSE_LENGTH])
    is_box = (abs(cx - 0.5) + width / 2 <= _HALF_IMAGE) and (abs(cy - 0.5) + height / 2 <= _HALF_IMAGE)
    return is_box and all(
        visible == 0
        or (abs(x - cx) <= _KEYPOINT_REACH * width and abs(y - cy) <= _KEYPOINT_REACH * height)
        or (x, y) == (0, 0)
        for x, y, visible in zip(points[::3], points[1::3], points[2::3], strict=True)
    )


FORMATS = (Format("yolo", "YOLO text", _is_yolo, _read_yolo, Precedence.TEXT),)
