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


def _is_yolo(found: Any) -> bool:
    return isinstance(found, str) and _NUMBERS.fullmatch(found) is not None


def _read_yolo(found: str, _context: Context) -> Iterator[Row]:
    for line in filter(None, map(str.strip, found.splitlines())):
        class_id, *values = line.split()
        numbers = [float(value) for value in values]
        # A triangle has as many numbers as a box with confidence and track; only a track is a whole number.
        tracked = len(values) == 6 and values[5].isdigit() and numbers[5] >= 1
        if len(values) in (4, 5) or tracked:
            yield Row(
                box=numbers[:4],
                box_format="cxcywhn",
                class_id=class_id,
                score=numbers[4] if len(numbers) > 4 else None,
                id=values[5] if tracked else None,
            )
        elif len(values) >= 6:
            corners = len(numbers) // 2 * 2
            yield Row(
                rings=[numbers[:corners]],
                rings_normalised=True,
                class_id=class_id,
                score=numbers[-1] if len(numbers) % 2 else None,
            )
        else:
            raise ValueError(f"{line[:60]!r} is neither 'class cx cy w h [score]' nor 'class x1 y1 x2 y2 x3 y3 ...'")


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
