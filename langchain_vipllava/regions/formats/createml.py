"""CreateML's JSON: centers and sizes in pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import field, first_row, keys_of, rows


def _found(image: Any) -> Any:
    return field(image, "annotations", "annotation")


def _is_createml(output: Any) -> bool:
    return keys_of(field(first_row(_found(first_row(output))), "coordinates")) >= {"x", "y", "width", "height"}


def _read_createml(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    images = list(rows(output))
    if len(images) > 1:
        raise DetectionError(f"it holds {len(images)} images; pass one in a list: [images[0]].")
    yield from each(rows(_found(images[0])), _row)


def _row(row: Mapping[str, Any]) -> Row:
    box = [row["coordinates"][side] for side in ("x", "y", "width", "height")]
    return Row(box=box, box_format="cxcywh", label=row.get("label"), score=row.get("confidence"))


_CLUES = ("annotations", "coordinates", "image", "label")

FORMATS = (Format("createml", "CreateML JSON", _is_createml, _read_createml, Precedence.ROWS, _CLUES),)
