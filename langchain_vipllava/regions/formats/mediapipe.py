"""MediaPipe: `DetectionResult` of the task API, and the results of the older `solutions` API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import field, items


def _is_mediapipe(output: Any) -> bool:
    if isinstance(output, (list, tuple)):  # `result.detections` by itself
        return bool(output) and field(_location(output[0]), "origin_x", "originX") is not None
    detections = field(output, "detections")
    if detections is None:
        # The solutions API returns None where it detected nothing.
        return not isinstance(output, Mapping) and hasattr(output, "detections")
    return len(detections) == 0 or _location(detections[0]) is not None


def _location(detection: Any) -> Any:
    return field(detection, "bounding_box", "boundingBox", "location_data")


def _read_mediapipe(output: Any, _context: Context) -> Iterator[Row]:
    detections = output if isinstance(output, (list, tuple)) else field(output, "detections")
    for detection in detections or ():
        location = _location(detection)
        relative = field(location, "relative_bounding_box")
        if relative is not None:
            yield _solutions_row(detection, relative)
            continue
        best = next(iter(field(detection, "categories") or ()), None)
        corner = [field(location, "origin_x", "originX"), field(location, "origin_y", "originY")]
        yield Row(
            box=[*corner, field(location, "width"), field(location, "height")],
            box_format="xywh",
            label=field(best, "category_name", "categoryName"),
            class_id=field(best, "index"),
            score=field(best, "score"),
        )


def _solutions_row(detection: Any, box: Any) -> Row:
    scores, classes = (items(field(detection, name) or ()) for name in ("score", "label_id"))
    return Row(
        box=[field(box, side) for side in ("xmin", "ymin", "width", "height")],
        box_format="xywhn",
        class_id=classes[0] if classes else None,
        score=scores[0] if scores else None,
    )


_CLUES = ("bounding_box", "categories", "detections", "origin_x")

FORMATS = (Format("mediapipe", "MediaPipe result", _is_mediapipe, _read_mediapipe, Precedence.IMAGE, clues=_CLUES),)
