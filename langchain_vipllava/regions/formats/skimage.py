"""scikit-image's cascade."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.corners import corner_row
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.frames import column_rows
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import first_row, keys_of, rows


def _is_skimage(output: Any) -> bool:
    return keys_of(first_row(output)) >= {"r", "c", "width", "height"}


def _read_skimage(output: Any, context: Context) -> Iterator[Row]:
    for row in rows(output):
        yield corner_row(row, row, context)


def _are_properties(output: Any) -> bool:
    """Match the list of skimage.measure.regionprops."""
    first = output[0] if isinstance(output, (list, tuple)) and output else output
    return all(hasattr(first, name) for name in ("bbox", "coords", "label", "area"))


def _read_properties(output: Any, context: Context) -> Iterator[Row]:
    for found in output if isinstance(output, (list, tuple)) else [output]:
        top, left, bottom, right = found.bbox
        # a private attribute, and the only place that has the image's size
        size = context.image_size or np.shape(getattr(found, "_label_image", np.zeros((0, 0))))[::-1]
        mask = None
        if len(size) == 2 and size[0] >= right and size[1] >= bottom:
            context.masks.spend(*size)
            mask = np.zeros((size[1], size[0]), dtype=bool)
            mask[top:bottom, left:right] = found.image
        yield Row(box=[left, top, right, bottom], mask=mask, label=f"segment {found.label}")


def _is_property_table(output: Any) -> bool:
    """Match the dict of skimage.measure.regionprops_table."""
    return keys_of(output) >= {f"bbox-{side}" for side in range(4)}


def _read_property_table(output: Any, _context: Context) -> Iterator[Row]:
    for row in column_rows(output) or ():
        score = row.get("score")
        top, left, bottom, right = (row[f"bbox-{side}"] for side in range(4))
        label = row.get("label")
        yield Row(box=[left, top, right, bottom], score=score, label=None if label is None else f"segment {label}")


FORMATS = (
    Format("scikit-image", "scikit-image region properties", _are_properties, _read_properties, Precedence.ROWS),
    Format("scikit-image", "scikit-image property table", _is_property_table, _read_property_table, Precedence.IMAGE),
    Format("scikit-image", "scikit-image cascade result", _is_skimage, _read_skimage, Precedence.ROWS),
)
