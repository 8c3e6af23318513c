"""The dict of columns that torchvision and the post-processing of transformers share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.regions.columns import columns
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.corners import unit_score
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import field, keys_of

_COLUMNS = {
    "labels", "scores", "masks", "text_labels", "class_names", "class_ids", "class_id", "classes", "names",
    "confidence", "confidences", "conf", "phrases", "logits",
}  # fmt: skip


def _is_boxes_dict(output: Any) -> bool:
    return isinstance(output, Mapping) and "boxes" in keys_of(output) and bool(keys_of(output) & _COLUMNS)


def _read_boxes_dict(output: Any, context: Context) -> Iterator[Row]:
    # Grounding models write words to text_labels, and in older releases to labels.
    for row in columns(
        field(output, "boxes"),
        context,
        context.box_format_or("xyxy"),
        scores=field(output, "scores", "confidences", "confidence", "conf", "logits"),
        names=field(output, "text_labels", "class_names", "names", "phrases"),
        classes=field(output, "labels", "class_ids", "class_id", "classes"),
        masks=field(output, "masks"),
    ):
        unit_score(row.score)
        yield row


_CLUES = ("boxes", "labels", "scores")

FORMATS = (
    Format(
        "torchvision",
        "torchvision or transformers post-processing dict {boxes, labels, scores}",
        _is_boxes_dict,
        _read_boxes_dict,
        Precedence.IMAGE,
        clues=_CLUES,
    ),
)
