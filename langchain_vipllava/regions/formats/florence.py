"""Florence-2's answers, with or without their task token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.columns import column, columns
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import BoxFormat
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import describe, field, keys_of, numbers

_KEYS = {"bboxes", "quad_boxes", "polygons"}


def _is_task_answer(output: Any) -> bool:
    return isinstance(output, Mapping) and len(output) == 1 and all(k[0] == "<" and k[-1] == ">" for k in output)


def _read_task_answer(output: Any, context: Context) -> Iterator[Row]:
    ((task, answer),) = output.items()
    if not keys_of(answer) & _KEYS:
        raise DetectionError(f"the answer to {task} is {describe(answer)}; expected bboxes, quad_boxes or polygons.")
    yield from _rows(answer, "xyxy", context)


def _is_bare_answer(output: Any) -> bool:
    return bool(keys_of(output) & _KEYS) and bool(keys_of(output) & {"labels", "bboxes_labels", "polygons_labels"})


def _read_bare_answer(output: Any, context: Context) -> Iterator[Row]:
    yield from _rows(output, context.box_format_or("xyxy"), context)


def _rows(answer: Mapping[str, Any], box_format: BoxFormat, context: Context) -> Iterator[Row]:
    labels = _without_end(answer.get("labels"))
    boxes = field(answer, "bboxes")
    if boxes is not None:
        names = _without_end(answer.get("bboxes_labels", labels))
        yield from columns(boxes, context, box_format, scores=answer.get("scores"), classes=names)
    quads = field(answer, "quad_boxes")
    if quads is not None:
        quads = numbers(quads, "quad_boxes").reshape(-1, 8)
        for quad, name in zip(quads, column(labels, len(quads), "labels"), strict=True):
            yield Row(rings=[quad], label=name)
    polygons = field(answer, "polygons")
    if polygons is not None:
        names = column(_without_end(answer.get("polygons_labels", labels)), len(polygons), "labels")
        for rings, name in zip(polygons, names, strict=True):
            yield Row(rings=rings, label=name)


def _without_end(labels: Any) -> Any:
    """Drop the end-of-sequence token that Florence-2's own processor leaves in the text that it reads."""
    if not isinstance(labels, (list, tuple)):
        return labels
    return [label.replace("</s>", "") if isinstance(label, str) else label for label in labels]


_CLUES = ("bboxes", "labels", "polygons", "quad_boxes")

FORMATS = (
    Format("florence2", "Florence-2 answer", _is_task_answer, _read_task_answer, Precedence.IMAGE, clues=_CLUES),
    Format(
        "florence2",
        "Florence-2 answer without its task",
        _is_bare_answer,
        _read_bare_answer,
        Precedence.LOOSE_IMAGE,
        clues=_CLUES,
    ),
)
