"""Kosmos-2: its entities, and its text before post-processing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import fractions
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import numbers

_CELLS = 32
"""Cells of a side. Source: Kosmos2Processor, num_patch_index_tokens=1024."""

_CORNER_TAGS = r"(?:<patch_index_\d{4}>|</delimiter_of_multi_objects/>|\s){0,400}"
_OBJECT = re.compile(rf"(?:<phrase>([^<]{{0,500}})</phrase>\s*)?<object>({_CORNER_TAGS})</object>")
_CORNERS = re.compile(r"<patch_index_(\d{4})>\s*<patch_index_(\d{4})>")


def _entities(output: Any) -> Any:
    """Return the entities of `(caption, entities)`, or the output."""
    if isinstance(output, tuple) and len(output) == 2 and isinstance(output[0], str) and isinstance(output[1], list):
        return output[1]
    return output


def _are_entities(output: Any) -> bool:
    """Match `[(phrase, (start, end), [(x0, y0, x1, y1), ...]), ...]`."""
    entities = _entities(output)
    if not isinstance(entities, (list, tuple)) or (entities is output and not entities):
        return False
    return all(
        isinstance(entity, (list, tuple))
        and len(entity) == 3
        and isinstance(entity[0], str)
        and isinstance(entity[1], (list, tuple))
        and len(entity[1]) == 2
        and numbers(entity[2], "the boxes").reshape(-1, 4).size
        for entity in entities
    )


def _read_entities(output: Any, _context: Context) -> Iterator[Row]:
    for phrase, _span, boxes in _entities(output):
        for box in boxes:
            yield Row(box=fractions(box, 1, "box"), box_format="xyxyn", label=phrase)


def _is_text(output: Any) -> bool:
    return isinstance(output, str) and any(_CORNERS.search(match[2]) for match in _OBJECT.finditer(output))


def _read_text(output: str, _context: Context) -> Iterator[Row]:
    for match in _OBJECT.finditer(output):
        for corners in _CORNERS.finditer(match[2]):
            yield Row(box=_box(int(corners[1]), int(corners[2])), box_format="xyxyn", label=match[1])


def _box(first: int, last: int) -> list[float]:
    """Return the box between two cells, as the processor does: from center to center, or whole cells in one line."""
    x0, y0, x1, y1 = first % _CELLS, first // _CELLS, last % _CELLS, last // _CELLS
    near, far = (0.0, 1.0) if x0 == x1 or y0 == y1 else (0.5, 0.5)
    return fractions([x0 + near, y0 + near, x1 + far, y1 + far], _CELLS, "box")


FORMATS = (
    Format("kosmos2", "Kosmos-2 entities", _are_entities, _read_entities, Precedence.ROWS),
    Format("kosmos2", "Kosmos-2 text with <object>", _is_text, _read_text, Precedence.TEXT, ("<object>", "<phrase>")),
)
