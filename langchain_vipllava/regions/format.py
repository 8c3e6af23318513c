"""`Format`: how one kind of detector output is recognized and read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.region import Region
from langchain_vipllava.regions.row import Row, UnreadableRow


class Precedence(IntEnum):
    """When a format is tried: lower first, so that a strict format sees an output before a loose one.

    Formats of one precedence must not match the same output; a test checks this with every sample. Their order is
    that of their names, so it does not depend on the order in which modules are imported.
    """

    REGISTERED = 0
    """Added with `register_format`, which must be able to override every built-in format."""

    READY = 1
    """Nothing to interpret: an empty output, `Region` objects, their dumps. No other format handles an empty list."""

    TEXT = 2
    """Strings. No other format looks at them."""

    IMAGE = 3
    """One object or dict for the whole image, with keys or attributes that only one library writes."""

    LOOSE_IMAGE = 4
    """As `IMAGE`, but by keys that several libraries share: mmdet also writes `bboxes` and `labels`, as Florence-2."""

    ROWS = 5
    """A list of dicts, or a tuple of columns, that only one library writes."""

    SHARED_ROWS = 6
    """COCO: Segment Anything writes `segmentation` and `bbox`, too."""

    NAMED_CORNERS = 7
    """Dicts of any origin whose keys say what each number is: `xmin`, `left`, `cx`. Pipelines write these, too."""

    NAMED_LAYOUT = 8
    """Dicts of any origin with `xyxy`, `xywh` or `cxcywh`. After named corners, which say the same more precisely."""

    OUTLINES = 9
    """Dicts of any origin with a list of points. After boxes that say what they are, which may have an outline, too."""

    MASKS = 10
    """Dicts of any origin with a mask, which may have a plainer outline, too."""

    UNNAMED = 11
    """Numbers that mean nothing without `box_format`: last, because almost anything can be read as a table."""

    ON_REQUEST = 12
    """Cannot be told from other formats: read only where `format=` names it. `matches` says what it may be, for the
    message about an output that nothing recognizes."""


@dataclass(frozen=True, eq=False)
class Format:
    """How one kind of detector output is recognized and read.

    Attributes:
        key: its name in `format=`, one of `DetectionFormat`. Formats of one source may share a key: the first that
            matches reads, and where none does, the first.
        name: how error messages call it.
        matches: whether an object has this format. An exception counts as no.
        read: yields the rows of such an object. A `DetectionError` is about the whole output, any other exception
            about the next row. Readers of lists yield `each(...)`, so that the rows behind a bad one can be read.
        precedence: when the format is tried.
        clues: keys, attributes or words of such outputs. An output that nothing recognizes is told the formats that
            share most of them with it.
    """

    key: str
    name: str
    matches: Callable[[Any], bool]
    read: Callable[[Any, Context], Iterable[Row | Region | UnreadableRow]]
    precedence: Precedence
    clues: tuple[str, ...] = ()
