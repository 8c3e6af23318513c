"""Lists of dicts that name their corners, whoever made them: a REST service, a script, a language model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.formats.columns import named
from langchain_vipllava.regions.formats.context import Context, Format, Row
from langchain_vipllava.regions.formats.values import field, first_row, keys_of, numbers, rows

_CORNERS: dict[tuple[str, ...], str] = {
    ("xmin", "ymin", "xmax", "ymax"): "xyxy",
    ("x_min", "y_min", "x_max", "y_max"): "xyxy",
    ("x0", "y0", "x1", "y1"): "xyxy",
    ("x1", "y1", "x2", "y2"): "xyxy",
    ("left", "top", "right", "bottom"): "xyxy",
    ("left", "top", "width", "height"): "xywh",
    ("x", "y", "width", "height"): "xywh",
    ("x", "y", "w", "h"): "xywh",
    ("cx", "cy", "width", "height"): "cxcywh",
    ("cx", "cy", "w", "h"): "cxcywh",
    ("c", "r", "width", "height"): "xywh",
}
_HOLDERS = ("box", "bbox", "bounding_box", "boundingBox", "rectangle")
_LAYOUTS = ("xyxy", "xywh", "cxcywh")
"""Keys of four numbers that say what these mean."""


def _corner_names(holder: Any) -> tuple[str, ...] | None:
    keys = keys_of(holder)
    return next((names for names in _CORNERS if keys.issuperset(names)), None)


def _holder(row: Mapping[str, Any]) -> Any:
    """Where a row keeps its corners: in itself or in its box."""
    return row if _corner_names(row) else field(row, *_HOLDERS)


def corner_row(row: Mapping[str, Any], holder: Mapping[str, Any], context: Context) -> Row:
    """Read a row whose box has named corners; the label and score keys are those in common use."""
    if keys_of(holder) >= {"x1", "y1", "x4", "y4"}:  # a turned box
        ring = [float(holder[f"{axis}{corner}"]) for corner in range(1, 5) for axis in "xy"]
        return _described(Row(rings=[ring], rings_normalised=max(map(abs, ring)) <= 1), row)
    names = _corner_names(holder)
    if names is None:
        raise ValueError(f"no known corner names among the keys {sorted(keys_of(holder))}")
    box_format = _CORNERS[names]
    if names[:2] == ("x", "y"):
        box_format = _xy_layout(row, context)
    return _described(Row(box=[holder[name] for name in names], box_format=box_format), row)


def _xy_layout(row: Mapping[str, Any], context: Context) -> str:
    # Roboflow's x and y are the middle of the box; everyone else's are the corner.
    like_roboflow = keys_of(row) >= {"x", "y", "class", "confidence"}
    if like_roboflow and context.box_format is None:
        raise DetectionError(
            "rows of {x, y, width, height, class, confidence} mean the middle of the box in Roboflow and the corner "
            "elsewhere: pass Roboflow's whole answer {predictions, image}, or box_format='cxcywh' or 'xywh'."
        )
    return context.layout("xywh") if context.layout("xywh").startswith(("xywh", "cxcywh")) else "xywh"


def _described(row: Row, source: Mapping[str, Any]) -> Row:
    row = replace(
        row,
        class_id=field(source, "class_id", "label_id", "category_id"),
        score=field(source, "score", "confidence", "conf", "probability"),
        id=field(source, "tracker_id", "track_id"),
    )
    return named(row, field(source, "label", "name", "class_name", "category", "class"))


def _has_named_corners(found: Any) -> bool:
    return _corner_names(_holder(first_row(found))) is not None


def _read_named_corners(found: Any, context: Context) -> Iterator[Row]:
    for row in rows(found):
        yield corner_row(row, _holder(row), context)


def _is_roboflow(found: Any) -> bool:
    predictions = field(found, "predictions")
    return keys_of(found) >= {"predictions", "image"} and (
        predictions == [] or keys_of(first_row(predictions)) >= {"x", "y", "width", "height"}
    )


def _read_roboflow(found: Any, _context: Context) -> Iterator[Row]:
    image = found["image"]
    width, height = field(image, "width"), field(image, "height")
    for row in rows(found["predictions"]):
        box = [row[name] for name in ("x", "y", "width", "height")]
        size = None if width is None or height is None else (int(width), int(height))
        yield _described(Row(box=box, box_format="cxcywh", image_size=size), row)


def _is_mtcnn(found: Any) -> bool:
    return keys_of(first_row(found)) >= {"box", "keypoints", "confidence"}


def _read_mtcnn(found: Any, _context: Context) -> Iterator[Row]:
    for row in rows(found):
        yield Row(box=row["box"], box_format="xywh", score=row["confidence"])


def _has_four_numbers(found: Any, *names: str) -> bool:
    box = field(first_row(found), *names)
    return box is not None and numbers(box, "box").size == 4


def _has_unnamed_box(found: Any) -> bool:
    return _has_four_numbers(found, *_HOLDERS)


def _read_unnamed_box(found: Any, context: Context) -> Iterator[Row]:
    layout = context.named_layout("its rows have a box of four numbers without saying what they mean")
    for row in rows(found):
        box = field(row, *_HOLDERS)
        if box is None:
            raise KeyError("box")
        yield _described(Row(box=box, box_format=layout), row)


def _has_layout_key(found: Any) -> bool:
    return _has_four_numbers(found, *_LAYOUTS)


def _read_layout_key(found: Any, _context: Context) -> Iterator[Row]:
    for row in rows(found):
        layout = next((name for name in _LAYOUTS if name in row), _LAYOUTS[0])
        yield _described(Row(box=row[layout], box_format=layout), row)


FORMATS = (
    Format("Roboflow answer {predictions, image}", _is_roboflow, _read_roboflow),
    Format("MTCNN result", _is_mtcnn, _read_mtcnn),
    Format("list of dicts with named corners", _has_named_corners, _read_named_corners),
    Format("list of dicts with xyxy, xywh or cxcywh", _has_layout_key, _read_layout_key),
    Format("list of dicts with a box of four numbers (with box_format=)", _has_unnamed_box, _read_unnamed_box),
)
