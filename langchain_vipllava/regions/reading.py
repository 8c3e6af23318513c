"""From a detector's output to regions: recognize the format, read its rows, drop some, convert the rest."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from langchain_vipllava.errors import DetectionError, RegionError, shorten
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.format_names import DetectionFormat
from langchain_vipllava.regions.geometry import described_size
from langchain_vipllava.regions.recognition import matches, recognize
from langchain_vipllava.regions.region import Region
from langchain_vipllava.regions.row import Row, UnreadableRow
from langchain_vipllava.regions.stated import stated_around
from langchain_vipllava.regions.values import describe, number_or_none

OnError = Literal["raise", "skip"]
"""What happens to a row that is not a region."""

_MAX_TOLD = 5
"""Skipped rows whose reason is in the warning; all are in its `rows`."""


class SkippedRowsWarning(UserWarning):
    """Rows were dropped because of `on_error="skip"`.

    Attributes:
        rows: number of each dropped row, counted from 0, and why it was dropped.
    """

    def __init__(self, rows: dict[int, str]) -> None:
        self.rows = rows
        told = " ".join(list(rows.values())[:_MAX_TOLD])
        more = f" And {len(rows) - _MAX_TOLD} more." if len(rows) > _MAX_TOLD else ""
        super().__init__(f"dropped {len(rows)} row{'s' * (len(rows) != 1)} that cannot be read: {told}{more}")


@dataclass(frozen=True)
class Selection:
    """Which rows of an output become regions.

    Attributes:
        min_score: drop rows whose score is below this.
        max_regions: keep at most this many, those with the highest scores.
        on_error: whether a row that is not a region is an error, or is dropped with a `SkippedRowsWarning`.
    """

    min_score: float = 0.0
    max_regions: int | None = None
    on_error: OnError = "raise"


def read_regions(
    detections: Any, context: Context, selection: Selection, format: DetectionFormat | None = None
) -> list[Region]:
    """Read a detector's output as regions, in the detector's order.

    Rows are dropped before they are converted: a broken row below `min_score` raises nothing.

    Raises:
        DetectionError: the format is unknown, a row that is kept is not a region, or there is more than the limits
            of the context allow.
    """
    recognized = recognize(detections, context.limits, format)
    format_, output = recognized.format, recognized.output
    context = replace(context, named=format is not None)
    if format_.precedence > Precedence.TEXT:
        try:
            for level in (*recognized.around, output):
                context = replace(context, stated=stated_around(level).over(context.stated))
        except RegionError as error:
            raise DetectionError(f"{format_.name}: {error}") from error
    reading = _Reading(format_, context, selection)
    try:
        rows = reading.rows(output)
    except DetectionError as error:
        if format is None or matches(format_, output):
            raise
        raise DetectionError(
            f"{describe(output)} is not what format={format!r} reads. {shorten(str(error), 200)[1:-1]}"
        ) from error
    if format is not None and not rows and not matches(format_, output):
        raise DetectionError(f"{describe(output)} holds nothing that format={format!r} reads.")
    if not rows:
        _check_success((*recognized.around, output))
    regions = reading.regions(rows)
    if reading.skipped:
        numbered = dict(sorted(reading.skipped.items()))
        warnings.warn(SkippedRowsWarning(numbered), stacklevel=4)
    return regions


def _check_success(levels: Sequence[Any]) -> None:
    """Refuse an empty output that says of itself that the detector failed.

    Raises:
        DetectionError: it says so.
    """
    for level in levels:
        for key in ("success", "ok", "status", "state", "code", "status_code", "error", "errors"):
            value = level.get(key) if type(level) is dict else None
            if key.startswith("error"):
                failed = bool(value)
            elif isinstance(value, str):
                failed = value.strip().lower() in ("failed", "failure", "fail", "error", "timeout", "false")
            else:
                failed = value is False or (key.startswith(("status", "code")) and _is_http_error(value))
            if failed:
                raise DetectionError(
                    f"it holds no detections, and says {key}={shorten(value, 60)}: the detector failed. Pass [] where "
                    "nothing was detected."
                )


def _is_http_error(value: Any) -> bool:
    return isinstance(value, int) and 400 <= value < 600


class _Reading:
    """One output on its way to regions."""

    def __init__(self, format_: Format, context: Context, selection: Selection) -> None:
        self.format, self.context, self.selection = format_, context, selection
        self.skipped: dict[int, str] = {}

    def rows(self, output: Any) -> list[Row | Region | UnreadableRow]:
        """Read all rows."""
        rows: list[Row | Region | UnreadableRow] = []
        reader: Iterator[Any] = iter(())
        while True:
            try:
                reader = reader if rows else iter(self.format.read(output, self.context))
                row = next(reader, None)
                if row is not None and not isinstance(row, (Row, Region, UnreadableRow)):
                    raise TypeError(f"the reader yielded {describe(row)}; expected a Row or a Region")
                self.context.limits.check_rows(len(rows) + (row is not None))
            except RegionError as error:
                raise DetectionError(f"{self.format.name}: {error}") from error
            except Exception as error:
                raise self.error(len(rows), error) from error
            if row is None:
                return rows
            if isinstance(row, UnreadableRow):
                self.failed(len(rows), row.error)
            rows.append(row)

    def regions(self, rows: Sequence[Row | Region | UnreadableRow]) -> list[Region]:
        """Convert the rows that are kept."""
        kept = self.kept(rows)
        self.context.limits.check_regions(len(kept))
        for index, row in kept.items():  # masks that are small now and large when they are made, before the first
            size = described_size(row.mask) if isinstance(row, Row) else None
            if size is not None:
                try:
                    self.context.masks.spend(*size)
                except RegionError as error:
                    raise self.error(index, error) from error
        regions = []
        for index, row in kept.items():
            try:
                regions.append(row if isinstance(row, Region) else self.context.region(row))
            except Exception as error:
                self.failed(index, error)
        return regions

    def kept(self, rows: Sequence[Row | Region | UnreadableRow]) -> dict[int, Row | Region]:
        """Return the rows to keep with their numbers, in ascending order."""
        readable: dict[int, Row | Region] = {}
        scores: dict[int, float] = {}
        for index, row in enumerate(rows):
            if isinstance(row, UnreadableRow):
                continue
            try:
                score = number_or_none(row.score, "score")
            except DetectionError as error:
                self.failed(index, error)
                continue
            # Not `score >= min_score`: a NaN must reach Region, which refuses it.
            if score is None or not score < self.selection.min_score:
                readable[index] = row
                scores[index] = 1.0 if score is None else score
        best = sorted(scores, key=lambda index: -scores[index])[: self.selection.max_regions]
        return {index: readable[index] for index in sorted(best)}

    def failed(self, index: int, error: Exception) -> None:
        """Note a row that is dropped.

        Raises:
            DetectionError: rows are not dropped.
        """
        if self.selection.on_error == "raise":
            raise self.error(index, error) from error
        self.skipped[index] = str(self.error(index, error))

    def error(self, index: int, error: Exception) -> DetectionError:
        """Return the error about a row."""
        reason = str(error) if isinstance(error, RegionError) else f"{_reason(error)}."
        return DetectionError(f"row {index} of the {self.format.name}: {reason}")


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{describe(error.args[0]) if error.args else 'a key'} is missing"
    with suppress(Exception):  # str() of a foreign exception can fail
        return str(error)[:200] or type(error).__name__
    return type(error).__name__
