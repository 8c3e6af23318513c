"""Rows whose keys say what the numbers of a box mean: `xmin`, `left`, `cx`, `width`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.columns import named
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.geometry import BoxFormat
from langchain_vipllava.regions.keys import usual
from langchain_vipllava.regions.outlines import with_outline
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.turned import degrees_clockwise
from langchain_vipllava.regions.values import TEXT_KEYS, field, keys_of, number_or_none, percent

_CORNERS: dict[tuple[str, ...], BoxFormat] = {
    ("xmin", "ymin", "xmax", "ymax"): "xyxy",
    ("x_min", "y_min", "x_max", "y_max"): "xyxy",
    ("x0", "y0", "x1", "y1"): "xyxy",
    ("x1", "y1", "x2", "y2"): "xyxy",
    ("min_x", "min_y", "max_x", "max_y"): "xyxy",
    ("start_x", "start_y", "end_x", "end_y"): "xyxy",
    ("xtl", "ytl", "xbr", "ybr"): "xyxy",
    ("l", "t", "r", "b"): "xyxy",
    ("left", "top", "right", "bottom"): "xyxy",
    ("left", "top", "width", "height"): "xywh",
    ("x", "y", "width", "height"): "xywh",
    ("x", "y", "w", "h"): "xywh",
    ("cx", "cy", "width", "height"): "cxcywh",
    ("cx", "cy", "w", "h"): "cxcywh",
    ("x_center", "y_center", "width", "height"): "cxcywh",
    ("x_center", "y_center", "w", "h"): "cxcywh",
    ("center_x", "center_y", "width", "height"): "cxcywh",
    ("center_x", "center_y", "w", "h"): "cxcywh",
    ("xc", "yc", "w", "h"): "cxcywh",
    ("xmin", "ymin", "width", "height"): "xywh",
    ("x_min", "y_min", "width", "height"): "xywh",
    ("c", "r", "width", "height"): "xywh",
}

BOX_KEYS = (
    "box", "bbox", "bounding_box", "boundingBox", "boundingbox", "box2d", "rectangle", "bounds", "rect", "location",
)  # fmt: skip
"""Keys under which rows hold their box."""


def find_corners(row: Mapping[str, Any]) -> Any:
    """Return the dict with the corners: the row, or its box; None if there is no box."""
    return row if corner_names(row) else usual(field(row, *BOX_KEYS))


def corner_names(box: Any) -> tuple[str, ...] | None:
    """Return the four keys that describe a box; None if it has no such keys."""
    keys = keys_of(box)
    return next((names for names in _CORNERS if keys.issuperset(names)), None)


def corner_row(row: Mapping[str, Any], box: Mapping[str, Any], context: Context) -> Row:
    """Read a row whose box has named corners, with its label and score under the usual keys.

    Raises:
        ValueError: the box has no such keys.
        DetectionError: the box may be Roboflow's, and the caller did not say so.
    """
    if keys_of(box) >= {"x1", "y1", "x4", "y4"}:  # Ultralytics' oriented box: all four corners
        ring = [float(box[f"{axis}{corner}"]) for corner in range(1, 5) for axis in "xy"]
        return described(Row(rings=[ring], rings_normalized=max(map(abs, ring)) <= 1), row)
    names = corner_names(box)
    if names is None:
        raise ValueError(f"no corners among the keys {sorted(keys_of(box))}; expected keys such as xmin, ymin")
    box_format = _CORNERS[names]
    if names[:2] == ("x", "y"):
        box_format = _xy_box_format(row, context)
    values = [box[name] for name in names]
    box_format, scale = context.scaled(box_format, row, box)
    found = outlined(Row(box=values, box_format=box_format, scale=scale), row, context)
    if found.angle and not found.rings and names[:2] == ("x", "y") and context.box_format is None:
        raise DetectionError(
            "x and y of a turned box are its center or its corner: pass box_format='cxcywh' or 'xywh' (turned about "
            "the center of the box), or name the keys of a center cx and cy."
        )
    return found


def _xy_box_format(row: Mapping[str, Any], context: Context) -> BoxFormat:
    # In Roboflow's rows x and y are the center of the box; everywhere else, its corner.
    keys = keys_of(row)
    like_roboflow = "confidence" in keys and bool(keys & {"class", "detection_id", "class_id"})
    if like_roboflow and context.box_format is None:
        raise DetectionError(
            "x and y of rows {x, y, width, height, class, confidence} are the box's center in Roboflow and its corner "
            "elsewhere: pass Roboflow's whole response {predictions, image}, or box_format='cxcywh' or 'xywh'."
        )
    box_format = context.box_format_or("xywh")
    return box_format if box_format.startswith(("xywh", "cxcywh")) else "xywh"


def mask_of(row: Mapping[str, Any]) -> Any:
    """Return the mask of a row under the usual keys; None if it has none, or only the name of a file."""
    mask = field(row, "mask", "segmentation_mask")
    if mask is None and _is_mask(row.get("segmentation")):
        return row["segmentation"]
    return None if isinstance(mask, str) or (isinstance(mask, (list, tuple)) and not mask) else mask


def _is_mask(found: Any) -> bool:
    shape = field(found, "shape")
    is_array = isinstance(shape, tuple) and len(shape) == 2 and shape[1] != 2
    return is_array or keys_of(found) >= {"size", "counts"}


def outlined(row: Row, source: Mapping[str, Any], context: Context) -> Row:
    """Return the row with everything but its box that a row of any origin has: names, polygons, mask, rotation."""
    mask = mask_of(source)
    if mask is None:
        normalized = row.box_format.endswith("n") or (context.box_format or "").endswith("n")
        row = with_outline(row, source, normalized=normalized)
    else:
        row = replace(row, mask=mask)
    return turned(described(row, source), source)


_DEGREE_KEYS = ("rotation_degrees", "rotation_deg", "angle_degrees", "angle_deg", "degrees", "deg")
_RADIAN_KEYS = (
    "theta", "angle_radians", "angle_rad", "rotation_radians", "rotation_rad", "theta_rad", "radians", "rad",
)  # fmt: skip
"""Source of `theta`: mmrotate, which turns clockwise."""

_ANGLE_KEYS = ("angle", "rotation", "rotate", "rot", "orientation", "r")
_ANGLE_UNIT_KEYS = ("angle_unit", "rotation_unit", "angle_units")


_NO_ANGLE_R = {"c", "g", "l"}
"""Keys beside which `r` is a row, red, or the right side."""


def turned(row: Row, source: Mapping[str, Any]) -> Row:
    """Return the row with the rotation that its source, or the `attributes` of it, states in a unit that is known.

    Raises:
        DetectionError: an angle that may be in degrees or in radians.
    """
    if row.angle is not None:
        return row
    attributes = field(source, "attributes")
    for holder in (source, attributes, field(source, *BOX_KEYS)):
        if not isinstance(holder, Mapping):
            continue
        degrees, radians = field(holder, *_DEGREE_KEYS), field(holder, *_RADIAN_KEYS)
        if degrees is None and holder is attributes:
            degrees = field(holder, "rotation")  # CVAT's COCO, in degrees
        angle = field(holder, *(_ANGLE_KEYS[:-1] if keys_of(holder) & _NO_ANGLE_R else _ANGLE_KEYS))
        if degrees is not None:
            return replace(row, angle=degrees_clockwise(degrees, "degrees"))
        if radians is not None:
            return replace(row, angle=degrees_clockwise(radians, "radians"))
        is_word = isinstance(angle, str) and not any(map(str.isdigit, angle))  # an orientation may be "vertical"
        if angle is not None and not is_word:
            return replace(row, angle=_degrees_of(angle, str(field(holder, *_ANGLE_UNIT_KEYS)).lower()))
    return row


def _degrees_of(angle: Any, unit: str) -> float:
    """Return an angle whose unit its key does not say: stated beside it, 0 in both, or too large for radians."""
    if unit.startswith(("rad", "deg")):
        return degrees_clockwise(angle, "radians" if unit.startswith("rad") else "degrees")
    number = number_or_none(angle, "angle")
    if number is not None and 0 < abs(number) <= math.tau:
        raise DetectionError(
            f"angle={number:g} may be in degrees or in radians; name the key 'angle_degrees' or 'angle_radians' "
            "(clockwise), or pass the four corners as a polygon."
        )
    return degrees_clockwise(angle, "degrees")


_LABEL_KEYS = (
    "label", "name", "class_name", "category_name", "label_name", "category", "text_label", "class", "cls", "text",
    "txt", "transcription", "content", "text_content", "phrase", "object", "tag", "tags", "description", "caption",
    "title", "classname", "object_name", "display_name", "tag_name", "predicted_class", "class_label", "object_class",
    "labels", "classes", "class_names", "plate", "words",
)  # fmt: skip
_CLASS_KEYS = ("class", "cls", "category")
"""Keys under which digits are the id of a class, also as text."""

_SCORE_KEYS = (
    "score", "confidence", "conf", "probability", "prob", "det_score", "confident",
    "confidence_score", "class_confidence", "detection_confidence", "predicted_score", "scores",
)  # fmt: skip

_ROUNDING = 1e-3
"""By how much a score may exceed 1, from float16 and float32."""


def described(row: Row, source: Mapping[str, Any]) -> Row:
    """Return the row with the label, class, score and track id that the source has under the usual keys."""
    source, box = usual(source), usual(field(source, *BOX_KEYS))
    if isinstance(box, Mapping):  # some services write the names inside of the box
        source = {**box, **source}
    row = replace(
        row,
        class_id=field(source, "class_id", "label_id", "category_id", "cls_id", "class_index"),
        score=unit_score(field(source, *_SCORE_KEYS)),
        id=field(source, "tracker_id", "track_id"),
    )
    for key in _LABEL_KEYS:
        value = _name_in(field(source, key))
        if key in _CLASS_KEYS and isinstance(value, str) and value.isdecimal() and value.isascii():
            value = int(value)  # as in a table, whose cells are numbers
        if value is not None:
            row = named(row, str(value) if key in TEXT_KEYS else value)
        if row.label is not None:
            break
    return row


def _name_in(value: Any) -> Any:
    """Return the name, or the number of a class, in the value of a label key; None without any."""
    if isinstance(value, Mapping):
        value = field(value, "name", "label", "class_name")
        return value if isinstance(value, str) else None
    if isinstance(value, (list, tuple)):  # tags, of which each may have a confidence of its own
        names = [field(item, "name") if isinstance(item, Mapping) else item for item in value]
        return ", ".join(name for name in names if isinstance(name, str)) or None
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def unit_score(score: Any) -> float | None:
    """Convert the score of a row of unknown origin.

    Raises:
        DetectionError: it is above 1, as percent are, and would pass every `min_score`.
    """
    if isinstance(score, str) and score.strip().endswith("%"):
        return percent(score.strip().removesuffix("%"))
    number = number_or_none(score, "score")
    if number is not None and number > 1 + _ROUNDING:
        raise DetectionError(f"score {number:g} is above 1. If it is in percent, divide it by 100; else drop the key.")
    if number is not None and number < -_ROUNDING:  # every min_score would drop it
        raise DetectionError(f"score {number:g} is below 0; expected 0..1. Drop the key where the score is unknown.")
    return number
