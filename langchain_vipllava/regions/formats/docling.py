"""docling: a `DoclingDocument`, its items, and bare boxes {l, t, r, b, coord_origin}."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import Size
from langchain_vipllava.regions.outlines import height_of
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import field

_ITEMS = ("texts", "pictures", "tables", "key_value_items", "form_items")


def _is_document(output: Any) -> bool:
    return field(output, "texts", "pictures", "tables") is not None and (
        field(output, "schema_name") == "DoclingDocument" or field(output, "pages") is not None
    )


def _read_document(output: Any, context: Context) -> Iterator[Row]:
    pages = field(output, "pages") or {}
    found = [
        (place, item)
        for name in _ITEMS
        for item in field(output, name) or ()
        for place in field(item, "prov") or ()
        if field(place, "bbox") is not None
    ]
    numbers = {str(field(place, "page_no")) for place, _ in found}
    if len(numbers) > 1 or len(pages) > 1:
        raise DetectionError(f"it holds {max(len(numbers), len(pages))} pages; pass the items of one.")
    size = _page_size(next(iter(pages.values())) if pages else None)
    for place, item in found:
        yield _row(field(place, "bbox"), _label(item), None, size, context)


def _page_size(page: Any) -> tuple[float, float] | None:
    size = field(page, "size")
    width, height = field(size, "width"), field(size, "height")
    return None if not width or not height else (float(width), float(height))


def _label(item: Any) -> Any:
    text = field(item, "text")
    kind = field(item, "label", "type")
    return text or getattr(kind, "value", kind)


def _row(box: Any, label: Any, score: Any, page: tuple[float, float] | None, context: Context) -> Row:
    """Return a box of a page. Pages have points, and may be another size than their image: then it is in 0..1."""
    left, top, right, bottom = (float(field(box, side) or 0) for side in "ltrb")
    if _counts_from_bottom(box):
        height = height_of(page or context.image_size, "docling's coord_origin BOTTOMLEFT")
        top, bottom = height - top, height - bottom
    if page is None:
        return Row(box=(left, top, right, bottom), label=label, score=score)
    if context.image_size is None and _is_whole(page):
        size = int(page[0]), int(page[1])
        return Row(box=(left, top, right, bottom), label=label, score=score, image_size=size)
    width, height = page
    shares = (left / width, top / height, right / width, bottom / height)
    return Row(box=shares, box_format="xyxyn", label=label, score=score)


def _is_whole(page: tuple[float, float]) -> bool:
    return all(side.is_integer() for side in page)


def _counts_from_bottom(box: Any) -> bool:
    origin = field(box, "coord_origin")
    return str(getattr(origin, "value", origin)).upper().endswith("BOTTOMLEFT")


def _box(row: Any) -> Any:
    """Return the box of an item or of a cluster of the layout model, or the row if it is one; None without any."""
    for box in (row, field(row, "bbox"), field(next(iter(field(row, "prov") or ()), None), "bbox")):
        if box is not None and all(field(box, side) is not None for side in "ltrb"):
            return box
    return None


def _are_items(output: Any) -> bool:
    return _box(output[0] if isinstance(output, (list, tuple)) else output) is not None


def _read_items(output: Any, context: Context) -> Iterator[Row]:
    size: Size | None = None
    for item in output if isinstance(output, (list, tuple)) else [output]:
        box = _box(item)
        if box is None:
            raise KeyError("bbox")
        yield _row(box, _label(item), field(item, "confidence", "score"), size, context)


FORMATS = (
    Format("docling", "docling document", _is_document, _read_document, Precedence.IMAGE),
    Format("docling", "docling boxes {l, t, r, b, coord_origin}", _are_items, _read_items, Precedence.ROWS),
)
