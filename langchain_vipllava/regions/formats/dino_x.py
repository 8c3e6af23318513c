"""The detections of DINO-X, Grounding DINO 1.5 and T-Rex2 from the DeepDataSpace API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import field


def _objects(output: Any) -> Any:
    found = field(output, "objects")
    if found is None:
        found = field(field(output, "result"), "objects")
    return found if isinstance(found, (list, tuple)) else None


def _is_dino_x(output: Any) -> bool:
    objects = _objects(output)
    return bool(objects) and all(field(objects[0], name) is not None for name in ("bbox", "category", "score"))


def _read_dino_x(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(_objects(output), _row)


def _row(found: Any) -> Row:
    mask = field(found, "mask")
    counts, size = field(mask, "counts"), field(mask, "size")
    return Row(
        box=field(found, "bbox"),
        mask={"counts": counts, "size": size} if counts is not None and size is not None else None,
        label=field(found, "category"),
        score=field(found, "score"),
    )


FORMATS = (Format("dino-x", "DINO-X result", _is_dino_x, _read_dino_x, Precedence.IMAGE, ("objects", "category")),)
