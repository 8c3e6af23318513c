"""Annotations as text: YOLO's lines of numbers and Pascal VOC's XML. JSON is parsed before it comes here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.formats.context import Context, Format, Row

_NUMBERS = re.compile(r"[\d\s.+\-eE]*")
_POSE = 4 + 3 * 17
"""Numbers of a box and COCO's keypoints."""
_ABOUT_HALF = 0.505  # of the image, from its middle: boxes stick out a little


def _is_yolo(found: Any) -> bool:
    return isinstance(found, str) and _NUMBERS.fullmatch(found) is not None


def _read_yolo(found: str, _context: Context) -> Iterator[Row]:
    lines = [line.split() for line in found.splitlines() if line.strip()]
    # Ultralytics writes track ids in every line or in none, last; 1 may be an id, a score or a corner: others tell.
    tracked = any(_is_track(line[-1], 2) for line in lines if len(line) > 5 and not _is_pose(line[1:]))
    for class_id, *values in lines:
        yield _yolo_row(class_id, values, tracked=tracked)


def _yolo_row(class_id: str, values: list[str], *, tracked: bool) -> Row:
    """A line of `box [score] [id]`, `polygon [score] [id]` or, of a pose, `box keypoints [score] [id]`."""
    if _is_pose(values):
        values = values[:4] + values[_POSE:]
    track = None
    # A triangle has as many numbers as a box with score and track; only a track is a whole number.
    if len(values) > 4 and _is_track(values[-1], 1 if tracked or len(values) == 6 else 2):
        *values, track = values
    numbers = [float(value) for value in values]
    if len(values) in (4, 5):
        score = numbers[4] if len(numbers) > 4 else None
        return Row(box=numbers[:4], box_format="cxcywhn", class_id=class_id, score=score, id=track)
    if len(values) < 6:
        line = " ".join([class_id, *values])
        raise ValueError(f"{line[:60]!r} is neither 'class cx cy w h [score]' nor 'class x1 y1 x2 y2 x3 y3 ...'")
    corners = len(numbers) // 2 * 2
    score = numbers[-1] if len(numbers) % 2 else None
    return Row(rings=[numbers[:corners]], rings_normalised=True, class_id=class_id, score=score, id=track)


def _is_track(value: str, least: int) -> bool:
    return value.isdigit() and int(value) >= least


def _is_pose(values: list[str]) -> bool:
    """Whether a box is followed by COCO's 17 keypoints of x, y and visibility, all those that are seen in the box."""
    if not _POSE <= len(values) <= _POSE + 2:
        return False
    cx, cy, width, height, *points = map(float, values[:_POSE])
    within = (abs(cx - 0.5) + width / 2 <= _ABOUT_HALF) and (abs(cy - 0.5) + height / 2 <= _ABOUT_HALF)
    return within and all(
        visible == 0 or (abs(x - cx) <= 0.6 * width and abs(y - cy) <= 0.6 * height) or (x, y) == (0, 0)
        for x, y, visible in zip(points[::3], points[1::3], points[2::3], strict=True)
    )


def _is_xml(found: Any) -> bool:
    return isinstance(found, str) and found.lstrip().startswith("<")


def _read_voc(found: str, _context: Context) -> Iterator[Row]:
    root = _xml(found)
    if root.tag != "annotation":
        raise DetectionError(f"its root is <{root.tag[:40]}>; expected Pascal VOC's <annotation>.")
    size = [float(root.findtext(f"size/{side}") or 0) for side in ("width", "height")]
    for thing in root.iterfind("object"):
        box = thing.find("bndbox")
        if box is None:
            raise KeyError("bndbox")
        x0, y0, x1, y1 = (_side(box, side) for side in ("xmin", "ymin", "xmax", "ymax"))
        # VOC counts pixels from 1 and includes the last one. Tools that count from 0 write 0 here and there.
        yield Row(
            box=(max(x0 - 1, 0), max(y0 - 1, 0), x1, y1),
            label=thing.findtext("name"),
            image_size=(int(size[0]), int(size[1])) if all(size) else None,
        )


def _side(box: Element, side: str) -> float:
    text = box.findtext(side)
    if text is None:
        raise KeyError(side)
    return float(text)


def _xml(text: str) -> Element:
    """Parse XML without a document type: entities that unfold without end are declared in one."""
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(text, True)
        return builder.close()
    except expat.ExpatError as error:
        raise DetectionError(f"text that starts like XML is not XML: {error}.") from error


def _refuse_doctype(*_: Any) -> None:
    raise DetectionError("XML with a document type (<!DOCTYPE ...>) is refused; remove it. Pascal VOC has none.")


FORMATS = (
    Format("YOLO text", _is_yolo, _read_yolo),
    Format("Pascal VOC XML", _is_xml, _read_voc),
)
