"""`DetectionOptions`: how to read a detector's output."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any, ClassVar, get_args

from pydantic import ConfigDict

from langchain_vipllava.errors import DetectionError, shorten
from langchain_vipllava.regions.context import Context, Labels
from langchain_vipllava.regions.format_names import DetectionFormat, parse_detection_format
from langchain_vipllava.regions.geometry import BoxFormat, parse_box_format
from langchain_vipllava.regions.limits import DEFAULT_LIMITS, RegionLimits
from langchain_vipllava.regions.reading import OnError, Selection, read_regions
from langchain_vipllava.regions.region import Region
from langchain_vipllava.regions.values import describe, number_or_none


@dataclass(frozen=True)
class DetectionOptions:
    """How to read a detector's output; the same for every image of a detector.

    A field of a pydantic model may have this type: pydantic builds it from a dict and refuses unknown keys. With
    `BeforeValidator(DetectionOptions.of)` the error is a `DetectionError`.

    Attributes:
        format: the reader, by name; None recognizes the format by its structure.
        box_format: layout of boxes whose format does not say it.
        labels: names of class ids, `labels[id]`. They override the detector's own names.
        min_score: drop rows whose score is below this. Rows without a score are kept.
        max_regions: keep at most this many rows, those with the highest scores. A missing score counts as 1.0.
        on_error: "raise", or "skip" to drop rows that are not regions with a `SkippedRowsWarning`.
        limits: how much an output may hold; more is an error.

    Raises:
        DetectionError: an unknown format, box_format or on_error, labels that are not names, a min_score that is not a
            number, or a negative max_regions.

    Example:
        >>> from langchain_vipllava.regions.detection_options import DetectionOptions
        >>> options = DetectionOptions(box_format="xywh", labels=["cat", "dog"], max_regions=20)
        >>> options.read([[10, 20, 30, 40, 0.9, 1]])
        [Region(box=(10.0, 20.0, 40.0, 60.0), label='dog', score=0.9)]
        >>> options.narrowed(max_regions=50).max_regions
        20
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    format: DetectionFormat | None = None
    box_format: BoxFormat | None = None
    labels: Labels | None = None
    min_score: float = 0.0
    max_regions: int | None = None
    on_error: OnError = "raise"
    limits: RegionLimits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        if self.format is not None:
            parse_detection_format(self.format)
        if self.on_error not in get_args(OnError):
            raise DetectionError(f"on_error={shorten(self.on_error)}; expected 'raise' or 'skip'.")
        if self.box_format is not None:
            parse_box_format(self.box_format)
        is_text = isinstance(self.labels, (str, bytes))
        if self.labels is not None and (is_text or not hasattr(self.labels, "__getitem__")):
            raise DetectionError(f"labels={describe(self.labels)}; expected a list of names, or a dict of id to name.")
        min_score = number_or_none(self.min_score, "min_score")
        if min_score is None or math.isnan(min_score):
            raise DetectionError(f"min_score={self.min_score!r}; expected a number, 0.0 to keep every row.")
        object.__setattr__(self, "min_score", min_score)
        if self.max_regions is not None:
            object.__setattr__(self, "max_regions", _whole_number(self.max_regions))
        object.__setattr__(self, "limits", RegionLimits.of(self.limits))

    @classmethod
    def of(cls, options: DetectionOptions | Mapping[str, Any]) -> DetectionOptions:
        """Return the options, made from a dict if they are one. A `BeforeValidator` for fields of pydantic models.

        Raises:
            DetectionError: unknown keys, or a value that is not an option.
        """
        if isinstance(options, cls):
            return options
        names = [field.name for field in fields(cls)]
        if not isinstance(options, Mapping) or not options.keys() <= set(names):
            raise DetectionError(f"detection options {describe(options)}; expected a dict with {', '.join(names)}.")
        return cls(**options)

    def read(self, detections: Any, image_size: tuple[int, int] | None = None) -> list[Region]:
        """Read the detections of one image; see `regions_from`.

        Args:
            detections: one image's detections, in any format.
            image_size: `(width, height)` of the upright image in pixels.

        Raises:
            DetectionError: the format is unknown or ambiguous, or a row that is kept is not a region.
        """
        context = Context(image_size=image_size, box_format=self.box_format, labels=self.labels, limits=self.limits)
        selection = Selection(self.min_score, self.max_regions, self.on_error)
        return read_regions(detections, context, selection, self.format)

    def narrowed(self, *, min_score: float | None = None, max_regions: int | None = None) -> DetectionOptions:
        """Combine these limits with a caller's; the stricter one wins.

        A program sets the options; what an LLM asks for in a tool call must not widen them.
        """
        limits = [limit for limit in (self.max_regions, max_regions) if limit is not None]
        return replace(
            self,
            min_score=self.min_score if min_score is None else max(self.min_score, min_score),
            max_regions=min(limits, default=None),
        )


def _whole_number(max_regions: object) -> int:
    if isinstance(max_regions, bool) or not isinstance(max_regions, Integral) or max_regions < 0:
        raise DetectionError(f"max_regions={describe(max_regions)}; expected a whole number, 0 or more.")
    return int(max_regions)
