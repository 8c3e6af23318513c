"""Label Studio's exports: JSON, JSON_MIN, single results, and the masks of its brush. Coordinates are in percent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.brush import decode_brush
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import Size
from langchain_vipllava.regions.outlines import ellipse
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.turned import degrees_clockwise
from langchain_vipllava.regions.values import field, first_row, keys_of, rows

_LABELS = (
    "rectanglelabels", "polygonlabels", "ellipselabels", "keypointlabels", "brushlabels", "bitmasklabels", "labels",
    "hypertextlabels",
)  # fmt: skip
_PLACES = ({"x", "y", "width", "height"}, {"x", "y", "radiusX", "radiusY"}, {"points"}, {"rle"}, {"x", "y"})
_SCALE = 100.0
"""Coordinates are percent of the image's sides. Source: its documentation, Units of image annotations."""


def _value(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return where a result is: its `value`, or itself in JSON_MIN."""
    value = result.get("value")
    return value if isinstance(value, Mapping) else result


def _is_result(row: Any) -> bool:
    keys = keys_of(row)
    if keys >= {"value", "from_name", "to_name"} or keys & {*_LABELS} - {"labels"}:
        return True
    return "original_width" in keys and bool(keys & {*_LABELS, "value", "rotation", "points", "rle"})


def _are_results(output: Any) -> bool:
    return _is_result(first_row(output))


def _read_results(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    yield from _results(list(rows(output)), None, context)


def _results(found: list[Mapping[str, Any]], score: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    merged: dict[Any, dict[str, Any]] = {}
    for number, result in enumerate(found):
        # A rectangle, its label and its text are three results with one id.
        id = result.get("id") if "value" in result else None
        one = merged.setdefault(number if id is None else id, {"score": score})
        one.update({key: value for key, value in result.items() if key not in ("value", "type")})
        one.update(_value(result) if "value" in result else {})
    placed = [one for one in merged.values() if any(keys_of(one) >= place for place in _PLACES)]
    if found and not placed:
        raise DetectionError("its results are about the whole image, such as choices; expected labels with a place.")
    yield from each(placed, lambda one: _row(one, context))


def _row(one: Mapping[str, Any], context: Context) -> Row:
    size = _size(one)
    if one.get("image_rotation"):
        raise DetectionError(
            f"it was labeled on the image turned by {one['image_rotation']} degrees; label the upright image."
        )
    values: dict[str, Any] = {
        "label": _label(one),
        "score": one.get("score"),
        "id": one.get("id") if "from_name" in one else None,
        "image_size": size,
        "scale": _SCALE,
    }
    keys = keys_of(one)
    rotation = one.get("rotation")
    if "rle" in keys:
        mask = decode_brush(one["rle"], size or context.image_size, context)
        return Row(mask=mask, **{**values, "scale": 1.0})
    if "points" in keys:
        return Row(rings=[one["points"]], rings_normalized=True, **values)
    if "radiusX" in keys:
        return _ellipse_row(one, size or context.image_size, values)
    if keys >= {"width", "height"}:
        return Row(
            box=[one[side] for side in ("x", "y", "width", "height")],
            box_format="xywhn",
            angle=None if not rotation else degrees_clockwise(rotation, "degrees"),
            pivot="corner",
            **values,
        )
    return Row(point=(one["x"], one["y"]), point_normalized=True, **values)


def _ellipse_row(one: Mapping[str, Any], size: Size | None, values: Mapping[str, Any]) -> Row:
    if size is None:
        raise DetectionError("its ellipse is in percent of the image's sides; pass image_size=(width, height).")
    x, rx = (float(one[name]) * size[0] / _SCALE for name in ("x", "radiusX"))
    y, ry = (float(one[name]) * size[1] / _SCALE for name in ("y", "radiusY"))
    degrees = degrees_clockwise(one.get("rotation") or 0, "degrees")
    return Row(rings=[ellipse(x, y, rx, ry, degrees)], **{**values, "scale": 1.0})


def _size(one: Mapping[str, Any]) -> Size | None:
    width, height = one.get("original_width"), one.get("original_height")
    return None if not width or not height else (int(width), int(height))


def _label(one: Mapping[str, Any]) -> str | None:
    names = field(one, *_LABELS) or one.get("text")
    if isinstance(names, (list, tuple)):
        return ", ".join(map(str, names)) or None
    return None if names is None else str(names)


def _is_task(output: Any) -> bool:
    task = first_row(output)
    found = task.get("annotations") or task.get("completions") or task.get("predictions")
    return "data" in keys_of(task) and "result" in keys_of(first_row(found))


def _read_task(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    tasks = list(rows(output))
    if len(tasks) > 1:
        raise DetectionError(f"it holds {len(tasks)} tasks, one for each image; pass one in a list: [tasks[0]].")
    task = tasks[0]
    found = [one for one in task.get("annotations") or task.get("completions") or () if not one.get("was_cancelled")]
    found = found or list(task.get("predictions") or ())
    if len(found) > 1:
        raise DetectionError(f"its task has {len(found)} annotations; pass one: tasks[0]['annotations'][0].")
    for one in found:
        yield from _results(list(rows(one["result"])), one.get("score"), context)


def _is_annotation(output: Any) -> bool:
    return isinstance(output, Mapping) and _is_result(first_row(output.get("result")))


def _read_annotation(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    yield from _results(list(rows(output["result"])), output.get("score"), context)


def _min_lists(task: Mapping[str, Any]) -> list[Any]:
    values = [_json(value) for value in task.values()]
    return [value for value in values if isinstance(value, list) and value and _is_result(value[0])]


def _json(value: Any) -> Any:
    """Parse a cell of the CSV export."""
    return json.loads(value) if isinstance(value, str) and value.startswith("[{") else value


def _is_min(output: Any) -> bool:
    return bool(_min_lists(first_row(output))) and "result" not in first_row(output)


def _read_min(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    tasks = list(rows(output))
    if len(tasks) > 1:
        raise DetectionError(f"it holds {len(tasks)} tasks, one for each image; pass one in a list: [tasks[0]].")
    yield from _results([row for found in _min_lists(tasks[0]) for row in rows(found)], None, context)


_CLUES = ("annotations", "from_name", "original_height", "original_width", "result", "to_name", "value", *_LABELS)

FORMATS = (
    Format("label-studio", "Label Studio results", _are_results, _read_results, Precedence.ROWS, _CLUES),
    Format("label-studio", "Label Studio export", _is_task, _read_task, Precedence.ROWS, _CLUES),
    Format("label-studio", "Label Studio annotation", _is_annotation, _read_annotation, Precedence.IMAGE, _CLUES),
    Format("label-studio", "Label Studio JSON_MIN", _is_min, _read_min, Precedence.ROWS, _CLUES),
)
