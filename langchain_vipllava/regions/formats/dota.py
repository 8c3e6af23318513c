"""DOTA's text: the four corners of a turned box in pixels, its name, its difficulty."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import outline_row
from langchain_vipllava.regions.row import Row, UnreadableRow, each

_HEADER = re.compile(r"(imagesource|gsd|acquisition dates)\s*:.*", re.IGNORECASE)
_LINE = re.compile(r"((?:-?\d+(?:\.\d+)?\s+){8})([^\d\s]\S*)(?:\s+[012])?")


def _lines(output: str) -> list[str]:
    lines = [line.strip() for line in output.splitlines()]
    return [line for line in lines if line and not _HEADER.fullmatch(line)]


def _is_dota(output: Any) -> bool:
    if not isinstance(output, str):
        return False
    lines = _lines(output)
    return bool(lines) and all(_LINE.fullmatch(line) for line in lines)


def _read_dota(output: str, context: Context) -> Iterator[Row | UnreadableRow]:
    lines = _lines(output)
    context.limits.check_rows(len(lines))
    yield from each(lines, _row)


def _row(line: str) -> Row:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"{line[:60]!r}; expected 'x1 y1 x2 y2 x3 y3 x4 y4 name difficult'")
    return outline_row([float(number) for number in match[1].split()], label=match[2])


FORMATS = (Format("dota", "DOTA text", _is_dota, _read_dota, Precedence.TEXT, ("imagesource", "gsd")),)
