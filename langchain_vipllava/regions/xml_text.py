"""Parse XML within limits, and without the declarations that can expand exponentially."""

from __future__ import annotations

import re
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.limits import RegionLimits

_FIRST_TAG = re.compile(r"<([A-Za-z][\w.-]{0,60})[\s/>]")
_HEAD = 10_000
"""Characters in which the first element is looked for. Chosen: a declaration and a comment before it are shorter."""

_ELEMENTS_PER_OBJECT = 30
"""Elements that an <object> has at most; 12 in VOC, some more with parts and attributes."""


def root_tag(text: Any) -> str | None:
    """Return the name of the first element of a text that starts like XML; None for anything else."""
    if not isinstance(text, str) or not text.lstrip().startswith("<"):
        return None
    match = _FIRST_TAG.search(text[:_HEAD])
    return match[1] if match else None


def parse_xml(text: str, limits: RegionLimits) -> Element:
    """Parse XML without a document type declaration, where entities that expand exponentially are declared.

    Raises:
        DetectionError: not XML, with such a declaration, or more than the limits allow.
    """
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
    raise DetectionError("XML with <!DOCTYPE ...> is not parsed. Remove the declaration.")


def number_in(element: Element, name: str) -> float:
    """Return the number in a child of an element.

    Raises:
        KeyError: there is no such child.
        ValueError: it is not a number.
    """
    text = element.findtext(name)
    if text is None:
        raise KeyError(name)
    return float(text)
