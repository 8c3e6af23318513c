"""Patterns of numbers, dates and times between two bounds: they fit what lies there, and nothing else."""

import random
import re
from datetime import date, datetime, timedelta

from langchain_vipllava.schemas.range_patterns import (
    date_times_between,
    dates_between,
    durations_between,
    times_between,
    whole_numbers,
)

RNG = random.Random(19)


def fits(pattern, text):
    return re.fullmatch(pattern, text) is not None


def test_whole_numbers():
    for _ in range(200):
        low, high = sorted(RNG.choice([RNG.randint(-30, 30), RNG.randint(-(10**6), 10**6)]) for _ in "ab")
        pattern = whole_numbers(low, high)
        for number in [low, high, low - 1, high + 1, 0, -low, *(RNG.randint(low - 5, high + 5) for _ in range(20))]:
            assert fits(pattern, str(number)) == (low <= number <= high), (low, high, number)
    assert not fits(whole_numbers(0, 50), "007")
    assert whole_numbers(5, 4) == ""


def test_dates():
    last = date.max.toordinal()
    for _ in range(150):
        low = RNG.randint(1, last)
        high = min(last, low + RNG.choice([0, 1, 20, 400, 3000, 10**6]))
        pattern = dates_between(date.fromordinal(low), date.fromordinal(high))
        for day in [low, high, *(RNG.randint(max(1, low - 40), min(last, high + 40)) for _ in range(30))]:
            tried = date.fromordinal(day)
            fitting, within = fits(pattern, tried.isoformat()), low <= day <= high
            assert fitting == within or (within and (tried.month, tried.day) == (2, 29)), (low, high, tried)
    assert fits(dates_between(date(2024, 2, 1), date(2024, 3, 1)), "2024-02-29")
    assert not fits(dates_between(date(2020, 1, 1), date(2030, 1, 1)), "2023-02-29")


def test_times():
    for _ in range(150):
        low = RNG.randint(0, 86399)
        high = min(86399, low + RNG.choice([0, 1, 70, 4000, 80000]))
        for second in [low, high, *(RNG.randint(0, 86399) for _ in range(20))]:
            text = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
            assert fits(times_between(low, high), text) == (low <= second <= high)
            assert fits(times_between(low, high), f"{text}.5") == (low <= second < high)


def test_date_times():
    for _ in range(150):
        low = datetime(2001, 1, 1) + timedelta(seconds=RNG.randint(0, 9 * 10**7))
        span = RNG.choice([0, 5, 10**4, 10**5, 2 * 10**5, 10**7])
        high, second = low + timedelta(seconds=span), timedelta(seconds=1)
        pattern = date_times_between(low, high)
        inside = [low + timedelta(seconds=RNG.randint(-9, span + 9)) for _ in range(20)]
        for moment in [low, high, low - second, high + second, *inside]:
            if (moment.month, moment.day) != (2, 29):
                assert fits(pattern, moment.isoformat()) == (low <= moment <= high), (low, high, moment)


def test_durations():
    hour = durations_between(0, 3600)
    assert [text for text in ("PT0S", "PT3600S", "P0D", "PT3601S", "P1D") if fits(hour, text)] == [
        "PT0S",
        "PT3600S",
        "P0D",
    ]
    assert fits(durations_between(-50, -3), "-PT7S")
    assert not fits(durations_between(86401, 10**7), "P1D")
    assert fits(durations_between(86401, 10**7), "P2D")
