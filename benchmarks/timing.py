"""Timing two or more ways to do a job, turn about, so that a busy moment of the machine hits all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """Seconds of one way to do a job.

    Attributes:
        median: the middle of the runs.
        low, high: fastest and slowest run.
    """

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_seconds(self.median)} ({_seconds(self.low)} to {_seconds(self.high)})"


def measure(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Measured]:
    """Run every way `repeats` times, one after the other, after one run that does not count.

    Args:
        ways: what to time; one that returns a number of seconds has timed itself.
        repeats: counted runs of each.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            own = way()
            seconds = own if isinstance(own, float) else time.perf_counter() - started
            if turn:
                taken[name].append(seconds)
    return {name: Measured(statistics.median(runs), min(runs), max(runs)) for name, runs in taken.items()}


def _seconds(value: float) -> str:
    return f"{value * 1e3:.1f} ms" if value < 1 else f"{value:.2f} s"
