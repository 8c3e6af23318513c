"""Roboflow's hosted inference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.corners import described
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import field, first_row, keys_of, rows


def _is_roboflow(output: Any) -> bool:
    predictions = field(output, "predictions")
    return keys_of(output) >= {"predictions", "image"} and (
        predictions == [] or keys_of(first_row(predictions)) >= {"x", "y", "width", "height"}
    )


def _read_roboflow(output: Any, _context: Context) -> Iterator[Row]:
    image = output["image"]
    width, height = field(image, "width"), field(image, "height")
    for row in rows(output["predictions"]):
        box = [row[name] for name in ("x", "y", "width", "height")]
        size = None if width is None or height is None else (int(width), int(height))
        yield described(Row(box=box, box_format="cxcywh", image_size=size), row)


_CLUES = ("class", "image", "predictions")

FORMATS = (
    Format(
        "roboflow",
        "Roboflow response {predictions, image}",
        _is_roboflow,
        _read_roboflow,
        Precedence.IMAGE,
        clues=_CLUES,
    ),
)
