"""Faces: dlib, insightface, face_recognition, DeepFace, RetinaFace, OpenCV's YuNet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import field, first_row, keys_of, number_table, rows

_SIDES = ("left", "top", "right", "bottom")


def _is_rectangle(output: Any) -> bool:
    rectangle = getattr(output, "rect", output)
    return all(callable(getattr(rectangle, side, None)) for side in _SIDES)


def _are_rectangles(output: Any) -> bool:
    """Match dlib's `rectangles`, its `mmod_rectangles`, and the tuple of `detector.run`."""
    if isinstance(output, tuple) and len(output) == 3 and not _is_rectangle(output[0]):
        output = output[0]
    if _is_rectangle(output):
        return True
    first = next(iter(output), None) if hasattr(output, "__iter__") and not isinstance(output, (str, Mapping)) else None
    return first is not None and _is_rectangle(first)


def _read_rectangles(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    scores: Any = None
    if isinstance(output, tuple) and len(output) == 3 and not _is_rectangle(output[0]):
        output, scores, _ = output
    listed = [output] if _is_rectangle(output) else list(output)
    scored = zip(listed, [None] * len(listed) if scores is None else scores, strict=True)
    yield from each(scored, lambda pair: _rectangle(*pair))


def _rectangle(rectangle: Any, score: Any) -> Row:
    inner = getattr(rectangle, "rect", rectangle)
    left, top, right, bottom = (getattr(inner, side)() for side in _SIDES)
    # dlib's right and bottom are the last pixels
    return Row(box=[left, top, right + 1, bottom + 1], score=field(rectangle, "confidence") if score is None else score)


def _are_insightface(output: Any) -> bool:
    face = output[0] if isinstance(output, (list, tuple)) and output else output
    return field(face, "det_score") is not None and field(face, "bbox") is not None


def _read_insightface(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    faces = output if isinstance(output, (list, tuple)) else [output]
    yield from each(faces, lambda face: Row(box=field(face, "bbox"), label="face", score=field(face, "det_score")))


def _has_facial_areas(output: Any) -> bool:
    """Match DeepFace's list, and RetinaFace's dict of `face_1`, `face_2`."""
    if isinstance(output, Mapping) and output and all(isinstance(face, Mapping) for face in output.values()):
        return all("facial_area" in face for face in output.values())
    return "facial_area" in keys_of(first_row(output))


def _read_facial_areas(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    faces = output.values() if isinstance(output, Mapping) and "facial_area" not in output else rows(output)
    yield from each(faces, _facial_area)


def _facial_area(face: Mapping[str, Any]) -> Row:
    area, score = face["facial_area"], field(face, "score", "confidence", "face_confidence")
    if isinstance(area, Mapping):
        return Row(box=[area["x"], area["y"], area["w"], area["h"]], box_format="xywh", label="face", score=score)
    return Row(box=area, label="face", score=score)


def _may_be_locations(output: Any) -> bool:
    table = number_table(output)
    return table is not None and table.shape[1] == 4


def _read_locations(output: Any, _context: Context) -> Iterator[Row]:
    for top, right, bottom, left in [] if (table := number_table(output)) is None else table:
        yield Row(box=[left, top, right, bottom], label="face")


def _may_be_yunet(output: Any) -> bool:
    table = number_table(output[1] if isinstance(output, tuple) and len(output) == 2 else output)
    return table is not None and table.shape[1] == 15


def _read_yunet(output: Any, _context: Context) -> Iterator[Row]:
    table = number_table(output[1] if isinstance(output, tuple) and len(output) == 2 else output)
    for row in [] if table is None else table:  # box, five landmarks, score
        yield Row(box=row[:4], box_format="xywh", label="face", score=row[14])


FORMATS = (
    Format("dlib", "dlib rectangles", _are_rectangles, _read_rectangles, Precedence.LOOSE_IMAGE),
    Format("insightface", "insightface faces", _are_insightface, _read_insightface, Precedence.ROWS),
    Format("deepface", "DeepFace or RetinaFace faces", _has_facial_areas, _read_facial_areas, Precedence.IMAGE),
    Format(
        "face-recognition",
        "face_recognition locations (top, right, bottom, left)",
        _may_be_locations,
        _read_locations,
        Precedence.ON_REQUEST,
    ),
    Format("opencv-yunet", "OpenCV FaceDetectorYN table", _may_be_yunet, _read_yunet, Precedence.ON_REQUEST),
)
