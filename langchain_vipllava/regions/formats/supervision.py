"""supervision's `Detections`, and other objects with `.xyxy`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from langchain_vipllava.regions.columns import columns
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import field, plain

_SCORES = ("scores", "confidences", "score")
_NAMES = ("labels", "class_names", "classes", "class_ids", "names")
"""Columns of dicts that a program made from such objects."""


def _is_detections(output: Any) -> bool:
    corners = field(output, "xyxy")
    return corners is not None and not (isinstance(output, Mapping) and np.ndim(plain(corners)) == 1)  # a dict row


def _read_detections(output: Any, context: Context) -> Iterator[Row]:
    data = field(output, "data")
    corners = field(data, "xyxyxyxy")
    if corners is None:
        corners = field(output, "xyxyxyxy")  # Ultralytics' `OBB`
    # The second names are those of Ultralytics' `Boxes`.
    rows = columns(
        field(output, "xyxy"),
        context,
        scores=field(output, "confidence", "conf", *(_SCORES if isinstance(output, Mapping) else ())),
        names=field(data, "class_name"),
        classes=field(output, "class_id", "cls", *(_NAMES if isinstance(output, Mapping) else ())),
        masks=field(output, "mask"),
        ids=field(output, "tracker_id", "id"),
    )
    for number, row in enumerate(rows):
        yield row if corners is None else replace(row, rings=[corners[number]])


_CLUES = ("class_id", "confidence", "tracker_id", "xyxy")

FORMATS = (
    Format(
        "supervision",
        "supervision Detections, or anything with .xyxy",
        _is_detections,
        _read_detections,
        Precedence.LOOSE_IMAGE,
        clues=_CLUES,
    ),
)
