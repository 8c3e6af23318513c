"""KITTI's text, of which the box in the image is read; and text of a name and a box in pixels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row, UnreadableRow, each

_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_KITTI = re.compile(rf"([A-Za-z_]+)((?:\s+{_NUMBER}){{14}})(\s+{_NUMBER})?\s*")
_BOX = re.compile(rf"([^\d\s<>{{}}\[\](),:][^\s<>{{}}\[\](),:]*)((?:[\s,]+{_NUMBER}){{4,5}})\s*")


def _lines(output: Any) -> list[str]:
    return [line for line in output.splitlines() if line.strip()] if isinstance(output, str) else []


def _is_kitti(output: Any) -> bool:
    lines = _lines(output)
    return bool(lines) and all(
        (match := _KITTI.fullmatch(line)) and max(map(float, match[2].split()[3:7])) > 1 for line in lines
    )


def _read_kitti(output: str, context: Context) -> Iterator[Row | UnreadableRow]:
    lines = _lines(output)
    context.limits.check_rows(len(lines))
    yield from each(lines, _kitti_row)


def _kitti_row(line: str) -> Row:
    match = _KITTI.fullmatch(line)
    if match is None:
        raise ValueError(f"{line[:60]!r}; expected KITTI's 15 or 16 columns")
    # type, truncated, occluded, alpha, left, top, right, bottom, and eight columns in three dimensions
    return Row(box=[float(number) for number in match[2].split()[3:7]], label=match[1], score=match[3])


def _boxes(output: Any) -> list[tuple[str, list[float], float | None]]:
    """Return name, box and score of each line of `name [score] four numbers`; empty if it is other text."""
    found = []
    for line in _lines(output):
        match = _BOX.fullmatch(line)
        if match is None:
            return []
        words = match[2].replace(",", " ").split()
        *score, a, b, c, d = map(float, words)
        if max(map(abs, (a, b, c, d))) <= 1.5 or (score and not ("." in words[0] and 0 <= score[0] <= 1)):
            return []
        found.append((match[1], [a, b, c, d], score[0] if score else None))
    return found


def _are_boxes(output: Any) -> bool:
    return bool(_boxes(output))


def _read_boxes(output: str, context: Context) -> Iterator[Row]:
    box_format = context.required_box_format("nothing says what the four numbers behind each name mean")
    for name, box, score in _boxes(output):
        yield Row(box=box, box_format=box_format, label=name, score=score)


FORMATS = (
    Format("kitti", "KITTI text", _is_kitti, _read_kitti, Precedence.TEXT),
    Format("table", "lines of a name and a box (with box_format=)", _are_boxes, _read_boxes, Precedence.TEXT),
)
