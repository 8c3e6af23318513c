"""Anything with `.xyxy`: supervision's `Detections`, and the objects that copy its attributes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.formats.columns import columns
from langchain_vipllava.regions.formats.context import Context, Format, Row
from langchain_vipllava.regions.formats.values import field, items, numbers


def _is_detections(found: Any) -> bool:
    return field(found, "xyxy") is not None


def _read_detections(found: Any, _context: Context) -> Iterator[Row]:
    data = field(found, "data")
    corners = field(data, "xyxyxyxy")
    # The second name of each is what ultralytics' `Boxes` calls it.
    rows = columns(
        field(found, "xyxy"),
        scores=field(found, "confidence", "conf"),
        names=field(data, "class_name"),
        classes=field(found, "class_id", "cls"),
        masks=field(found, "mask"),
        ids=field(found, "tracker_id", "id"),
    )
    for number, row in enumerate(rows):
        yield row if corners is None else replace(row, rings=[corners[number]])


def _is_yolov5(found: Any) -> bool:
    return isinstance(field(found, "xyxy"), (list, tuple)) and field(found, "xyxyn", "pred") is not None


def _read_yolov5(found: Any, _context: Context) -> Iterator[Row]:
    images = field(found, "xyxy")
    if len(images) != 1:
        raise DetectionError(f"it holds the boxes of {len(images)} images; run the detector on one at a time.")
    names = field(found, "names") or {}
    names = names if hasattr(names, "get") else dict(enumerate(items(names)))
    for *box, score, class_id in numbers(images[0], "the boxes").reshape(-1, 6).tolist():
        yield Row(box=box, score=score, class_id=class_id, label=names.get(int(class_id)))


FORMATS = (
    Format("YOLOv5 hub result", _is_yolov5, _read_yolov5),
    Format("supervision Detections, or anything with .xyxy", _is_detections, _read_detections),
)
