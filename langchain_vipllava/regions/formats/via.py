"""VGG Image Annotator (VIA) 1 to 3: its projects, its JSON of annotations, its CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import ellipse
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import field, first_row, keys_of, rows

_NAMES = ("label", "name", "class", "category", "type", "object", "object_name")
"""Attributes that are the name of a region, where it has several. VIA lets its users name them."""


def _files(output: Any) -> list[Any]:
    """Return the files of a project or of exported annotations."""
    files = output.get("_via_img_metadata") if isinstance(output, Mapping) else None
    files = output if files is None else files
    return list(files.values()) if isinstance(files, Mapping) else []


def _is_file(value: Any) -> bool:
    return keys_of(value) >= {"filename", "regions"}


def _is_via(output: Any) -> bool:
    return _is_file(output) or (bool(_files(output)) and all(map(_is_file, _files(output))))


def _read_via(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    files = [output] if _is_file(output) else _files(output)
    if len(files) > 1:
        raise DetectionError(f"it holds {len(files)} images; pass one: list(via['_via_img_metadata'].values())[0].")
    regions = files[0]["regions"]
    regions = list(regions.values()) if isinstance(regions, Mapping) else regions  # VIA 1 numbers them
    yield from each(rows(regions), lambda row: _row(row["shape_attributes"], row.get("region_attributes")))


def _is_csv(output: Any) -> bool:
    return keys_of(first_row(output)) >= {"region_shape_attributes", "region_attributes"}


def _read_csv(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    listed = [row for row in rows(output) if _json(row["region_shape_attributes"])]  # images without regions have {}
    names = {row.get("filename", row.get("#filename")) for row in listed}
    if len(names) > 1:
        raise DetectionError(f"it holds {len(names)} images; keep the rows of one filename.")
    yield from each(listed, lambda row: _row(_json(row["region_shape_attributes"]), _json(row["region_attributes"])))


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _row(shape: Mapping[str, Any], attributes: Any) -> Row:
    label, kind = _label(attributes), shape["name"]
    if kind == "rect":
        return Row(box=[shape[side] for side in ("x", "y", "width", "height")], box_format="xywh", label=label)
    if kind == "circle":
        return Row(rings=[ellipse(shape["cx"], shape["cy"], shape["r"], shape["r"])], label=label)
    if kind == "ellipse":
        degrees = math.degrees(shape.get("theta") or 0)
        return Row(rings=[ellipse(shape["cx"], shape["cy"], shape["rx"], shape["ry"], degrees)], label=label)
    if kind == "polygon":
        points = list(zip(shape["all_points_x"], shape["all_points_y"], strict=True))
        return Row(rings=[points], label=label)
    if kind == "point":
        return Row(point=(shape["cx"], shape["cy"]), label=label)
    raise DetectionError(f"a {kind!r} encloses nothing; expected a rect, circle, ellipse, polygon or point.")


def _label(attributes: Any) -> str | None:
    if not isinstance(attributes, Mapping) or not attributes:
        return None
    value = field(attributes, *_NAMES)
    if value is None:
        value = next(iter(attributes.values()))
    if isinstance(value, Mapping):  # check boxes: {"cat": true}
        value = ", ".join(name for name, is_set in value.items() if is_set)
    return str(value) or None


def _is_via3(output: Any) -> bool:
    return keys_of(output) >= {"metadata", "attribute", "file"}


def _read_via3(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    found = [row for row in output["metadata"].values() if row.get("xy")]
    if len({row.get("vid") for row in found}) > 1 or any(len(row.get("z") or ()) for row in found):
        raise DetectionError("it holds several images or moments of a video; keep the metadata of one.")
    attributes = output["attribute"]
    yield from each(found, lambda row: _row3(row, attributes))


def _row3(row: Mapping[str, Any], attributes: Mapping[str, Any]) -> Row:
    kind, *values = row["xy"]
    label = None
    for id, value in (row.get("av") or {}).items():
        options = (attributes.get(id) or {}).get("options") or {}
        label = label or str(options.get(value, value)) or None
    if kind == 2:
        return Row(box=values, box_format="xywh", label=label)
    if kind in (3, 4):
        cx, cy, rx, *ry = values
        return Row(rings=[ellipse(cx, cy, rx, ry[0] if ry else rx)], label=label)
    if kind == 7:
        return Row(rings=[values], label=label)
    if kind == 1:
        return Row(point=values, label=label)
    raise DetectionError(f"shape {kind} of VIA 3 encloses nothing; expected 1 to 4, or 7.")


_CLUES = ("_via_img_metadata", "filename", "region_attributes", "region_shape_attributes", "shape_attributes")

FORMATS = (
    Format("via", "VIA JSON", _is_via, _read_via, Precedence.IMAGE, _CLUES),
    Format("via", "VIA CSV", _is_csv, _read_csv, Precedence.ROWS, _CLUES),
    Format("via", "VIA 3 project", _is_via3, _read_via3, Precedence.IMAGE, ("attribute", "metadata", "vid", "xy")),
)
