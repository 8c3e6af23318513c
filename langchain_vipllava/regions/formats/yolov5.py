"""The result of YOLOv5 models from torch.hub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import field, items, numbers


def _is_yolov5(output: Any) -> bool:
    return isinstance(field(output, "xyxy"), (list, tuple)) and field(output, "xyxyn", "pred") is not None


def _read_yolov5(output: Any, _context: Context) -> Iterator[Row]:
    images = field(output, "xyxy")
    if len(images) != 1:
        raise DetectionError(f"it holds the boxes of {len(images)} images; run the detector on one at a time.")
    names = field(output, "names") or {}
    names = names if hasattr(names, "get") else dict(enumerate(items(names)))
    for *box, score, class_id in numbers(images[0], "the boxes").reshape(-1, 6).tolist():
        yield Row(box=box, score=score, class_id=class_id, label=names.get(int(class_id)))


FORMATS = (Format("yolov5", "YOLOv5 hub result", _is_yolov5, _read_yolov5, Precedence.IMAGE),)
