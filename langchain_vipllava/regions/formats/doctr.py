"""doctr's `export()`: pages, blocks, lines and words in 0..1 of the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import outline_row
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import keys_of


def _is_document(output: Any) -> bool:
    pages = output.get("pages") if isinstance(output, Mapping) else None
    return isinstance(pages, list) and (not pages or _is_page(pages[0]))


def _read_document(output: Any, context: Context) -> Iterator[Row]:
    pages = output["pages"]
    if len(pages) > 1:
        raise DetectionError(f"it holds {len(pages)} pages; pass one: result.export()['pages'][0].")
    for page in pages:
        yield from _read_page(page, context)


def _is_page(output: Any) -> bool:
    return keys_of(output) >= {"dimensions", "page_idx"} and bool(keys_of(output) & {"blocks", "predictions"})


def _read_page(page: Any, _context: Context) -> Iterator[Row]:
    height, width = page["dimensions"]
    words: list[tuple[Any, Any]] = [
        (word, None)
        for block in page.get("blocks") or ()
        for line in block.get("lines") or ()
        for word in line.get("words") or ()
    ]
    words += [(word, kind) for kind, found in (page.get("predictions") or {}).items() for word in found]
    for word, kind in words:
        yield outline_row(
            word["geometry"],
            normalized=True,
            label=word.get("value") or kind,
            score=word.get("confidence"),
            image_size=(int(width), int(height)),
        )


FORMATS = (
    Format("doctr", "doctr export", _is_document, _read_document, Precedence.IMAGE),
    Format("doctr", "page of a doctr export", _is_page, _read_page, Precedence.IMAGE),
)
