"""`RegionLimits`: how much detections may hold, checked before anything is parsed, decoded or drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, ClassVar

from pydantic import ConfigDict

from langchain_vipllava.errors import DetectionError, expect_positive, shorten


@dataclass(frozen=True)
class RegionLimits:
    """How much the detections of one image may hold.

    Attributes:
        max_regions: regions that one input makes, after `min_score` and `max_regions` of the options; also those of an
            image in a workspace. Chosen: 900 queries of DINO are the most that a detector's post-processing keeps.
        max_rows: rows of an input, lines of YOLO text, XML objects. Chosen: what is dropped by score may be more.
        max_polygon_points: points of one polygon. Chosen: the outline of a mask of 12 megapixels has some 4,000.
        max_values: numbers, texts and lists in an input that is not an array; runs of one RLE. Chosen: read in a tenth
            of a second.
        max_depth: lists and dicts inside each other. Chosen: twice what the deepest known format has.
        max_mask_bytes: pixels of the masks that an input describes by less than its pixels: RLE, rings of several
            polygons, maps of segments. Arrays are in memory already, and count nothing. Chosen: 44 masks of
            12 megapixels.
        max_text_bytes: JSON, XML or YOLO text. Chosen: LabelMe's JSON contains the photograph.

    Raises:
        DetectionError: a limit that is not a whole number of at least 1.

    Example:
        >>> from langchain_vipllava import RegionLimits, regions_from
        >>> rows = [[1, 2, 30, 40]] * 6000
        >>> limits = RegionLimits(max_rows=6000, max_regions=6000)
        >>> len(regions_from(rows, box_format="xyxy", limits=limits))
        6000
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    max_regions: int = 1000
    max_rows: int = 5000
    max_polygon_points: int = 20_000
    max_values: int = 1_000_000
    max_depth: int = 16
    max_mask_bytes: int = 512 * 2**20
    max_text_bytes: int = 8 * 2**20

    def __post_init__(self) -> None:
        expect_positive(self, (field.name for field in fields(self)), DetectionError)

    @classmethod
    def of(cls, limits: RegionLimits | Mapping[str, Any]) -> RegionLimits:
        """Return the limits, made from a dict if they are one.

        Raises:
            DetectionError: unknown keys, or a value that is not a limit.
        """
        if isinstance(limits, cls):
            return limits
        names = [field.name for field in fields(cls)]
        if not isinstance(limits, Mapping) or not limits.keys() <= set(names):
            raise DetectionError(f"limits={shorten(limits)}; expected RegionLimits, or a dict with {', '.join(names)}.")
        return cls(**limits)

    def check_text(self, text: str | bytes | bytearray) -> None:
        """Check the length of a text that has not been parsed.

        Raises:
            DetectionError: it is too long.
        """
        size = len(text)
        if size > self.max_text_bytes or (isinstance(text, str) and _utf8_size(text) > self.max_text_bytes):
            raise DetectionError(
                f"{size} characters of text; expected at most max_text_bytes={self.max_text_bytes}. Parse it first, or "
                f"{_allow('max_text_bytes')}."
            )

    def check_nested(self, value: Any) -> None:
        """Check how much lists, tuples and dicts hold, and how deep they are nested. Arrays count as one value.

        Raises:
            DetectionError: too much, or too deep.
        """
        waiting: list[tuple[Any, int]] = [(value, 1)]
        values = 0
        while waiting:
            holder, depth = waiting.pop()
            if isinstance(holder, (str, bytes)):
                self.check_text(holder)
                continue
            if not isinstance(holder, (list, tuple, Mapping)):
                continue
            try:
                items = list(islice(holder.values() if isinstance(holder, Mapping) else holder, self.max_values + 1))
            except Exception:  # noqa: S112  # of a foreign class; its format says what is wrong
                continue
            values += len(items)
            self.check_values(values)
            self.check_depth(depth)
            waiting += [(item, depth + 1) for item in items if type(item) not in _SCALARS]

    def check_depth(self, depth: int) -> None:
        """Check how deep lists, dicts or XML elements are nested.

        Raises:
            DetectionError: too deep.
        """
        if depth > self.max_depth:
            raise DetectionError(
                f"lists, dicts or elements more than max_depth={self.max_depth} inside each other. Flatten them, or "
                f"{_allow('max_depth')}."
            )

    def check_values(self, count: int) -> None:
        """Check the number of numbers, texts and lists.

        Raises:
            DetectionError: too many.
        """
        if count > self.max_values:
            raise DetectionError(
                f"more than max_values={self.max_values} numbers, texts, lists or runs. Simplify polygons, "
                f"or {_allow('max_values')}."
            )

    def check_rows(self, count: int) -> None:
        """Check the number of rows of an input.

        Raises:
            DetectionError: too many.
        """
        if count > self.max_rows:
            raise DetectionError(
                f"more than max_rows={self.max_rows} rows. Let the detector drop the weakest, or {_allow('max_rows')}."
            )

    def check_regions(self, count: int) -> None:
        """Check the number of regions.

        Raises:
            DetectionError: too many.
        """
        if count > self.max_regions:
            raise DetectionError(
                f"{count} regions; expected at most max_regions={self.max_regions}. Raise min_score, keep the best by "
                f"max_regions=, or {_allow('max_regions')}."
            )

    def check_points(self, count: int) -> None:
        """Check the number of points of a polygon.

        Raises:
            DetectionError: too many.
        """
        if count > self.max_polygon_points:
            raise DetectionError(
                f"a polygon of {count} points; expected at most max_polygon_points={self.max_polygon_points}. "
                f"Simplify it, or {_allow('max_polygon_points')}."
            )

    def check_mask_bytes(self, count: int) -> None:
        """Check the pixels of masks that are not decoded yet.

        Raises:
            DetectionError: too many.
        """
        if count > self.max_mask_bytes:
            raise DetectionError(
                f"masks of {shorten(count)} pixels; expected at most max_mask_bytes={self.max_mask_bytes}. Keep fewer "
                f"with min_score or max_regions, or {_allow('max_mask_bytes')}."
            )


class MaskBudget:
    """Counts the pixels of the masks that one input describes, before they are made.

    Args:
        limits: whose `max_mask_bytes` holds.
    """

    def __init__(self, limits: RegionLimits) -> None:
        self._limits, self._spent = limits, 0

    def spend(self, width: int, height: int) -> None:
        """Count one mask.

        Raises:
            DetectionError: it is one too many.
        """
        self._spent += max(width, 0) * max(height, 0)
        self._limits.check_mask_bytes(self._spent)


def _allow(limit: str) -> str:
    return f"pass limits=RegionLimits({limit}=...)"


DEFAULT_LIMITS = RegionLimits()

_SCALARS = frozenset({int, float, bool, type(None)})


def _utf8_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
