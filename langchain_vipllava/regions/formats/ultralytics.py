"""Ultralytics `Results`: boxes, segmentation polygons, oriented boxes, tracks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.formats.columns import columns
from langchain_vipllava.regions.formats.context import Context, Format, Row
from langchain_vipllava.regions.formats.values import describe, field, items, numbers


def _is_results(found: Any) -> bool:
    parts = ("boxes", "obb", "masks", "probs", "keypoints")
    return not isinstance(found, Mapping) and hasattr(found, "names") and any(hasattr(found, part) for part in parts)


def _read_results(found: Any, _context: Context) -> Iterator[Row]:
    boxes, oriented = field(found, "boxes"), field(found, "obb")
    if boxes is None and oriented is None:
        raise DetectionError(f"{describe(found)} holds no boxes; expected the result of detect, segment, pose or obb.")
    source = oriented if boxes is None else boxes
    outlines = field(field(found, "masks"), "xy") if boxes is not None else field(oriented, "xyxyxyxy")
    names = field(found, "names") or {}
    names = names if isinstance(names, Mapping) else dict(enumerate(names))
    classes = items(field(source, "cls")) if field(source, "cls") is not None else None
    shape = field(found, "orig_shape")
    rows = columns(
        _upright(oriented) if boxes is None else field(boxes, "xyxy"),
        scores=field(source, "conf"),
        names=None if classes is None else [names.get(int(number)) for number in classes],
        classes=classes,
        ids=field(source, "id"),
        image_size=None if shape is None else (shape[1], shape[0]),
    )
    for number, row in enumerate(rows):
        yield row if outlines is None else replace(row, rings=[outlines[number]])


def _upright(oriented: Any) -> Any:
    """The upright boxes around oriented ones; computed, for results that lack `.xyxy`."""
    boxes = field(oriented, "xyxy")
    if boxes is not None:
        return boxes
    corners = numbers(field(oriented, "xyxyxyxy"), "the corners").reshape(-1, 4, 2)
    return [[*ring.min(axis=0), *ring.max(axis=0)] for ring in corners]


FORMATS = (Format("Ultralytics Results", _is_results, _read_results),)
