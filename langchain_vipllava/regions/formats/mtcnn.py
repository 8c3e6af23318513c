"""The list that the `mtcnn` package returns for faces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import first_row, keys_of, rows


def _is_mtcnn(output: Any) -> bool:
    row = first_row(output)
    return keys_of(row) >= {"box", "keypoints", "confidence"} and not isinstance(row["box"], Mapping)


def _read_mtcnn(output: Any, context: Context) -> Iterator[Row]:
    for row in rows(output):
        yield replace(context.assumed(row["box"], "xywh", row), score=row["confidence"])


_CLUES = ("box", "confidence", "keypoints")

FORMATS = (Format("mtcnn", "MTCNN result", _is_mtcnn, _read_mtcnn, Precedence.ROWS, clues=_CLUES),)
