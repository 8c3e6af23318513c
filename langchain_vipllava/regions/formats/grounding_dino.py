"""GroundingDINO's `predict`: boxes, scores and phrases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.columns import columns
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import describe, plain


def _is_predict(output: Any) -> bool:
    """Match `(boxes, scores, phrases)`, which other libraries write with other layouts of boxes."""
    if not isinstance(output, tuple) or len(output) != 3 or not isinstance(output[2], (list, tuple)):
        return False
    boxes, scores = (np.asarray(plain(part)) for part in output[:2])
    texts = all(isinstance(phrase, str) for phrase in output[2])
    return texts and boxes.shape == (len(output[2]), 4) and scores.shape == (len(output[2]),)


def _read_predict(output: Any, context: Context) -> Iterator[Row]:
    if not _is_predict(output):
        raise DetectionError(f"{describe(output)} is not (boxes, scores, phrases).")
    boxes, scores, phrases = output
    yield from columns(boxes, context, "cxcywhn", scores=scores, names=list(phrases))


FORMATS = (
    Format(
        "grounding-dino",
        "GroundingDINO (boxes cxcywh in 0..1, scores, phrases)",
        _is_predict,
        _read_predict,
        Precedence.ON_REQUEST,
    ),
)
