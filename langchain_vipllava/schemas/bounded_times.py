"""Patterns of the dates, times and durations that pydantic's `ge`, `gt`, `le` and `lt` allow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from langchain_vipllava.errors import GenerationError
from langchain_vipllava.schemas.range_patterns import (
    date_times_between,
    dates_between,
    durations_between,
    times_between,
)

_DAY, _SECOND = timedelta(days=1), timedelta(seconds=1)
_BOUNDS = ("ge", "gt", "le", "lt")
_END_OF_DAY = 24 * 60 * 60 - 1


def bounded_date(schema: Mapping[str, Any]) -> str | None:
    """Return the pattern of dates within the bounds of a core schema; None without bounds.

    Raises:
        GenerationError: there is no such date.
    """
    if not _is_bounded(schema):
        return None
    low, high = _now_bounds(schema)
    try:
        low = max([low, *_given(schema, "ge"), *(bound + _DAY for bound in _given(schema, "gt"))])
        high = min([high, *_given(schema, "le"), *(bound - _DAY for bound in _given(schema, "lt"))])
        pattern = dates_between(low, high)
    except OverflowError:
        pattern = ""
    return pattern or _refuse(schema, "date")


def bounded_date_time(schema: Mapping[str, Any], *, aware: bool | None) -> str | None:
    """Return the same for date-times, of whole seconds near the bounds; in UTC where a bound has an offset.

    Raises:
        GenerationError: there is no such date-time.
    """
    if not _is_bounded(schema):
        return None
    in_utc = any(bound.tzinfo is not None for name in _BOUNDS for bound in _given(schema, name))
    if in_utc and aware is False:
        raise GenerationError("bounds with an offset of a NaiveDatetime; expected bounds without one.")
    first, last = _now_bounds(schema)
    low, high = datetime.combine(first, time()), datetime.combine(last, time(23, 59, 59))
    try:
        low = max([low, *(_ceil(_plain(bound)) for bound in _given(schema, "ge")),
                   *(_floor(_plain(bound)) + _SECOND for bound in _given(schema, "gt"))])  # fmt: skip
        high = min([high, *(_floor(_plain(bound)) for bound in _given(schema, "le")),
                    *(_ceil(_plain(bound)) - _SECOND for bound in _given(schema, "lt"))])  # fmt: skip
        pattern = date_times_between(low, high)
    except OverflowError:
        pattern = ""
    return _with_zone(pattern or _refuse(schema, "date-time"), in_utc or aware is True)


def bounded_time(schema: Mapping[str, Any], *, aware: bool | None) -> str | None:
    """Return the same for times of day.

    Raises:
        GenerationError: there is no such time of whole seconds.
    """
    if not _is_bounded(schema):
        return None
    in_utc = any(bound.tzinfo is not None for name in _BOUNDS for bound in _given(schema, name))
    seconds = {name: [_second(bound) for bound in _given(schema, name)] for name in _BOUNDS}
    low = max([0, *map(math.ceil, seconds["ge"]), *(math.floor(bound) + 1 for bound in seconds["gt"])])
    high = min([_END_OF_DAY, *map(math.floor, seconds["le"]), *(math.ceil(bound) - 1 for bound in seconds["lt"])])
    pattern = times_between(low, high, whole_day=not seconds["le"] and not seconds["lt"])
    return _with_zone(pattern or _refuse(schema, "time"), in_utc or aware is True)


def bounded_duration(schema: Mapping[str, Any]) -> str | None:
    """Return the same for durations.

    Raises:
        GenerationError: there is no such duration of whole seconds.
    """
    if not _is_bounded(schema):
        return None
    seconds = {name: [bound / _SECOND for bound in _given(schema, name)] for name in _BOUNDS}
    lows = [*map(math.ceil, seconds["ge"]), *(math.floor(bound) + 1 for bound in seconds["gt"])]
    highs = [*map(math.floor, seconds["le"]), *(math.ceil(bound) - 1 for bound in seconds["lt"])]
    high = min(highs, default=int(timedelta.max / _SECOND))
    low = max(lows, default=min(0, high * 10))
    return durations_between(low, high) or _refuse(schema, "timedelta")


def _is_bounded(schema: Mapping[str, Any]) -> bool:
    return any(schema.get(name) is not None for name in _BOUNDS)


def _given(schema: Mapping[str, Any], name: str) -> list[Any]:
    return [] if schema.get(name) is None else [schema[name]]


def _now_bounds(schema: Mapping[str, Any]) -> tuple[date, date]:
    """Return the first and last date that a past or future type allows all year long."""
    year = datetime.now(UTC).year
    first = date(year + 1, 1, 1) if schema.get("now_op") == "future" else date.min
    last = date(year - 1, 12, 31) if schema.get("now_op") == "past" else date.max
    return first, last


def _plain(moment: datetime) -> datetime:
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _floor(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _ceil(moment: datetime) -> datetime:
    return _floor(moment) + (_SECOND if moment.microsecond else timedelta(0))


def _second(clock: time) -> float:
    return (clock.hour * 60 + clock.minute) * 60 + clock.second + clock.microsecond / 1e6


def _with_zone(pattern: str, aware: bool) -> str:
    return f"(?:{pattern}){'Z' if aware else ''}"


def _refuse(schema: Mapping[str, Any], kind: str) -> str:
    bounds = ", ".join(f"{name}={schema[name]}" for name in _BOUNDS if schema.get(name) is not None)
    raise GenerationError(f"no {kind} that can be written lies within {bounds}; expected wider bounds.")
