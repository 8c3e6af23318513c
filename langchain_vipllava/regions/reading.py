"""From a detector's output to regions: recognize the format, read its rows, drop some, convert the rest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from langchain_vipllava.errors import DetectionError, RegionError
from langchain_vipllava.regions.context import Context, Row
from langchain_vipllava.regions.format import Format
from langchain_vipllava.regions.geometry import described_size
from langchain_vipllava.regions.recognition import recognize
from langchain_vipllava.regions.region import Region
from langchain_vipllava.regions.values import describe, number_or_none


def read_regions(detections: Any, context: Context, *, min_score: float, max_regions: int | None) -> list[Region]:
    """Read a detector's output as regions, in the detector's order.

    Rows are dropped before they are converted: a broken row below `min_score` raises nothing.

    Raises:
        DetectionError: the format is unknown, a row that is kept is not a region, or there is more than the limits
            of the context allow.
    """
    format_, output = recognize(detections, context.limits)
    rows = _read_rows(format_, output, context)
    kept = _select(rows, min_score, max_regions, format_)
    context.limits.check_regions(len(kept))
    for index in kept:  # masks that are small now and large when they are made, before the first is made
        _count_mask(rows[index], index, format_, context)
    return [_to_region(rows[index], index, format_, context) for index in kept]


def _read_rows(format_: Format, output: Any, context: Context) -> list[Row | Region]:
    rows: list[Row | Region] = []
    try:
        for row in format_.read(output, context):
            if not isinstance(row, (Row, Region)):
                raise TypeError(f"the reader yielded {describe(row)}; expected a Row or a Region")
            rows.append(row)
            context.limits.check_rows(len(rows))
    except RegionError as error:
        raise DetectionError(f"{format_.name}: {error}") from error
    except Exception as error:
        raise DetectionError(f"row {len(rows)} of the {format_.name}: {_reason(error)}.") from error
    return rows


def _select(rows: Sequence[Row | Region], min_score: float, max_regions: int | None, format_: Format) -> list[int]:
    """Indices of the rows to keep, in ascending order."""
    scores: dict[int, float] = {}
    for index, row in enumerate(rows):
        try:
            score = number_or_none(row.score, "score")
        except DetectionError as error:
            raise DetectionError(f"row {index} of the {format_.name}: {error}") from error
        # Not `score >= min_score`: a NaN must reach Region, which refuses it.
        if score is None or not score < min_score:
            scores[index] = 1.0 if score is None else score
    if max_regions is None:
        return list(scores)
    return sorted(sorted(scores, key=lambda index: -scores[index])[:max_regions])


def _count_mask(row: Row | Region, index: int, format_: Format, context: Context) -> None:
    size = described_size(row.mask) if isinstance(row, Row) else None
    if size is not None:
        try:
            context.masks.spend(*size)
        except RegionError as error:
            raise DetectionError(f"row {index} of the {format_.name}: {error}") from error


def _to_region(row: Row | Region, index: int, format_: Format, context: Context) -> Region:
    if isinstance(row, Region):
        return row
    try:
        return context.region(row)
    except RegionError as error:
        raise DetectionError(f"row {index} of the {format_.name}: {error}") from error
    except Exception as error:
        raise DetectionError(f"row {index} of the {format_.name}: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{describe(error.args[0]) if error.args else 'a key'} is missing"
    with suppress(Exception):  # str() of a foreign exception can fail
        return str(error)[:200] or type(error).__name__
    return type(error).__name__
