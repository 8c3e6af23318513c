"""Patterns of the whole numbers, dates and times between two bounds: a grammar compares no text."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

_DAY = (23, 59, 59)
_FRACTION = r"(?:\.\d{1,6})?"
_MAX_SECONDS = 10**9
"""Largest number of seconds in a duration, some 31 years: pydantic 2.14 reads 10**9, and not 10**10."""


def whole_numbers(low: int, high: int) -> str:
    """Return the pattern of the whole numbers from one bound to another, without leading zeros; empty for none."""
    parts = []
    if low < 0:
        negative = whole_numbers(max(1, -high), -low)
        parts += [f"-{negative}"] if negative else []
        low = 0
    for digits in range(len(str(low)), len(str(high)) + 1 if high >= 0 else 0):
        first, last = max(low, 10 ** (digits - 1) if digits > 1 else 0), min(high, 10**digits - 1)
        parts += [_digits(str(first), str(last))] if first <= last else []
    return _either(parts)


def dates_between(low: date, high: date) -> str:
    """Return the pattern of the dates from one to another, without leap days in whole years; empty for none."""
    if low > high:
        return ""
    if low.year == high.year:
        return _days(low.year, (low.month, low.day), (high.month, high.day))
    first, last = low.year, high.year
    parts = []
    if (low.month, low.day) != (1, 1):
        parts.append(_days(first, (low.month, low.day), (12, 31)))
        first += 1
    if (high.month, high.day) != (12, 31):
        parts.append(_days(last, (1, 1), (high.month, high.day)))
        last -= 1
    if first <= last:
        months = _days(2001, (1, 1), (12, 31)).removeprefix("2001")  # no leap year
        parts.append(f"{_digits(f'{first:04}', f'{last:04}')}{months}")
    return _either(parts)


def times_between(low: int, high: int, *, whole_day: bool = False) -> str:
    """Return the pattern of times of day, bounds in seconds; the last one without a fraction. Empty for none.

    Args:
        low: the first second.
        high: the last second.
        whole_day: whether the last second may have a fraction: the day ends there.
    """
    if low > high:
        return ""
    if whole_day:
        return _clock(_fields(low), _fields(high), _DAY) + _FRACTION
    before = [_clock(_fields(low), _fields(high - 1), _DAY) + _FRACTION] if low < high else []
    return _either([*before, _clock(_fields(high), _fields(high), _DAY)])


def date_times_between(low: datetime, high: datetime) -> str:
    """Return the pattern of the date-times, without an offset, from one whole second to another; empty for none."""
    if low > high:
        return ""
    first, last = _second(low), _second(high)
    if low.date() == high.date():
        return f"{low.date().isoformat()}T{times_between(first, last)}"
    day = timedelta(days=1)
    after, end = low.date(), 24 * 60 * 60 - 1
    parts = [f"{high.date().isoformat()}T{times_between(0, last)}"]
    if first > 0:
        parts.insert(0, f"{low.date().isoformat()}T{times_between(first, end, whole_day=True)}")
        after += day
    if days := dates_between(after, high.date() - day):
        parts.insert(0, f"{days}T{times_between(0, end, whole_day=True)}")
    return _either(parts)


def durations_between(low: int, high: int) -> str:
    """Return the pattern of durations in whole days or seconds, bounds in seconds; empty for none."""
    if high < 0:
        positive = durations_between(-high, -low)
        return f"-{positive}" if positive else ""
    low, day = max(low, 0), 24 * 60 * 60
    days = whole_numbers(-(-low // day), min(high // day, 999_999_999))
    seconds = whole_numbers(low, min(high, _MAX_SECONDS))
    return _either([f"P{days}D"] * bool(days) + [f"PT{seconds}S"] * bool(seconds))


def _second(moment: datetime | time) -> int:
    return (moment.hour * 60 + moment.minute) * 60 + moment.second


def _fields(second: int) -> tuple[int, int, int]:
    return second // 3600, second // 60 % 60, second % 60


def _digits(low: str, high: str) -> str:
    """Return the pattern of the numbers between two with as many digits."""
    if not low:
        return ""
    if low[0] == high[0]:
        return low[0] + _digits(low[1:], high[1:])
    first, last, rest = int(low[0]), int(high[0]), len(low) - 1
    parts = []
    if low[1:].strip("0"):
        parts.append(low[0] + _digits(low[1:], "9" * rest))
        first += 1
    if high[1:].strip("9"):
        parts.append(high[0] + _digits("0" * rest, high[1:]))
        last -= 1
    if first <= last:
        parts.append(f"[{first}-{last}]" + (f"[0-9]{{{rest}}}" if rest else ""))
    return _either(parts)


def _clock(low: Sequence[int], high: Sequence[int], most: Sequence[int]) -> str:
    """Return the pattern of fields of two digits between two values, such as hours, minutes and seconds."""
    first, last = low[0], high[0]
    if len(low) == 1 or first == last:
        rest = "" if len(low) == 1 else f":{_clock(low[1:], high[1:], most[1:])}"
        return _digits(f"{first:02}", f"{last:02}") + rest
    zeros, parts = [0] * (len(low) - 1), []
    if any(low[1:]):
        parts.append(f"{first:02}:{_clock(low[1:], most[1:], most[1:])}")
        first += 1
    if tuple(high[1:]) != tuple(most[1:]):
        parts.append(f"{last:02}:{_clock(zeros, high[1:], most[1:])}")
        last -= 1
    if first <= last:
        parts.append(f"{_digits(f'{first:02}', f'{last:02}')}:{_clock(zeros, most[1:], most[1:])}")
    return _either(parts)


def _days(year: int, low: tuple[int, int], high: tuple[int, int]) -> str:
    """Return the pattern of the dates of a year from one month and day to another."""
    parts = []
    for month in range(low[0], high[0] + 1):
        first = low[1] if month == low[0] else 1
        last = high[1] if month == high[0] else calendar.monthrange(year, month)[1]
        parts.append(f"{month:02}-{_digits(f'{first:02}', f'{last:02}')}")
    return f"{year:04}-{_either(parts)}"


def _either(parts: Sequence[str]) -> str:
    return f"(?:{'|'.join(parts)})" if len(parts) > 1 else "".join(parts)
