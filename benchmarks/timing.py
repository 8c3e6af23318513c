"""Interleaved timing of several implementations, so that noise on the machine affects all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """Seconds of one implementation.

    Attributes:
        median: median of the counted runs.
        low, high: fastest and slowest counted run.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, runs: Sequence[float]) -> Measured:
        """Sum up the seconds of the counted runs."""
        return cls(statistics.median(runs), min(runs), max(runs))

    def __str__(self) -> str:
        return f"{_seconds(self.median)} ({_seconds(self.low)} to {_seconds(self.high)})"


def measure(functions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Measured]:
    """Run every function once uncounted, then `repeats` times, interleaved.

    Args:
        functions: the functions to time, by name. If one returns a float, that is its time in seconds.
        repeats: counted runs of each.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for run in range(repeats + 1):
        for name, function in functions.items():
            started = time.perf_counter()
            result = function()
            seconds = result if isinstance(result, float) else time.perf_counter() - started
            if run:
                times[name].append(seconds)
    return {name: Measured.of(runs) for name, runs in times.items()}


def _seconds(value: float) -> str:
    return f"{value * 1e3:.1f} ms" if value < 1 else f"{value:.2f} s"
