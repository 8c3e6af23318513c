"""The dict of columns that torchvision and transformers' post-processing share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.regions.formats.columns import columns
from langchain_vipllava.regions.formats.context import Context, Format, Row
from langchain_vipllava.regions.formats.values import field, keys_of


def _is_boxes_dict(found: Any) -> bool:
    return isinstance(found, Mapping) and "boxes" in keys_of(found) and keys_of(found) & {"labels", "scores"} != set()


def _read_boxes_dict(found: Any, context: Context) -> Iterator[Row]:
    # Grounding models put words in text_labels, and in older releases in labels.
    yield from columns(
        field(found, "boxes"),
        box_format=context.layout("xyxy"),
        scores=field(found, "scores", "confidences", "confidence", "conf"),
        names=field(found, "text_labels", "class_names", "names"),
        classes=field(found, "labels", "class_ids", "class_id", "classes"),
        masks=field(found, "masks"),
    )


FORMATS = (
    Format(
        "torchvision or transformers post-processing dict {boxes, labels, scores}", _is_boxes_dict, _read_boxes_dict
    ),
)
