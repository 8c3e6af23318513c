"""Ultralytics `Results`: boxes, segmentation polygons, oriented boxes, tracks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.columns import columns
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import describe, field, items, numbers


def _is_results(output: Any) -> bool:
    parts = ("boxes", "obb", "masks", "probs", "keypoints")
    return not isinstance(output, Mapping) and hasattr(output, "names") and any(hasattr(output, part) for part in parts)


def _read_results(output: Any, context: Context) -> Iterator[Row]:
    boxes, oriented = field(output, "boxes"), field(output, "obb")
    if boxes is None and oriented is None:
        raise DetectionError(f"{describe(output)} has no boxes; expected the result of detect, segment, pose or obb.")
    source = oriented if boxes is None else boxes
    outlines = field(field(output, "masks"), "xy") if boxes is not None else field(oriented, "xyxyxyxy")
    names = field(output, "names") or {}
    names = names if isinstance(names, Mapping) else dict(enumerate(names))
    classes = items(field(source, "cls")) if field(source, "cls") is not None else None
    shape = field(output, "orig_shape")
    rows = columns(
        _upright(oriented) if boxes is None else field(boxes, "xyxy"),
        context,
        scores=field(source, "conf"),
        names=None if classes is None else [names.get(int(number)) for number in classes],
        classes=classes,
        ids=field(source, "id"),
        image_size=None if shape is None else (shape[1], shape[0]),
    )
    for number, row in enumerate(rows):
        yield row if outlines is None else replace(row, rings=[outlines[number]])


def _upright(oriented: Any) -> Any:
    """Return the upright boxes around oriented ones, also for results without `.xyxy`."""
    boxes = field(oriented, "xyxy")
    if boxes is not None:
        return boxes
    corners = numbers(field(oriented, "xyxyxyxy"), "the corners").reshape(-1, 4, 2)
    return [[*ring.min(axis=0), *ring.max(axis=0)] for ring in corners]


_CLUES = ("boxes", "masks", "names", "obb", "orig_shape")

FORMATS = (Format("ultralytics", "Ultralytics Results", _is_results, _read_results, Precedence.IMAGE, clues=_CLUES),)
