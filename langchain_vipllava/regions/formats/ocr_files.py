"""Files of OCR: hOCR and ALTO XML of tesseract and others, ICDAR's ground truth."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any
from xml.etree.ElementTree import Element

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import outline_row
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import percent
from langchain_vipllava.regions.xml_text import parse_xml, root_tag

_TITLE = r"""\s[^<>]{0,300}?title\s*=\s*(["'])([^<>]{0,300}?)\1[^<>]{0,300}>"""
_WORD = re.compile(rf"""<span\s[^<>]{{0,300}}?class\s*=\s*["']ocrx_word["']{_TITLE}(.{{0,500}}?)</span>""", re.DOTALL)
_PAGE = re.compile(r"""class\s*=\s*["']ocr_page["']""")
_BOX = re.compile(r"bbox\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)")
_CONFIDENCE = re.compile(r"x_wconf\s+(\d+(?:\.\d+)?)")
_MARKUP = re.compile(r"<[^<>]{0,100}>")

_ICDAR = re.compile(r"((?:-?\d+(?:\.\d+)?\s*,\s*){7}-?\d+(?:\.\d+)?)\s*,(.*)")
_ILLEGIBLE = "###"
"""Text of a word that nobody can read. Source: ICDAR 2015, Incidental Scene Text."""


def _is_hocr(output: Any) -> bool:
    return isinstance(output, str) and output.lstrip().startswith("<") and _PAGE.search(output) is not None


def _read_hocr(output: str, context: Context) -> Iterator[Row | UnreadableRow]:
    if len(_PAGE.findall(output)) > 1:
        raise DetectionError("it holds several pages; keep one ocr_page.")
    words = list(_WORD.finditer(output))
    context.limits.check_rows(len(words))
    if not words and "ocrx_word" in output:
        raise DetectionError("its ocrx_word have no title with a bbox.")
    yield from each(words, _hocr_row)


def _hocr_row(match: re.Match[str]) -> Row:
    box, confidence = _BOX.search(match[2]), _CONFIDENCE.search(match[2])
    if box is None:
        raise KeyError("bbox")
    return Row(
        box=[int(side) for side in box.groups()],
        label=unescape(_MARKUP.sub("", match[3])),
        score=percent(confidence[1]) if confidence else None,
    )


def _is_alto(output: Any) -> bool:
    return root_tag(output) == "alto"


def _read_alto(output: str, context: Context) -> Iterator[Row | UnreadableRow]:
    root = parse_xml(output, context.limits)
    unit = next((element.text for element in root.iter() if _tag(element) == "MeasurementUnit"), "pixel")
    if (unit or "").strip().lower() != "pixel":
        raise DetectionError(f"its MeasurementUnit is {unit!r}; expected pixel. Convert it first.")
    if sum(_tag(element) == "Page" for element in root.iter()) > 1:
        raise DetectionError("it holds several pages; keep one Page.")
    yield from each([element for element in root.iter() if _tag(element) == "String"], _alto_row)


def _tag(element: Element) -> str:
    return element.tag.rpartition(":")[2].rpartition("}")[2]


def _alto_row(element: Element) -> Row:
    return Row(
        box=[float(element.attrib[name]) for name in ("HPOS", "VPOS", "WIDTH", "HEIGHT")],
        box_format="xywh",
        label=element.get("CONTENT"),
        score=None if element.get("WC") is None else float(element.attrib["WC"]),
    )


def _icdar_lines(output: Any) -> list[str]:
    return [line.strip() for line in output.splitlines() if line.strip()] if isinstance(output, str) else []


def _is_icdar(output: Any) -> bool:
    lines = _icdar_lines(output)
    matches = [_ICDAR.fullmatch(line) for line in lines]
    # numbers behind the corners may be a score and a class: no ground truth
    return bool(lines) and all(match and not re.fullmatch(r"[\d\s.,-]*", match[2]) for match in matches)


def _read_icdar(output: str, context: Context) -> Iterator[Row | UnreadableRow]:
    lines = _icdar_lines(output)
    context.limits.check_rows(len(lines))
    yield from each(lines, _icdar_row)


def _icdar_row(line: str) -> Row:
    match = _ICDAR.fullmatch(line)
    if match is None:
        raise ValueError(f"{line[:60]!r}; expected 'x1,y1,x2,y2,x3,y3,x4,y4,text'")
    text = match[2].strip().strip('"')
    return outline_row([float(number) for number in match[1].split(",")], label=None if text == _ILLEGIBLE else text)


FORMATS = (
    Format("hocr", "hOCR", _is_hocr, _read_hocr, Precedence.TEXT, ("ocr_page", "ocrx_word", "bbox")),
    Format("alto", "ALTO XML", _is_alto, _read_alto, Precedence.TEXT, ("HPOS", "VPOS", "CONTENT")),
    Format("icdar", "ICDAR text", _is_icdar, _read_icdar, Precedence.TEXT),
)
