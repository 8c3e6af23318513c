"""moondream's `detect` and `point`, in 0..1 of the image's sides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.corners import described
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import fractions
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import field, first_row, keys_of, rows

_CORNERS = ("x_min", "y_min", "x_max", "y_max")


def _is_detect(output: Any) -> bool:
    objects = field(output, "objects")
    return isinstance(objects, list) and (
        keys_of(first_row(objects)) >= set(_CORNERS) or (not objects and keys_of(output) == {"objects"})
    )


def _read_detect(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(
        rows(field(output, "objects")),
        lambda row: described(Row(box=fractions([row[name] for name in _CORNERS], 1, "box"), box_format="xyxyn"), row),
    )


def _is_point(output: Any) -> bool:
    points = field(output, "points")
    return (
        isinstance(points, list)
        and keys_of(output) <= {"points", "request_id", "count"}
        and (keys_of(first_row(points)) >= {"x", "y"} or not points)
    )


def _read_point(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(
        rows(field(output, "points")),
        lambda row: described(Row(point=fractions([row["x"], row["y"]], 1, "point"), point_normalized=True), row),
    )


FORMATS = (
    Format("moondream", "moondream detect", _is_detect, _read_detect, Precedence.IMAGE, ("objects", *_CORNERS)),
    Format("moondream", "moondream point", _is_point, _read_point, Precedence.IMAGE, ("points", "x", "y")),
)
