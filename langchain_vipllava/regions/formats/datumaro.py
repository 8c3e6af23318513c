"""Datumaro's JSON: a dataset, or one of its items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.corners import turned
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import Size
from langchain_vipllava.regions.outlines import ellipse
from langchain_vipllava.regions.row import Row, UnreadableRow
from langchain_vipllava.regions.values import field, first_row, keys_of


def _is_item(item: Any) -> bool:
    found = field(item, "annotations")
    return isinstance(found, list) and (
        keys_of(first_row(found)) >= {"type", "label_id"} or (not found and keys_of(item) >= {"image", "id", "attr"})
    )


def _is_dataset(output: Any) -> bool:
    items = field(output, "items")
    return isinstance(output, Mapping) and isinstance(items, list) and keys_of(output) >= {"categories", "items"}


def _read_dataset(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    items = output["items"]
    if len(items) > 1:
        raise DetectionError(f"it holds {len(items)} images; keep one: {{**dataset, 'items': dataset['items'][:1]}}.")
    labels = field(field(output["categories"], "label"), "labels") or []
    names = [label["name"] for label in labels]
    for item in items:
        yield from _rows(item, names, context)


def _read_item(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    yield from _rows(output, [], context)


def _rows(item: Mapping[str, Any], names: list[str], context: Context) -> Iterator[Row | UnreadableRow]:
    size = field(field(item, "image"), "size")  # (height, width)
    context = context.with_size(None if not size else (size[1], size[0]))
    placed = [found for found in item["annotations"] if found["type"] not in ("label", "caption")]
    if item["annotations"] and not placed:
        raise DetectionError("its labels are about the whole image; expected a bbox, polygon, mask or points.")
    for found in placed:
        try:
            label_id = found.get("label_id")
            known = isinstance(label_id, int) and 0 <= label_id < len(names)
            values = {"label": names[label_id] if known else None, "class_id": label_id, "id": found.get("id")}
            yield from _row(found, {**values, "image_size": context.image_size})
        except Exception as error:
            yield UnreadableRow(error)


def _row(found: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[Row]:
    kind, points = found["type"], list(found.get("points") or ())
    size: Size | None = values["image_size"]
    if kind == "bbox":
        yield turned(Row(box=found["bbox"], box_format="xywh", **values), found)
    elif kind == "polygon":
        yield Row(rings=[points], **values)
    elif kind == "ellipse":
        x0, y0, x1, y1 = points
        yield Row(rings=[ellipse((x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2)], **values)
    elif kind == "mask":
        yield Row(mask=found["rle"], **values)
    elif kind == "points":
        visible = found.get("visibility") or [2] * (len(points) // 2)
        for number, seen in enumerate(visible):
            if seen:
                yield Row(point=points[2 * number : 2 * number + 2], **values)
    else:
        raise DetectionError(f"a {kind!r} encloses nothing (image {size}); expected a bbox, polygon, mask or points.")


_CLUES = ("annotations", "categories", "items", "label_id", "z_order")

FORMATS = (
    Format("datumaro", "Datumaro dataset", _is_dataset, _read_dataset, Precedence.IMAGE, _CLUES),
    Format("datumaro", "Datumaro item", _is_item, _read_item, Precedence.IMAGE, _CLUES),
)
