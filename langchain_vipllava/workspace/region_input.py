"""Reading regions as people and LLMs write them: ids, boxes, points, polygons, detections."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_vipllava.errors import DetectionError, MarkerError, RegionError, SessionError, shorten
from langchain_vipllava.markers.assignment import MAX_MARKERS
from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.limits import DEFAULT_LIMITS, RegionLimits
from langchain_vipllava.regions.region import Region
from langchain_vipllava.workspace.open_image import OpenImage


def choose_regions(
    image: OpenImage, regions: Sequence[Any], limits: RegionLimits = DEFAULT_LIMITS, *, can_detect: bool = True
) -> list[Region]:
    """Read regions of an image; those that are new get ids.

    Args:
        image: whose regions can be named by id.
        regions: what `as_list` returned.
        limits: how much they may hold.
        can_detect: whether to advise running the detector.

    Raises:
        SessionError: an unknown region id.
        RegionError: nothing chosen, or not a region.
    """
    if len(regions) > MAX_MARKERS:
        raise MarkerError(f"{len(regions)} regions; at most {MAX_MARKERS} can be marked at once. Mark fewer.")
    picked: list[tuple[Region, bool]] = []
    for item in regions:
        if isinstance(item, str):
            picked.append((_find(image, item, can_detect=can_detect), False))
        elif isinstance(item, Mapping) and "id" in item and set(item) <= {"id", "label", "score"}:
            picked.append((_find(image, _id_of(item), can_detect=can_detect), False))
        else:
            picked += ((region, True) for region in _read(item, image, limits))
    if not picked:
        raise RegionError("regions is empty; expected region ids such as 'r1', or boxes [x0, y0, x1, y1].")
    added = iter(add_regions(image, [region for region, is_new in picked if is_new], limits))
    chosen = [next(added) if is_new else region for region, is_new in picked]
    return list({region.id: region for region in chosen}.values())


def add_regions(image: OpenImage, regions: Sequence[Region], limits: RegionLimits) -> list[Region]:
    """Give new regions ids.

    Raises:
        RegionError: the image has too many.
    """
    if len(image.regions) + len(regions) > limits.max_regions:
        raise RegionError(
            f"{image.id} has {len(image.regions)} regions, and there are {len(regions)} more; expected at most "
            f"max_regions={limits.max_regions}. Open the image again."
        )
    return image.add_regions(regions)


def _id_of(item: Mapping[str, Any]) -> str:
    return item["id"] if isinstance(item["id"], str) else shorten(item["id"])


def as_list(regions: Any, limits: RegionLimits = DEFAULT_LIMITS) -> list[Any]:
    """Coerce an LLM's argument to a list: JSON as text, ids or numbers with commas, a single item.

    Raises:
        DetectionError: it is too long or nested too deep to be read.
    """
    limits.check_nested(regions)
    if isinstance(regions, str):
        for text in (regions, f"[{regions}]"):
            parsed = _parse_json(text)
            if parsed is not None:
                return as_list(parsed, limits)
        limits.check_rows(regions.count(","))
        return [part.strip() for part in regions.split(",") if part.strip()]
    if not isinstance(regions, (list, tuple)):
        return [regions]
    if regions and all(map(_is_number, regions)):
        return [list(regions)]
    return [_parse_json(item) or item.strip() if isinstance(item, str) else item for item in regions]


def _parse_json(text: str) -> Any:
    """Parse a list or mapping that came as text; None for other text."""
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _find(image: OpenImage, region_id: str, *, can_detect: bool) -> Region:
    if region_id in image.regions:
        return image.regions[region_id]
    ids = ", ".join(image.regions) or "none yet"
    raise SessionError(
        f"{image.id} has no region {shorten(region_id)}; known regions: {ids[:1000]}. "
        f"{'Call detect_regions, or give' if can_detect else 'Give'} a box [x0, y0, x1, y1] in pixels."
    )


def _read(item: Any, image: OpenImage, limits: RegionLimits) -> list[Region]:
    if isinstance(item, (list, tuple)) and all(map(_is_number, item)):
        return [_read_numbers(item, image)]
    if isinstance(item, Mapping) and {"box", "point", "polygon"} & set(item):
        fields = {key: item[key] for key in ("box", "point", "polygon", "label", "score") if key in item}
        if not isinstance(fields.get("box"), Mapping):
            limits.check_points(len(fields["polygon"]) if isinstance(fields.get("polygon"), (list, tuple)) else 0)
            region = Region(**fields)
            _check_pixels(region.box, image)
            return [region]
    try:
        return regions_from([item] if isinstance(item, Mapping) else item, image_size=image.image.size, limits=limits)
    except DetectionError as error:  # its advice is for programmers
        width, height = image.image.size
        raise RegionError(
            f"{shorten(item, 200)} is not a region of this image of {width} x {height} pixels; expected a region id "
            "such as 'r1', a box [x0, y0, x1, y1], a point [x, y], or an object with 'box', 'point' or 'polygon', in "
            "pixels."
        ) from error


def _read_numbers(numbers: Sequence[float], image: OpenImage) -> Region:
    _check_pixels(numbers, image)
    if len(numbers) == 4:
        return Region(box=(numbers[0], numbers[1], numbers[2], numbers[3]))
    if len(numbers) != 2:
        raise RegionError(
            f"{shorten(numbers)} is not a region; expected a box [x0, y0, x1, y1] or a point [x, y] in pixels."
        )
    x, y = numbers
    if all(f"r{number}" in image.regions for number in numbers):
        raise RegionError(
            f"[{x}, {y}] may be a point, or the regions r{x} and r{y}; write {{'point': [{x}, {y}]}} or "
            f"['r{x}', 'r{y}']."
        )
    return Region(point=(x, y))


def _check_pixels(numbers: Sequence[float], image: OpenImage) -> None:
    """Refuse fractions of the image, which LLMs like to write."""
    if any(0 < abs(number) < 1 for number in numbers) and all(abs(number) <= 1 for number in numbers):
        width, height = image.image.size
        raise RegionError(
            f"{shorten(list(numbers))} are fractions; this image is {width} x {height} pixels, give pixels."
        )
