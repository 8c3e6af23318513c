"""Which format a detector's output has: one that a user registered, or a built-in one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView, Sequence
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from typing import Any

from langchain_vipllava.errors import DetectionError, shorten
from langchain_vipllava.locks import fork_safe_lock
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.files import read_file
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.format_names import DetectionFormat
from langchain_vipllava.regions.formats import FORMATS
from langchain_vipllava.regions.frames import as_rows
from langchain_vipllava.regions.limits import RegionLimits
from langchain_vipllava.regions.nearest import possible, unknown
from langchain_vipllava.regions.parsing import decoded, parsed
from langchain_vipllava.regions.region import Region
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import describe

_BATCH_SAMPLE = 8
"""Items of a list whose formats are compared, to tell a batch of images. Chosen: each one is tried in every format."""

RECOGNIZED = tuple(format_ for format_ in FORMATS if format_.precedence != Precedence.ON_REQUEST)

_registered: tuple[Format, ...] = ()
_registering = fork_safe_lock()


def register_format(
    name: str, matches: Callable[[Any], bool], read: Callable[[Any, Context], Iterable[Region | Row]]
) -> Callable[[], None]:
    """Teach `regions_from` another format. It is tried before the built-in ones, the newest first.

    Args:
        name: how error messages call it. Replaces the format that was registered under this name before.
        matches: whether an object has this format. An exception counts as no.
        read: yields the detections of such an object: `Row`s in the detector's own terms, which are checked and
            converted like those of built-in formats, or finished `Region`s. Its second argument holds the
            `image_size`, `box_format` and `labels` of the call.

    Returns:
        A function that removes the format.

    Example:
        >>> from langchain_vipllava import regions_from, register_format
        >>> from langchain_vipllava.regions.row import Row
        >>> def read(output, context):
        ...     yield Row(box=output["robot_sees"])
        >>> remove = register_format("my robot", lambda output: "robot_sees" in output, read)
        >>> regions_from({"robot_sees": [1, 2, 30, 40]})
        [Region(box=(1.0, 2.0, 30.0, 40.0))]
        >>> remove()
    """
    global _registered  # noqa: PLW0603  # replaced as a whole, so that readers need no lock
    added = Format(name, name, matches, read, Precedence.REGISTERED)
    with _registering:
        _registered = (added, *(format_ for format_ in _registered if format_.name != name))

    def remove() -> None:
        global _registered  # noqa: PLW0603
        with _registering:
            _registered = tuple(format_ for format_ in _registered if format_ is not added)

    return remove


_WRAPPERS = (
    "predictions", "detections", "results", "result", "objects", "data", "output", "outputs", "response", "items",
    "regions", "annotations", "boxes", "bounding_boxes", "faces", "instances",
)  # fmt: skip
"""Keys of dicts that hold the detections, beside other things such as a status."""

_MAX_WRAPPERS = 3
"""Dicts around each other. Chosen: one more than services write."""


@dataclass(frozen=True)
class Recognized:
    """An output and its format.

    Attributes:
        format: how it is read.
        output: what is read: with text parsed, iterators listed, without the dicts and the list of one around it.
        around: the dicts that were around it, the outermost first; they may say the layout of its boxes.
    """

    format: Format
    output: Any
    around: tuple[Any, ...] = ()


def recognize(detections: Any, limits: RegionLimits, name: DetectionFormat | None = None) -> Recognized:
    """Find the format of a detector's output.

    Args:
        detections: one image's detections, or the path of a file with them.
        limits: how much they may hold.
        name: the format, if the caller named it; then nothing is recognized.

    Raises:
        DetectionError: the format is unknown, the output is a batch of several images, or it holds more than the
            limits allow.
    """
    output = as_rows(_as_list(_parsed(detections, limits), limits), limits)
    limits.check_nested(output)
    if name is not None:
        return _named(name, output)
    format_, failures = _first_match(output)
    if format_ is not None:
        return Recognized(format_, output)
    inner = _format_of_batch(output)
    if inner is not None:
        return Recognized(inner, output[0])
    wrapped = _inside(output, (), (*_registered, *RECOGNIZED))
    if wrapped is not None:
        return wrapped
    raise DetectionError(unknown(output, (*_registered, *FORMATS)) + failures)


def _named(name: DetectionFormat, output: Any) -> Recognized:
    """Return the reader of a name, and what it reads: of several the first that recognizes the output, else the first.

    Raises:
        DetectionError: the output is a batch of several images.
    """
    empty = FORMATS[0]
    if matches(empty, output):
        return Recognized(empty, output)
    readers = [format_ for format_ in FORMATS if format_.key == name]
    for format_ in readers:
        if matches(format_, output):
            return Recognized(format_, output)
    for format_ in readers:
        if isinstance(output, (list, tuple)) and all(matches(format_, item) for item in output[:_BATCH_SAMPLE]):
            _check_single(output, format_)
            return Recognized(format_, output[0])
    return _inside(output, (), readers) or Recognized(readers[0], output)


def _inside(output: Any, around: tuple[Any, ...], formats: Sequence[Format]) -> Recognized | None:
    """Find detections inside of a dict, unless there are several things that might be them."""
    if not isinstance(output, Mapping) or len(around) >= _MAX_WRAPPERS:
        return None
    if any(output.get(key) for key in ("error", "errors", "exception")):
        return None  # an empty list beside an error is not "nothing detected"
    found = []
    lists = [value for value in output.values() if isinstance(value, list) and value and isinstance(value[0], Mapping)]
    usual = [output[key] for key in _WRAPPERS if key in output]
    for inner in usual or (lists if len(lists) == 1 else ()):
        if isinstance(inner, (list, tuple, Mapping)):
            format_ = next((format_ for format_ in (FORMATS[0], *formats) if matches(format_, inner)), None)
            if format_ is None:
                recognized = _inside(inner, (*around, output), formats)
            else:
                recognized = Recognized(format_, inner, (*around, output))
            if recognized is not None:
                found.append(recognized)
    return found[0] if len(found) == 1 else None


def _check_single(output: Sequence[Any], format_: Format) -> None:
    if len(output) > 1:
        others = (
            {repr(other.key) for other in possible(output, FORMATS)} if format_.precedence >= Precedence.UNNAMED else ()
        )
        named = f" If it is one for each class, pass format={' or '.join(sorted(others))}." if others else ""
        raise DetectionError(
            f"a list of {len(output)} outputs ({format_.name}), one per image; pass the one of your image, for "
            f"example result[0].{named}"
        )


def matches(format_: Format, output: Any) -> bool:
    """Return whether an output has a format."""
    try:
        return bool(format_.matches(output))
    except Exception:  # matchers fail on foreign objects
        return False


def _parsed(detections: Any, limits: RegionLimits) -> Any:
    """Read files, decode bytes, and parse text."""
    if detections is None:
        raise DetectionError("None is not a detector's output; pass [] where nothing was detected.")
    if isinstance(detections, PathLike):
        return parsed(read_file(detections, limits), limits)
    if isinstance(detections, (bytes, bytearray)):
        return parsed(decoded(detections, limits), limits)
    if isinstance(detections, str):
        limits.check_text(detections)
        return parsed(detections, limits)
    return detections


def _as_list(detections: Any, limits: RegionLimits) -> Any:
    listed = detections
    if isinstance(detections, (Iterator, MappingView)):
        try:
            listed = list(islice(iter(detections), limits.max_rows + 1))  # type: ignore[arg-type]
        except Exception as error:
            raise DetectionError(f"{describe(detections)} failed during iteration: {shorten(error)}.") from error
    if isinstance(listed, (list, tuple)):
        limits.check_rows(len(listed))
    return listed


def _first_match(output: Any) -> tuple[Format | None, str]:
    """The first format that matches, and what failed on the way."""
    failures = ""
    registered = _registered
    for format_ in (*registered, *RECOGNIZED):
        try:
            if format_.matches(output):
                return format_, ""
        except Exception as error:
            # Built-in matchers may fail on foreign objects. For a user's own matcher, it is probably a bug.
            if format_ in registered:
                failures += f" matches() of the format {format_.name!r} raised {type(error).__name__}."
    return None, failures


def _format_of_batch(output: Any) -> Format | None:
    """The format of the only item in a list; None if it has none.

    Raises:
        DetectionError: there are several items of one format.
    """
    if not isinstance(output, (list, tuple)) or not output or isinstance(output[0], (str, bytes)):
        return None
    format_, _ = _first_match(output[0])
    if format_ is None or any(_first_match(item)[0] is not format_ for item in output[:_BATCH_SAMPLE]):
        return None
    if len({_column_count(item) for item in output}) > 1:
        raise DetectionError("rows of unequal length; expected boxes that all have 4, all 5 or all 6 numbers.")
    _check_single(output, format_)
    return format_


def _column_count(item: Any) -> int | None:
    """How many numbers a bare row has; None for anything else."""
    is_row = isinstance(item, (list, tuple)) and all(isinstance(number, (int, float)) for number in item)
    return len(item) if is_row else None
