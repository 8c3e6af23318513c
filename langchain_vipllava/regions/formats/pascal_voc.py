"""Pascal VOC's XML annotations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.limits import RegionLimits
from langchain_vipllava.regions.row import Row


def _is_xml(output: Any) -> bool:
    return isinstance(output, str) and output.lstrip().startswith("<")


def _read_voc(output: str, context: Context) -> Iterator[Row]:
    root = _xml(output, context.limits)
    if root.tag != "annotation":
        raise DetectionError(f"its root is <{root.tag[:40]}>; expected Pascal VOC's <annotation>.")
    size = [float(root.findtext(f"size/{side}") or 0) for side in ("width", "height")]
    for element in root.iterfind("object"):
        box = element.find("bndbox")
        if box is None:
            raise KeyError("bndbox")
        x0, y0, x1, y1 = (_coordinate(box, side) for side in ("xmin", "ymin", "xmax", "ymax"))
        # VOC counts pixels from 1 and includes the last one. Some tools count from 0: hence the max().
        yield Row(
            box=(max(x0 - 1, 0), max(y0 - 1, 0), x1, y1),
            label=element.findtext("name"),
            image_size=(int(size[0]), int(size[1])) if all(size) else None,
        )


def _coordinate(box: Element, side: str) -> float:
    text = box.findtext(side)
    if text is None:
        raise KeyError(side)
    return float(text)


def _xml(text: str, limits: RegionLimits) -> Element:
    """Parse XML without a document type declaration, where entities that expand exponentially are declared."""
    builder = _BoundedBuilder(limits)
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(text, True)
        return builder.close()
    except (expat.ExpatError, UnicodeEncodeError) as error:  # the latter: a lone surrogate
        raise DetectionError(f"text that starts like XML is not XML: {error}.") from error


_ELEMENTS_PER_OBJECT = 30
"""Elements that an <object> has at most; 12 in VOC, some more with parts."""


class _BoundedBuilder(TreeBuilder):
    def __init__(self, limits: RegionLimits) -> None:
        super().__init__()
        self._limits, self._depth, self._elements = limits, 0, 0

    def start(self, tag: Any, attrs: Any, /) -> Any:
        self._depth += 1
        self._elements += 1
        self._limits.check_depth(self._depth)
        self._limits.check_rows(self._elements // _ELEMENTS_PER_OBJECT)
        return super().start(tag, attrs)

    def end(self, tag: Any, /) -> Any:
        self._depth -= 1
        return super().end(tag)


def _refuse_doctype(*_: Any) -> None:
    raise DetectionError(
        "XML with <!DOCTYPE ...> is not parsed; expected Pascal VOC's <annotation>. Remove the declaration."
    )


_CLUES = ("annotation", "bndbox", "object", "xmin")

FORMATS = (Format("pascal-voc", "Pascal VOC XML", _is_xml, _read_voc, Precedence.TEXT, clues=_CLUES),)
