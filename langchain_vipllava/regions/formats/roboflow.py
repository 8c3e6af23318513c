"""Roboflow's hosted inference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.corners import described
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import Size
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import field, first_row, keys_of, rows


def _is_roboflow(output: Any) -> bool:
    predictions = field(output, "predictions")
    # Others write the name of the image there, and the corner of a box.
    return (
        isinstance(field(output, "image"), Mapping)
        and isinstance(output, Mapping)
        and (predictions == [] or keys_of(first_row(predictions)) >= {"x", "y", "width", "height"})
    )


def _read_roboflow(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    image = output["image"]
    width, height = field(image, "width"), field(image, "height")
    size = None if width is None or height is None else (int(width), int(height))
    yield from each(rows(output["predictions"]), lambda row: _row(row, size))


def _row(row: Mapping[str, Any], size: Size | None) -> Row:
    points = row.get("points") or ()
    return described(
        Row(
            box=[row[name] for name in ("x", "y", "width", "height")],
            box_format="cxcywh",
            rings=[[(point["x"], point["y"]) for point in points]] if len(points) > 2 else (),
            image_size=size,
        ),
        row,
    )


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
