"""Reading regions as people and LLMs write them: ids, labels, boxes, points, polygons, detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_vipllava.errors import DetectionError, MarkerError, RegionError, shorten
from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.limits import DEFAULT_LIMITS, RegionLimits
from langchain_vipllava.regions.region import Region
from langchain_vipllava.workspace.drawing import MAX_REGIONS
from langchain_vipllava.workspace.open_image import OpenImage
from langchain_vipllava.workspace.pixels import box_in, points_in, read_numbers
from langchain_vipllava.workspace.region_names import find_regions
from langchain_vipllava.workspace.written import is_number, is_whole, parse_text

_BOX = "a box [x0, y0, x1, y1]"
_CORNERS = (
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"),
)
_SIDES = (
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
    ("left", "top", "width", "height"),
    ("left", "top", "w", "h"),
)
_POINTS = (("top_left", "bottom_right"), ("topleft", "bottomright"), ("start", "end"), ("min", "max"), ("from", "to"))
_BOX_KEYS = (
    *("box", "bbox", "bounding_box", "boundingbox", "bounding box", "bndbox", "rect", "bbox_2d"),
    *("coordinates", "coords"),
)
_POINT_KEYS = ("point", "point_2d", "position", "xy", "coordinate")
_POLYGON_KEYS = ("polygon", "points", "outline", "vertices", "segmentation")
_NAME_KEYS = ("id", "region_id", "regionid", "region", "ref", "name", "label", "object", "class", "category")


@dataclass
class Chosen:
    """Regions that a caller chose, and how it wants them.

    Attributes:
        regions: with ids, each once.
        kinds: the kind that an item asks for, by region id.
        colors: the color that an item asks for, by region id.
        notes: what was read in another way than it may have been meant.
    """

    regions: list[Region] = field(default_factory=list)
    kinds: dict[str, Any] = field(default_factory=dict)
    colors: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Item:
    """What one item of a list means: regions of the image, or new ones."""

    regions: list[Region]
    is_new: bool
    kind: Any = None
    color: Any = None


def choose_regions(
    image: OpenImage, regions: Sequence[Any], limits: RegionLimits = DEFAULT_LIMITS, *, can_detect: bool = True
) -> Chosen:
    """Read regions of an image; those that are new get ids.

    Args:
        image: whose regions can be named by id.
        regions: what `read_list` returned.
        limits: how much they may hold.
        can_detect: whether to advise running the detector.

    Raises:
        SessionError: an unknown region id or label.
        RegionError: nothing chosen, not a region, or coordinates that are not pixels of the image.
        MarkerError: too many.
    """
    chosen = Chosen()
    picked = _read_items(image, regions, limits, chosen, can_detect=can_detect)
    if not picked:
        raise RegionError('regions is empty; expected region ids such as "r1", or boxes [x0, y0, x1, y1] in pixels.')
    count = sum(len(item.regions) for item in picked)
    if count > MAX_REGIONS:
        raise MarkerError(f"{count} regions; at most {MAX_REGIONS} can be marked at once. Mark fewer.")
    added = iter(add_regions(image, [region for item in picked if item.is_new for region in item.regions], limits))
    for item in picked:
        for region in item.regions:
            named = next(added) if item.is_new else region
            region_id = named.id or ""
            if named.id not in [other.id for other in chosen.regions]:
                chosen.regions.append(named)
            if item.kind is not None:
                chosen.kinds[region_id] = item.kind
            if item.color is not None:
                chosen.colors[region_id] = item.color
    return chosen


def read_prompts(
    image: OpenImage, prompts: Sequence[Any], limits: RegionLimits = DEFAULT_LIMITS, *, can_detect: bool = True
) -> Chosen:
    """Read points and boxes to segment; none of them becomes a region of the image.

    Args:
        image: whose regions can be named by id; their boxes are prompts.
        prompts: what `read_list` returned.
        limits: how much they may hold.
        can_detect: whether to advise running the detector.

    Raises:
        SessionError: an unknown region id or label.
        RegionError: no prompt, too many, not a point or box, or coordinates that are not pixels of the image.
    """
    chosen = Chosen()
    for item in _read_items(image, prompts, limits, chosen, can_detect=can_detect):
        chosen.regions += item.regions
    if not chosen.regions:
        raise RegionError("prompts is empty; expected points [x, y] or boxes [x0, y0, x1, y1] in pixels.")
    if len(chosen.regions) > MAX_REGIONS:
        raise RegionError(f"{len(chosen.regions)} prompts; at most {MAX_REGIONS} can be segmented at once. Pass fewer.")
    return chosen


def _read_items(
    image: OpenImage, items: Sequence[Any], limits: RegionLimits, chosen: Chosen, *, can_detect: bool
) -> list[_Item]:
    read = [
        _read(item, image, limits, chosen, can_detect=can_detect) for item in _not_ids(items) if not _is_nothing(item)
    ]
    return [item for item in read if item.regions]


def add_regions(image: OpenImage, regions: Sequence[Region], limits: RegionLimits) -> list[Region]:
    """Give new regions ids.

    Raises:
        RegionError: the image has too many.
    """
    if len(image.regions) + len(regions) > limits.max_regions:
        raise RegionError(
            f"{image.id} has {len(image.regions)} regions, and there are {len(regions)} more; expected at most "
            f"{limits.max_regions} in all. Open the image again with open_image."
        )
    return image.add_regions(regions)


def _not_ids(regions: Sequence[Any]) -> Sequence[Any]:
    """Read [1] as r1; two numbers may be either."""
    if len(regions) == 1 and isinstance(regions[0], list) and len(regions[0]) == 1 and is_whole(regions[0][0]):
        return [int(regions[0][0])]
    return regions


def _is_nothing(item: Any) -> bool:
    return item is None or (isinstance(item, str) and item.strip("[]{}()\"' ").lower() in ("", "none", "null"))


def _read(item: Any, image: OpenImage, limits: RegionLimits, chosen: Chosen, *, can_detect: bool) -> _Item:
    if isinstance(item, Region):
        return _Item([item], is_new=True)
    if isinstance(item, str):
        return _Item(find_regions(image, item, can_detect=can_detect), is_new=False)
    if is_whole(item):
        return _Item(find_regions(image, f"r{int(item)}", can_detect=can_detect), is_new=False)
    if isinstance(item, (list, tuple)) and all(is_number(n) or isinstance(n, str) for n in item):
        return _Item([_read_list(item, image)], is_new=True)
    if isinstance(item, Mapping):
        return _read_mapping(item, image, limits, chosen, can_detect=can_detect)
    return _Item(_read_detections(item, image, limits), is_new=True)


def _read_mapping(
    item: Mapping[Any, Any], image: OpenImage, limits: RegionLimits, chosen: Chosen, *, can_detect: bool
) -> _Item:
    fields = {str(key).strip().lower(): value for key, value in item.items() if value is not None}
    wishes = {"kind": fields.get("kind", fields.get("marker")), "color": fields.get("color", fields.get("colour"))}
    region = _read_shape(fields, image, limits, chosen)
    if region is not None:
        return _Item([region], is_new=True, **wishes)
    name = next((fields[key] for key in _NAME_KEYS if key in fields), None)
    is_named = name is not None and not set(fields) & {"xmin", "x", "left", "mask", "segmentation", "box_2d"}
    if is_named and not any(isinstance(value, (dict, list, tuple)) for value in fields.values()):
        text = (
            f"r{name}"
            if isinstance(name, int) and abs(name) < 10**9
            else name
            if isinstance(name, str)
            else shorten(name)
        )
        return _Item(find_regions(image, text, can_detect=can_detect), is_new=False, **wishes)
    return _Item(_read_detections([item], image, limits), is_new=True, **wishes)


def _read_shape(fields: Mapping[str, Any], image: OpenImage, limits: RegionLimits, chosen: Chosen) -> Region | None:
    """Read the box, point or polygon of a mapping; None without one that is known."""
    size = image.image.size
    named = {key: fields[key] for key in ("label", "score") if key in fields}
    if "label" in named:
        named["label"] = str(named["label"])
    if "box_2d" in fields:
        raise _gemini_box(fields["box_2d"], size)
    key = next((key for key in _POLYGON_KEYS if _is_outline(fields.get(key))), None)
    if key is not None:
        limits.check_points(len(fields[key]))
        numbers = [n for point in fields[key] for n in (point if isinstance(point, (list, tuple)) else [point])]
        points = points_in(read_numbers(numbers, None, "a polygon [[x, y], ...]"), size)
        return Region(polygon=tuple(points), **named)
    key = next((key for key in _BOX_KEYS if key in fields), None)
    corners = _corners(fields if key is None else fields[key])
    if corners is not None:
        return Region(box=box_in(corners, size), **named)
    if key is not None:
        numbers = _flat(fields[key])
        if len(numbers) == 2 and key in ("coordinates", "coords"):
            return Region(point=points_in(read_numbers(numbers, 2, "a point [x, y]"), size)[0], **named)
        if key != "box":
            chosen.notes.append(f'"{key}" was read as [x0, y0, x1, y1].')
        return Region(box=box_in(read_numbers(numbers, 4, _BOX), size), **named)
    key = next((key for key in _POINT_KEYS if key in fields), None)
    if key is not None or {"x", "y"} <= set(fields):
        point = _flat(fields[key]) if key is not None else [fields["x"], fields["y"]]
        return Region(point=points_in(read_numbers(point, 2, "a point [x, y]"), size)[0], **named)
    return None


def _corners(fields: Any) -> list[float] | None:
    """Return x0, y0, x1, y1 of a mapping that names corners or sides."""
    if isinstance(fields, str):
        fields = parse_text(fields)
    if not isinstance(fields, Mapping):
        return None
    fields = {str(key).strip().lower(): value for key, value in fields.items()}
    for names in _SIDES:
        if set(names) <= set(fields):
            x, y, width, height = read_numbers([fields[name] for name in names], 4, "x, y, width and height")
            return [x, y, x + width, y + height]
    for first, last in _POINTS:
        if {first, last} <= set(fields):
            return read_numbers(_flat([fields[first], fields[last]]), 4, f"{first} and {last}, each [x, y],")
    for names in _CORNERS:
        if set(names) <= set(fields):
            return read_numbers([fields[name] for name in names], 4, ", ".join(names))
    return None


def _flat(value: Any) -> list[Any]:
    """Return the numbers of a list, of a text, or of two corners [[x0, y0], [x1, y1]]."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, str):
        value = parse_text(value) or value
    listed = list(value) if isinstance(value, (list, tuple)) else [value]
    while len(listed) == 1 and isinstance(listed[0], (list, tuple)):
        listed = list(listed[0])
    return [n for part in listed[:8] for n in (part if isinstance(part, (list, tuple)) else [part])]


def _is_outline(value: Any) -> bool:
    if not isinstance(value, (list, tuple)):
        return False
    return all(isinstance(point, (list, tuple)) for point in value) or (len(value) > 4 and all(map(is_number, value)))


def _gemini_box(value: Any, size: tuple[int, int]) -> RegionError:
    """Make the question back about a box of Gemini, which has no pixels."""
    try:
        y0, x0, y1, x1 = read_numbers(_flat(value), 4, "box_2d")
    except RegionError as error:
        return error
    width, height = size
    pixels = [round(x0 * width / 1000), round(y0 * height / 1000), round(x1 * width / 1000), round(y1 * height / 1000)]
    return RegionError(
        f'box_2d is not read: [y0, x0, y1, x1] in 0..1000 are not pixels. If it is that, write {{"box": {pixels}}}; '
        f'else {{"box": [x0, y0, x1, y1]}} in pixels of this image of {width} x {height}.'
    )


def _read_list(numbers: Sequence[float], image: OpenImage) -> Region:
    size = image.image.size
    if len(numbers) == 4:
        return Region(box=box_in(read_numbers(numbers, 4, _BOX), size))
    if len(numbers) != 2:
        raise RegionError(f"{shorten(numbers)} is not a region; expected {_BOX} or a point [x, y] in pixels.")
    x, y = read_numbers(numbers, 2, "a point [x, y]")
    ids = [f"r{number:.15g}" for number in (x, y)]
    if all(name in image.regions for name in ids):
        raise RegionError(
            f"[{x:g}, {y:g}] may be a point, or the regions {ids[0]} and {ids[1]}; write "
            f'{{"point": [{x:g}, {y:g}]}} or ["{ids[0]}", "{ids[1]}"].'
        )
    return Region(point=points_in([x, y], size)[0])


def _read_detections(item: Any, image: OpenImage, limits: RegionLimits) -> list[Region]:
    width, height = image.image.size
    try:
        found = regions_from(item, image_size=image.image.size, limits=limits)
    except DetectionError as error:  # its advice is for programmers
        raise RegionError(
            f"{shorten(item, 200)} is not a region of this image of {width} x {height} pixels; expected a region id "
            'such as "r1", a box [x0, y0, x1, y1], a point [x, y], or an object with "box", "point" or "polygon", in '
            "pixels."
        ) from error
    for region in found:
        if region.is_point:
            points_in(region.box[:2], image.image.size)
        else:
            box_in(region.box, image.image.size)
    return found
