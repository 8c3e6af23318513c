"""`regions_from`: the output of any detector as regions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView, Sequence
from contextlib import suppress
from numbers import Integral
from os import PathLike
from threading import Lock
from typing import Any

from langchain_vipllava.errors import DetectionError, RegionError
from langchain_vipllava.regions.formats import FORMATS, Context, Format, Row
from langchain_vipllava.regions.formats.values import describe, number_or_none
from langchain_vipllava.regions.region import Region

_registered: tuple[Format, ...] = ()
_registering = Lock()


def regions_from(
    detections: Any,
    *,
    image_size: tuple[int, int] | None = None,
    box_format: str | None = None,
    labels: Mapping[Any, str] | Sequence[str] | None = None,
    min_score: float = 0.0,
    max_regions: int | None = None,
) -> list[Region]:
    """Turn a detector's output into regions, in the detector's order.

    The format is recognised by its shape; no detector's library is imported. Read are the
    outputs of transformers, torchvision, Ultralytics, supervision, Segment Anything, detectron2,
    mmdet, Florence-2, OpenCV, scikit-image, MediaPipe, Google Vision and AWS Rekognition; COCO, YOLO,
    Pascal VOC and LabelMe annotations, parsed or as text; lists of dicts that name their corners; and
    what `register_format` adds. What could mean two things is refused until `box_format` says which.

    Args:
        detections: one image's detections.
        image_size: `(width, height)` of the upright image (EXIF orientation applied) in pixels. Needed for
            coordinates in 0..1 and for things made of several polygons. Boxes that stick out are clipped to it;
            finished `Region`s pass through as they are.
        box_format: layout of boxes that do not say it themselves: `xyxy`, `xywh` or `cxcywh` in pixels,
            `xyxyn`, `xywhn` or `cxcywhn` in 0..1 of the image's sides.
        labels: names of class ids, `labels[id]`. They win over the detector's own. A class without a
            name is labelled `class {id}`.
        min_score: drop rows whose score is below this; rows without a score stay.
        max_regions: keep at most the best-scored so many; a missing score counts as 1.0.

    Returns:
        Regions in pixels of the upright image. Track and annotation ids become their `id`; other
        regions have none.

    Raises:
        DetectionError: the format is unknown or ambiguous, it holds several images, or a row (counted
            from 0) that is kept is no region: NaN, inverted, empty, outside the image, a mask of another size.

    Example:
        >>> from langchain_vipllava.regions.detections import regions_from
        >>> found = [{"score": 0.9, "label": "cat", "box": {"xmin": 5, "ymin": 6, "xmax": 50, "ymax": 60}}]
        >>> regions_from(found)
        [Region(box=(5.0, 6.0, 50.0, 60.0), label='cat', score=0.9)]
    """
    context = Context(image_size=image_size, box_format=box_format, labels=labels)
    lowest = number_or_none(min_score, "min_score")
    if lowest is None or math.isnan(lowest):
        raise DetectionError(f"min_score={min_score!r}; expected a number, 0.0 to keep every row.")
    if max_regions is not None and not (_is_whole(max_regions) and max_regions >= 0):
        raise DetectionError(f"max_regions={describe(max_regions)}; expected a whole number of regions, 0 or more.")
    found = _listed(_parsed(detections))
    known, found = _recognise(found)
    rows = _read(known, found, context)
    return [_region(row, number, known, context) for number, row in _best(rows, lowest, max_regions, known)]


def register_format(
    name: str, matches: Callable[[Any], bool], read: Callable[[Any, Context], Iterable[Region | Row]]
) -> Callable[[], None]:
    """Teach `regions_from` one more format; it is tried before the built-in ones, the newest first.

    Args:
        name: what error messages call it. A format that was registered under this name before is replaced.
        matches: whether an object is of this format. Raising counts as no.
        read: the detections of such an object. Yields `Row`s in the detector's own terms, which are
            checked and converted as those of built-in formats, or finished `Region`s. Its second
            argument carries `image_size`, `box_format` and `labels` of the call.

    Returns:
        A function that removes the format again.

    Example:
        >>> from langchain_vipllava.regions.detections import regions_from, register_format
        >>> from langchain_vipllava.regions.formats import Row
        >>> remove = register_format(
        ...     "my robot", lambda found: "robot_sees" in found, lambda found, context: [Row(box=found["robot_sees"])]
        ... )
        >>> regions_from({"robot_sees": [1, 2, 30, 40]})
        [Region(box=(1.0, 2.0, 30.0, 40.0))]
        >>> remove()
    """
    global _registered  # noqa: PLW0603  # replaced whole, so that readers need no lock
    added = Format(name, matches, read)
    with _registering:
        _registered = (added, *(known for known in _registered if known.name != name))

    def remove() -> None:
        global _registered  # noqa: PLW0603
        with _registering:
            _registered = tuple(known for known in _registered if known is not added)

    return remove


def _parsed(found: Any) -> Any:
    """Decode bytes and parse text that is JSON."""
    if found is None:
        raise DetectionError("None is not a detector's output; pass [] where nothing was found.")
    if isinstance(found, (bytes, bytearray)):
        try:
            found = found.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DetectionError("bytes that are not UTF-8 text; expected JSON, XML or YOLO text.") from error
    if not isinstance(found, str):
        return found
    text = found.removeprefix("\ufeff").strip()
    if not text.startswith(("{", "[")):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DetectionError(f"text that starts like JSON is not JSON: {error}.") from error


def _listed(found: Any) -> Any:
    if not isinstance(found, (Iterator, MappingView)):
        return found
    try:
        return [*iter(found)]  # type: ignore[arg-type]
    except Exception as error:
        raise DetectionError(f"{describe(found)} failed while it was read: {error!r}.") from error


def _recognise(found: Any) -> tuple[Format, Any]:
    """The format of an output, and the output without the list that a batch of one image puts around it."""
    known, failures = _format_of(found)
    if known is not None:
        return known, found
    if isinstance(found, (list, tuple)) and found:
        known, _ = _format_of(found[0])
        alike = known is not None and all(_format_of(one)[0] is known for one in found)
        if known is not None and alike and not isinstance(found[0], (str, bytes)):
            if len({_columns(one) for one in found}) > 1:
                raise DetectionError("rows of unequal length; expected boxes that all have 4, all 5 or all 6 numbers.")
            if len(found) > 1:
                raise DetectionError(
                    f"a list of {len(found)} outputs ({known.name}), one an image: pass the one of your image, "
                    "for example result[0]."
                )
            return known, found[0]
    hint = ""
    if isinstance(found, (str, PathLike)):
        hint = " A path is not opened: pass the file's text."
    elif isinstance(found, tuple):
        hint = " Columns beside each other go into a dict: {'boxes': ..., 'scores': ..., 'labels': ...}."
    raise DetectionError(
        f"{describe(found)} is of no known format.{hint} Known are: "
        f"{'; '.join(known.name for known in (*_registered, *FORMATS))}. Pass one of these, or teach yours with "
        f"register_format(name, matches, read).{failures}"
    )


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _columns(found: Any) -> int | None:
    """Numbers in a bare row; None for anything else."""
    flat = isinstance(found, (list, tuple)) and all(isinstance(one, (int, float)) for one in found)
    return len(found) if flat else None


def _format_of(found: Any) -> tuple[Format | None, str]:
    failures = ""
    mine = _registered
    for known in (*mine, *FORMATS):
        try:
            if known.matches(found):
                return known, ""
        except Exception as error:
            # Built-in matchers stumble over strange objects by design; a user's should hear of it.
            if known in mine:
                failures += f" The format {known.name!r} could not look at it: {type(error).__name__}."
    return None, failures


def _read(known: Format, found: Any, context: Context) -> list[Row | Region]:
    rows: list[Row | Region] = []
    try:
        for row in known.read(found, context):
            if not isinstance(row, (Row, Region)):
                raise TypeError(f"its reader gave {describe(row)}; expected a Row or a Region")
            rows.append(row)
    except RegionError as error:
        raise DetectionError(f"{known.name}: {error}") from error
    except Exception as error:
        raise DetectionError(f"row {len(rows)} of the {known.name}: {_reason(error)}.") from error
    return rows


def _best(
    rows: Sequence[Row | Region], lowest: float, most: int | None, known: Format
) -> list[tuple[int, Row | Region]]:
    scored = []
    for number, row in enumerate(rows):
        try:
            score = number_or_none(row.score, "score")
        except DetectionError as error:
            raise DetectionError(f"row {number} of the {known.name}: {error}") from error
        # Not `score >= lowest`: a NaN must reach Region, which refuses it.
        if score is None or not score < lowest:
            scored.append((1.0 if score is None else score, number))
    if most is not None:
        scored = sorted(scored, key=lambda pair: -pair[0])[:most]
    return [(number, rows[number]) for number in sorted(number for _, number in scored)]


def _region(row: Row | Region, number: int, known: Format, context: Context) -> Region:
    if isinstance(row, Region):
        return row
    try:
        return context.region(row)
    except RegionError as error:
        raise DetectionError(f"row {number} of the {known.name}: {error}") from error
    except Exception as error:
        raise DetectionError(f"row {number} of the {known.name}: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{describe(error.args[0]) if error.args else 'a key'} is missing"
    with suppress(Exception):
        return str(error)[:200] or type(error).__name__
    return type(error).__name__
