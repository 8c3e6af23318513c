"""What an output says of its own boxes: `"box_format": "xyxy"`, `bbox_mode=0`, `BoundingBoxes.format`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from langchain_vipllava.errors import DetectionError, shorten
from langchain_vipllava.regions.geometry import BOX_FORMATS, BoxFormat, Size
from langchain_vipllava.regions.keys import usual
from langchain_vipllava.regions.turned import Pivot
from langchain_vipllava.regions.values import keys_of, numbers

_LAYOUT_KEYS = (
    "box_format", "bbox_format", "boxes_format", "bounding_box_format", "boxFormat", "bboxFormat", "bbox_mode",
    "box_mode", "coordinate_format", "coord_format",
)  # fmt: skip
"""Keys and attributes whose only meaning is the layout of boxes: what they say is known, or an error."""

_VAGUE_KEYS = ("format", "mode", "layout")
"""Keys that may say something else, such as the format of a file: heeded where they name a layout."""

_UNIT_KEYS = ("unit", "units", "coordinate_unit", "coord_unit", "bbox_unit", "box_unit")
"""Keys whose only meaning is the unit of numbers: what they say is known, or an error."""

_VAGUE_UNIT_KEYS = ("coordinates", "coordinate_system")
_FLAG_KEYS = ("normalized", "is_normalized", "normalised", "relative", "box_normalized", "bbox_normalized")

_MODES: dict[int, BoxFormat] = {0: "xyxy", 1: "xywh", 2: "xyxyn", 3: "xywhn"}
"""Source: detectron2's BoxMode. 4 is XYWHA_ABS, turned boxes."""

_NAMES: dict[str, BoxFormat] = {
    "xyxy": "xyxy", "x1y1x2y2": "xyxy", "x0y0x1y1": "xyxy", "xminyminxmaxymax": "xyxy", "ltrb": "xyxy",
    "corners": "xyxy", "pascalvoc": "xyxy", "voc": "xyxy", "lefttoprightbottom": "xyxy",
    "xywh": "xywh", "x1y1wh": "xywh", "ltwh": "xywh", "tlwh": "xywh", "coco": "xywh", "xyminwh": "xywh",
    "cxcywh": "cxcywh", "xcycwh": "cxcywh", "ccwh": "cxcywh", "centerxywh": "cxcywh", "centroid": "cxcywh",
    "yxyx": "yxyx", "y1x1y2x2": "yxyx", "y0x0y1x1": "yxyx", "yminxminymaxxmax": "yxyx",
    "yolo": "cxcywhn", "albumentations": "xyxyn",
}  # fmt: skip
"""Names without punctuation. Sources: torchvision, detectron2, KerasCV, Albumentations, ByteTrack. `tlbr` is missing:
trackers mean x0, y0, x1, y1 by it, others top, left, bottom, right."""

_PIXEL_UNITS = {"pixel", "pixels", "px", "absolute", "abs"}
_SCALES = {
    "percent": 100.0, "percentage": 100.0, "pct": 100.0, "%": 100.0, "normalized": 1.0, "normalised": 1.0,
    "relative": 1.0, "rel": 1.0, "fraction": 1.0, "fractions": 1.0, "ratio": 1.0, "0-1": 1.0, "0..1": 1.0,
    "0-1000": 1000.0, "0..1000": 1000.0, "per_mille": 1000.0,
}  # fmt: skip


@dataclass(frozen=True)
class Stated:
    """What is said about boxes. None where nothing is said.

    Attributes:
        box_format: their layout, in pixels or in fractions.
        scale: length of a side of the image in their unit; 0 for pixels.
        pivot: set where a fifth number is an angle in counterclockwise degrees: the point around which the box is
            turned. Sources: detectron2's XYWHA_ABS, torchvision's CXCYWHR and XYWHR.
        unknown_unit: what it says of their unit, where that is no known one.
        sizes: `(width, height)` in pixels of the image that they are in; two where it may be the other way round.
    """

    box_format: BoxFormat | None = None
    scale: float | None = None
    pivot: Pivot | None = None
    unknown_unit: str | None = None
    sizes: tuple[Size, ...] = ()

    @property
    def is_layout(self) -> bool:
        """Whether it says what the numbers of boxes mean."""
        return (self.box_format, self.scale, self.pivot) != (None, None, None)

    def over(self, outer: Stated) -> Stated:
        """Return what holds for a row that says this, inside of an output that says `outer`."""
        return Stated(
            self.box_format or outer.box_format,
            outer.scale if self.scale is None else self.scale,
            self.pivot or outer.pivot,
            (self.unknown_unit or outer.unknown_unit) if self.scale is None else None,
            self.sizes or outer.sizes,
        )


NOTHING = Stated()


def stated(source: Any) -> Stated:
    """Read what a mapping or an object says about its boxes.

    Raises:
        DetectionError: it names a layout that is not known.
    """
    source = usual(source)
    named = NOTHING
    for key in _LAYOUT_KEYS:
        value = _value(source, key)
        if value is not None:
            named = _named(value)
            if named is NOTHING:
                raise DetectionError(
                    f"it says {key}={shorten(value, 40)}, which is not a known layout. Remove it, and pass box_format= "
                    f"({', '.join(BOX_FORMATS)})."
                )
            break
    for key in _VAGUE_KEYS if named is NOTHING else ():
        value = _value(source, key)
        named = NOTHING if value is None or isinstance(value, int) else _named(value)
        if named is not NOTHING:
            break
    scale, unknown = (named.scale, None) if named.scale is not None else _scale(source)
    return Stated(named.box_format, scale, named.pivot, unknown, _sizes(source))


def stated_around(output: Any) -> Stated:
    """Read what an output says about all of its boxes: itself, its columns of boxes, and the dicts right inside it.

    Raises:
        DetectionError: it names a layout that is not known.
    """
    if isinstance(output, (str, bytes, list, tuple)) or output is None:
        return NOTHING
    said = stated(output)
    inside: list[Any] = []
    with suppress(Exception):  # of a foreign class
        inside = list(output.values()) if isinstance(output, Mapping) else []
    for value in inside:
        if isinstance(value, Mapping) or _value(value, "canvas_size") is not None:
            said = said.over(stated(value))
    return said


def _value(source: Any, key: str) -> Any:
    try:
        if isinstance(source, Mapping):
            return source.get(key)
        value = getattr(source, key, None)
    except Exception:  # of a foreign class
        return None
    return None if callable(value) and not hasattr(value, "value") else value


def _named(value: Any) -> Stated:
    if isinstance(value, bool):
        return NOTHING
    if isinstance(value, int):  # also detectron2's BoxMode, an IntEnum
        if int(value) == 4:
            return Stated("cxcywh", 0.0, pivot="center")
        layout = _MODES.get(int(value))
        return NOTHING if layout is None else Stated(layout, 1.0 if layout.endswith("n") else 0.0)
    name = getattr(value, "value", None) if not isinstance(value, str) else value  # an Enum, such as torchvision's
    if not isinstance(name, str):
        name = getattr(value, "name", None)
    if not isinstance(name, str):
        return NOTHING
    words = re.sub(r"[^a-z0-9]", "", name.lower().rpartition(".")[2])
    if words == "xywhaabs":
        return Stated("cxcywh", 0.0, pivot="center")
    if words in ("cxcywhr", "xywhr") and not isinstance(value, str):  # torchvision's, whose `format` is an Enum
        return Stated("cxcywh", 0.0, pivot="center") if words == "cxcywhr" else Stated("xywh", 0.0, pivot="corner")
    scale = None
    for mark, side in (("abs", 0.0), ("rel", 1.0), ("normalized", 1.0), ("norm", 1.0), ("pixels", 0.0)):
        if words != mark and (words.endswith(mark) or words.startswith(mark)):
            words, scale = words.removesuffix(mark).removeprefix(mark), side
            break
    if words not in _NAMES and words.endswith("n") and words[:-1] in BOX_FORMATS:
        words, scale = words[:-1], 1.0
    layout = _NAMES.get(words)
    if layout is None:
        return NOTHING
    return Stated(layout, 1.0 if layout.endswith("n") else scale)


_FLAGS = {"true": 1.0, "1": 1.0, "false": 0.0, "0": 0.0}
"""What flags are in JSON, CSV and NumPy, as text."""


def _scale(source: Any) -> tuple[float | None, str | None]:
    """Return the length of a side in the unit that is stated, and the unit where it is not known."""
    unknown = None
    for key in (*_UNIT_KEYS, *_VAGUE_UNIT_KEYS):
        value = _value(source, key)
        word = value.strip().lower() if isinstance(value, str) else ""
        if word in _PIXEL_UNITS:
            return 0.0, None
        if word in _SCALES:
            return _SCALES[word], None
        if word and key in _UNIT_KEYS:
            unknown = word
    for key in _FLAG_KEYS:
        flag = _FLAGS.get(str(_value(source, key)).lower())
        if flag is not None:
            return flag, None
    return None, unknown


_SIZE_KEYS = (("image_width", "image_height"), ("img_width", "img_height"), ("image_w", "image_h"), ("img_w", "img_h"))


def _sizes(source: Any) -> tuple[Size, ...]:
    """Return the size of the image that a mapping states; in both orders where the mapping does not say which."""
    if type(source) is not dict:  # a foreign class may raise
        return ()
    keys = keys_of(source)
    is_table = keys & {"filename", "file_name"} and keys & {"xmax", "x_max", "x2", "right", "bbox"}
    is_around = any(isinstance(value, list) and keys_of(next(iter(value), None)) for value in source.values())
    holders: list[tuple[Any, Sequence[tuple[str, str]]]] = [(source, _SIZE_KEYS)]
    if is_table or is_around:  # a row has width and height of its own; TensorFlow's CSV has those of the image
        holders.append((source, _SIDES))
    named = ("image", "image_size", "img_size", *(("image_info", "size") if is_around else ()))
    holders += [(source.get(key), _SIDES) for key in named]
    for holder, pairs in holders:
        for width, height in pairs if isinstance(holder, Mapping) else ():
            size = _checked((holder.get(width), holder.get(height)))
            if size is not None:
                return (size,)
    for key in ("image_shape", "img_shape", "orig_shape", "original_shape"):  # (height, width, ...), as of NumPy
        sides = source.get(key)
        size = _checked(sides[1::-1]) if isinstance(sides, (list, tuple)) and len(sides) in (2, 3) else None
        if size is not None:
            return (size,)
    size = _checked(source.get("image_size", source.get("img_size")))
    return () if size is None else (size, size[::-1])


_SIDES = (("width", "height"), ("w", "h"))


def _checked(sides: Any) -> Size | None:
    with suppress(Exception):  # of a foreign class
        width, height = numbers(sides, "size").tolist()
        if width >= 1 and height >= 1 and width % 1 == height % 1 == 0:
            return int(width), int(height)
    return None
