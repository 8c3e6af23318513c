"""MOT Challenge's text: frame, track, x, y, width, height, score, -1, -1, -1."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row, UnreadableRow, each

_NUMBER = r"\s*-?\d+(?:\.\d+)?(?:e[+-]?\d+)?\s*"
_LINE = re.compile(rf"(?:{_NUMBER},){{7}}\s*-1(?:\.0)?\s*,\s*-1(?:\.0)?\s*(?:,\s*-1(?:\.0)?\s*)?", re.IGNORECASE)


def is_mot(output: Any) -> bool:
    """Whether a text is that of MOT Challenge, whose last columns are unused in two dimensions."""
    if not isinstance(output, str):
        return False
    lines = [line for line in output.splitlines() if line.strip()]
    return bool(lines) and all(_LINE.fullmatch(line) for line in lines)


def _read_mot(output: str, context: Context) -> Iterator[Row | UnreadableRow]:
    lines = [line for line in output.splitlines() if line.strip()]
    context.limits.check_rows(len(lines))
    table = [[float(cell) for cell in line.split(",")] for line in lines]
    frames = {row[0] for row in table}
    if len(frames) > 1:
        raise DetectionError(f"it holds {len(frames)} frames; keep the lines of one.")
    yield from each(table, _row)


def _row(row: list[float]) -> Row:
    track, score = row[1], row[6]
    return Row(
        box=row[2:6],
        box_format="xywh",
        score=score if 0 <= score <= 1 else None,  # some detectors write other measures there
        id=int(track) if track >= 0 else None,
    )


FORMATS = (Format("mot", "MOT Challenge text", is_mot, _read_mot, Precedence.TEXT),)
