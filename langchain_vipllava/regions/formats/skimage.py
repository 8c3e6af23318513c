"""scikit-image's cascade."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.corners import corner_row
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import first_row, keys_of, rows


def _is_skimage(output: Any) -> bool:
    return keys_of(first_row(output)) >= {"r", "c", "width", "height"}


def _read_skimage(output: Any, context: Context) -> Iterator[Row]:
    for row in rows(output):
        yield corner_row(row, row, context)


FORMATS = (Format("scikit-image", "scikit-image cascade result", _is_skimage, _read_skimage, Precedence.ROWS),)
