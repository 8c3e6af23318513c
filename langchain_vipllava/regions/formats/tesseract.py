"""Tesseract's `image_to_data` as dict, DataFrame, rows or TSV, and its `image_to_boxes`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.frames import table_rows
from langchain_vipllava.regions.outlines import height_of
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import first_row, keys_of, number_or_none, percent

_BOX = ("left", "top", "width", "height")
_DATA = {*_BOX, "conf", "text"}
_PLACES = {"level", "page_num", "block_num", "par_num", "line_num", "word_num"}
"""Columns that only tesseract writes."""

_TSV_HEADER = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext"
_CHARACTER_COLUMNS = ("char", "left", "bottom", "right", "top", "page")
_CHARACTER = re.compile(r"\S+ \d+ \d+ \d+ \d+ \d+")


def _is_data(output: Any) -> bool:
    keys = keys_of(first_row(output))
    if not keys >= _DATA:
        return False
    if keys & _PLACES:
        return True
    # Its confidences are percent; without its other columns, a row in 0..1 may be of any origin.
    return any((number_or_none(row["conf"], "conf") or 0) > 1 for row in table_rows(output))


def _read_data(output: Any, _context: Context) -> Iterator[Row]:
    listed = table_rows(output)
    pages = {str(row["page_num"]) for row in listed if "page_num" in row}
    if len(pages) > 1:
        raise DetectionError(f"it holds {len(pages)} pages; keep the rows of one page_num.")
    for row in listed:
        confidence = number_or_none(row["conf"], "conf")
        text = _text(row["text"])
        # Pages, blocks, paragraphs and lines have a confidence of -1; words may be blank.
        if not text or (confidence is not None and confidence < 0):
            continue
        box = [number_or_none(row[name], name) for name in _BOX]
        yield Row(box=box, box_format="xywh", label=text, score=percent(confidence))


def _text(value: Any) -> str:
    # pandas reads a column of numbers as numbers, and writes NaN where there is no text.
    if value is None or value != value:  # noqa: PLR0124
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _is_tsv(output: Any) -> bool:
    return isinstance(output, str) and output.startswith(_TSV_HEADER)


def _read_tsv(output: str, context: Context) -> Iterator[Row]:
    # Not csv.reader: a quotation mark in a TSV of tesseract is a character that was read.
    header, *lines = output.split("\n")
    context.limits.check_rows(len(lines))
    names = header.rstrip("\r").split("\t")
    found = []
    for line in lines:
        # The text of pages, blocks and lines is empty: the tab before it may be stripped.
        cells = [*line.rstrip("\r").split("\t"), ""][: len(names)]
        if line.strip():
            found.append(dict(zip(names, cells, strict=True)))
    yield from _read_data(found, context)


def _is_characters(output: Any) -> bool:
    """Match lines `character left bottom right top page`. YOLO's lines of six have values in 0..1."""
    if not isinstance(output, str) or not output.strip():
        return False
    lines = [line for line in output.splitlines() if line.strip()]
    return all(_CHARACTER.fullmatch(line.strip()) and _is_box(line.split()[1:5]) for line in lines)


def _is_box(sides: list[str]) -> bool:
    left, bottom, right, top = map(int, sides)
    return left < right and bottom < top and max(right, top) > 1


def _read_characters(output: str, context: Context) -> Iterator[Row]:
    lines = [line.split() for line in output.splitlines() if line.strip()]
    yield from _characters([(name, *map(int, sides)) for name, *sides in lines], context)


def _is_characters_dict(output: Any) -> bool:
    return isinstance(output, Mapping) and keys_of(first_row(output)) >= set(_CHARACTER_COLUMNS)


def _read_characters_dict(output: Any, context: Context) -> Iterator[Row]:
    found = table_rows(output)
    yield from _characters([tuple(row[name] for name in _CHARACTER_COLUMNS) for row in found], context)


def _characters(found: list[tuple[Any, ...]], context: Context) -> Iterator[Row]:
    if len({page for *_, page in found}) > 1:
        raise DetectionError("it holds several pages; keep the rows of one.")
    height = height_of(context.image_size, "tesseract's image_to_boxes")
    for character, left, bottom, right, top, _page in found:
        yield Row(box=(left, height - top, right, height - bottom), label=character)


FORMATS = (
    Format("tesseract", "tesseract image_to_data", _is_data, _read_data, Precedence.IMAGE),
    Format("tesseract", "tesseract image_to_data text", _is_tsv, _read_tsv, Precedence.TEXT),
    Format("tesseract", "tesseract image_to_boxes text", _is_characters, _read_characters, Precedence.TEXT),
    Format("tesseract", "tesseract image_to_boxes dict", _is_characters_dict, _read_characters_dict, Precedence.IMAGE),
)
