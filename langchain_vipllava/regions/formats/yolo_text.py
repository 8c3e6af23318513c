"""YOLO's annotation text: one line of numbers per object, behind a class id or name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.formats.mot import is_mot
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.yolo_lines import Line, may_be_outlines, pose_length

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_INTEGERS = re.compile(r"[\d\s]*")
_MAX_NAME_WORDS = 5


def _is_yolo(output: Any) -> bool:
    if not isinstance(output, str) or is_mot(output):
        return False
    if all(map(_NUMBER.fullmatch, output.replace(",", " ").split())):
        # six whole numbers are a character of tesseract's
        sixes = [len(line.split()) == 6 for line in output.splitlines() if line.strip()]
        return not sixes or not all(sixes) or not _INTEGERS.fullmatch(output)
    return _has_names(output)


def _has_names(output: str) -> bool:
    """Whether each line is a name and fractions: a box, an outline, keypoints. Others are in pixels."""
    lines = [line for line in output.splitlines() if line.strip()]
    return bool(lines) and all(_is_named_line(line) for line in lines)


def _is_named_line(text: str) -> bool:
    if "<" in text or "{" in text:
        return False
    try:
        line = _line(text)
    except ValueError:
        return False
    return len(line.values) >= 4 and all(-0.5 <= number <= 1.5 for number in line.numbers[:4])


def _line(text: str) -> Line:
    """Split a line into its class and its numbers.

    Raises:
        ValueError: it does not end with numbers.
    """
    words = text.replace(",", " ").split()
    if not words:
        raise ValueError("it is empty")
    if _NUMBER.fullmatch(words[0]):
        return Line(words[0], tuple(words[1:]))
    count = next((at for at, word in enumerate(words) if _NUMBER.fullmatch(word)), len(words))
    name, values = " ".join(words[:count]), tuple(words[count:])
    if not values or count > _MAX_NAME_WORDS or not all(map(_NUMBER.fullmatch, values)):
        raise ValueError(f"{text[:60]!r}; expected a class and numbers")
    if values[0].isdigit() and len(values) > 4:
        raise ValueError(f"{text[:60]!r}; expected a name without a number at its end")
    return Line(name, values)


def _lines(output: Any, context: Context) -> list[Line]:
    if not isinstance(output, str):
        raise DetectionError("expected the text of a YOLO file.")
    context.limits.check_rows(output.count("\n"))
    context.limits.check_values(len(output.split()) + output.count(","))
    return [_line(line) for line in output.splitlines() if line.strip()]


def _read_yolo(output: str, context: Context) -> Iterator[Row | UnreadableRow]:
    lines = _lines(output, context)
    long = [line for line in lines if len(line.values) > 5 and not _is_tracked_box(line)]
    taken = pose_length(long) if long and len(long) == len(lines) else None
    if taken is None:
        yield from _read_outlines(lines)
    elif may_be_outlines(long):
        raise DetectionError(
            f"its lines of {len(lines[0].values) + 1} numbers may be boxes with keypoints or outlines: pass "
            "format='yolo-pose' or 'yolo-seg'."
        )
    else:
        yield from each(lines, lambda line: _box_row(line, taken))


def _is_tracked_box(line: Line) -> bool:
    return len(line.values) == 6 and _is_track(line.values[-1], 1)


def _read_poses(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    lines = _lines(output, context)
    taken = pose_length(lines)
    if lines and taken is None:
        raise DetectionError("its lines are not all a box and keypoints: 'class cx cy w h x1 y1 [v1] x2 y2 [v2] ...'.")
    yield from each(lines, lambda line: _box_row(line, taken or 0))


def _read_segments(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    yield from _read_outlines(_lines(output, context))


def _read_oriented(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    lines = _lines(output, context)
    if any(not 8 <= len(line.values) <= 10 for line in lines):
        raise DetectionError("its lines are not all 'class x1 y1 x2 y2 x3 y3 x4 y4 [score] [track]'.")
    yield from _read_outlines(lines)


def _box_row(line: Line, taken: int) -> Row:
    """Read a line of `box keypoints [score] [id]` as its box."""
    score, track = _score_and_track(line.values[taken:])
    return Row(box=line.numbers[:4], box_format="cxcywhn", class_id=line.name, score=score, id=track)


def _score_and_track(rest: tuple[str, ...]) -> tuple[float | None, str | None]:
    if len(rest) == 1 and _is_track(rest[0], 2):
        return None, rest[0]
    return (float(rest[0]) if rest else None), (rest[1] if len(rest) > 1 else None)


def _read_outlines(lines: list[Line]) -> Iterator[Row | UnreadableRow]:
    # Ultralytics writes track ids last, in every line or in none. A 1 may be an id, a score or a corner: the other
    # lines decide.
    tracked = any(_is_track(line.values[-1], 2) for line in lines if len(line.values) > 4)
    yield from each(lines, lambda line: _outline_row(line, tracked=tracked))


def _outline_row(line: Line, *, tracked: bool) -> Row:
    """Read a line of `box [score] [id]` or `outline [score] [id]`."""
    values = list(line.values)
    track = None
    # A triangle has as many numbers as a box with score and track. Only a track is a whole number.
    if len(values) > 4 and _is_track(values[-1], 1 if tracked or len(values) == 6 else 2):
        *values, track = values
    numbers = [float(value) for value in values]
    if len(values) in (4, 5):
        score = numbers[4] if len(numbers) > 4 else None
        return Row(box=numbers[:4], box_format="cxcywhn", class_id=line.name, score=score, id=track)
    if len(values) < 6:
        text = " ".join([line.name, *values])
        raise ValueError(f"{text[:60]!r}; expected 'class cx cy w h [score]' or 'class x1 y1 x2 y2 x3 y3 ...'")
    corners = len(numbers) // 2 * 2
    score = numbers[-1] if len(numbers) % 2 else None
    return Row(rings=[numbers[:corners]], rings_normalized=True, class_id=line.name, score=score, id=track)


def _is_track(value: str, min_id: int) -> bool:
    return value.isdigit() and int(value) >= min_id


def _on_request(key: str, name: str, read: Callable[[Any, Context], Iterator[Row | UnreadableRow]]) -> Format:
    return Format(key, name, _is_yolo, read, Precedence.ON_REQUEST)


FORMATS = (
    Format("yolo", "YOLO text", _is_yolo, _read_yolo, Precedence.TEXT),
    _on_request("yolo-pose", "YOLO text with keypoints", _read_poses),
    _on_request("yolo-seg", "YOLO text with outlines", _read_segments),
    _on_request("yolo-obb", "YOLO text with turned boxes", _read_oriented),
)
