"""Google's Document AI: the tokens of a page, in 0..1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import outline_row
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import field

_PARTS = ("tokens", "lines", "paragraphs", "blocks")
"""Lists of a page, the finest first."""


def _document(output: Any) -> Any:
    inner = field(output, "document")
    return output if inner is None else inner


def _is_document(output: Any) -> bool:
    pages = field(_document(output), "pages")
    if not hasattr(pages, "__len__") or len(pages) == 0 or field(_document(output), "text") is None:
        return False
    return any(field(part, "layout") is not None for name in _PARTS for part in field(pages[0], name) or ())


def _read_document(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    document = _document(output)
    pages, text = field(document, "pages"), field(document, "text")
    if len(pages) > 1:
        raise DetectionError(f"it holds {len(pages)} pages; keep one.")
    found = next((parts for name in _PARTS if (parts := field(pages[0], name))), ())
    yield from each(found, lambda part: _row(field(part, "layout"), text))


def _row(layout: Any, text: str) -> Row:
    outline = field(layout, "boundingPoly", "bounding_poly")
    vertices = field(outline, "normalizedVertices", "normalized_vertices")
    # 0 is left out in JSON
    points = [(field(vertex, "x") or 0, field(vertex, "y") or 0) for vertex in vertices]
    segments = field(field(layout, "textAnchor", "text_anchor"), "textSegments", "text_segments") or ()
    words = (
        text[int(field(part, "startIndex", "start_index") or 0) : int(field(part, "endIndex", "end_index") or 0)]
        for part in segments
    )
    return outline_row(points, normalized=True, label="".join(words).strip(), score=field(layout, "confidence") or None)


_CLUES = ("pages", "tokens", "layout", "textAnchor")

FORMATS = (Format("document-ai", "Google Document AI", _is_document, _read_document, Precedence.IMAGE, _CLUES),)
