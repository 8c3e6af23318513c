"""MediaPipe: the task API's `DetectionResult`, and the older `solutions` API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.regions.formats.context import Context, Format, Row
from langchain_vipllava.regions.formats.values import field, items


def _is_mediapipe(found: Any) -> bool:
    detections = field(found, "detections")
    if detections is None:
        # The solutions API says None where it found nothing.
        return not isinstance(found, Mapping) and hasattr(found, "detections")
    return len(detections) == 0 or _place(detections[0]) is not None


def _place(detection: Any) -> Any:
    return field(detection, "bounding_box", "boundingBox", "location_data")


def _read_mediapipe(found: Any, _context: Context) -> Iterator[Row]:
    for detection in field(found, "detections") or ():
        place = _place(detection)
        relative = field(place, "relative_bounding_box")
        if relative is not None:
            yield _solutions_row(detection, relative)
            continue
        best = next(iter(field(detection, "categories") or ()), None)
        corner = [field(place, "origin_x", "originX"), field(place, "origin_y", "originY")]
        yield Row(
            box=[*corner, field(place, "width"), field(place, "height")],
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


FORMATS = (Format("MediaPipe result", _is_mediapipe, _read_mediapipe),)
