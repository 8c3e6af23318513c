"""Parse text: JSON, JSON lines, tables with a header line. Other text stays text, for the formats that read it."""

from __future__ import annotations

import csv
import json
import re
from contextlib import suppress
from typing import Any, Literal

from langchain_vipllava.errors import DetectionError, shorten
from langchain_vipllava.regions.embedded_json import embedded_json
from langchain_vipllava.regions.limits import RegionLimits
from langchain_vipllava.regions.values import TEXT_KEYS

_PADDED = re.compile(r"\[\[\d{3},\d{3},\d{3},\d{3}(?:;\d{3},\d{3},\d{3},\d{3})*\]\]")
"""CogVLM's boxes. With a zero in front of a number, they look like JSON and are not."""

_TESSERACT = "level\tpage_num\tblock_num"
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_MIN_COLUMNS = 4
"""Columns of a table with a header line; a box has four numbers."""

_BOX_COLUMNS = {"bbox", "box", "boxes", "xyxy", "xywh", "cxcywh", "polygon", "segmentation"}
"""Columns that hold a whole box as JSON."""


def decoded(data: bytes | bytearray, limits: RegionLimits) -> str:
    """Decode text in UTF-8, or in UTF-16 if it starts with a byte order mark.

    Raises:
        DetectionError: other bytes, or too many.
    """
    limits.check_text(data)
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if b"\0" in data[:2]:  # UTF-16 without its mark: the first character is of JSON, XML or a table, so below 256
        encoding = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DetectionError("the bytes are neither UTF-8 nor UTF-16; expected JSON, CSV, XML or YOLO text.") from error


def parsed(text: str, limits: RegionLimits) -> Any:
    """Parse JSON, also inside of a Markdown fence, JSON lines, and CSV or TSV with a header; else return the text.

    Raises:
        DetectionError: it starts like JSON, and is not.
    """
    text = text.removeprefix("\ufeff").strip()
    if _PADDED.fullmatch(text):
        return text
    if text.startswith(("{", "[")):
        return _json(text, limits)
    if text.startswith(_TESSERACT):  # "007" in its last column is a text, and no number
        return text
    rows = None if text.startswith("<") else table_rows(text, limits)
    if rows is not None:
        return rows
    inside = embedded_json(text)
    return text if inside is None else inside


def _json(text: str, limits: RegionLimits) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        lines = [line for line in text.splitlines() if line.strip()]
        limits.check_rows(len(lines))
        try:
            if len(lines) > 1:
                return [json.loads(line) for line in lines]
        except (ValueError, RecursionError):
            pass  # the first error tells more
        try:
            return embedded_json(text)  # with sentences behind it
        except DetectionError:
            raise DetectionError(f"text that starts like JSON is not JSON: {shorten(str(error))}.") from error


def table_rows(text: str, limits: RegionLimits) -> list[dict[str, Any]] | None:
    """Return the rows of CSV or TSV text with a header line; None if the text is no such table.

    Raises:
        DetectionError: more rows than the limits allow.
    """
    first, _, rest = text.partition("\n")
    delimiter = max(",\t;|", key=first.count)
    has_boxes = bool(_BOX_COLUMNS & {name.strip().lower() for name in first.split(delimiter)})
    if (first.count(delimiter) < _MIN_COLUMNS - 1 and not has_boxes) or not rest.strip():
        return None
    limits.check_rows(rest.count("\n"))
    try:
        # tesseract's TSV has a lone quote where it read one
        quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
        lines = [
            line for line in csv.reader(text.splitlines(), delimiter=delimiter, quoting=quoting, strict=True) if line
        ]
    except csv.Error:
        return None
    header = [name.strip() for name in lines[0]]
    if header[0] == "":  # pandas' to_csv names its index so
        header[0] = "Unnamed: 0"
    named = all(header) and len(set(header)) == len(header) and not any(map(_NUMBER.fullmatch, header))
    if not named or any(len(line) != len(header) for line in lines):
        return None
    return [{name: _cell(value, name) for name, value in zip(header, line, strict=True)} for line in lines[1:]]


def _cell(text: str, name: str) -> Any:
    text = text.strip()
    if name.lower() in TEXT_KEYS:
        return text or None
    if _NUMBER.fullmatch(text):
        return float(text) if set(text) & set(".eE") else int(text)
    return json_cell(text) if text else None


def json_cell(text: str) -> Any:
    """Return the list or dict that a cell of a table holds as JSON; any other text as it is."""
    if text.startswith(("[", "{")):
        with suppress(ValueError, RecursionError):
            return json.loads(text)
    return text
