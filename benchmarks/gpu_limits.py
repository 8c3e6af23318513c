"""What one GPU can do at most: the bounds that `benchmarks.gpu` measures against."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.gpu_check import Check


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 10) -> float:
    """Measure the median seconds of some work on a device, after two runs that are not counted."""
    times = []
    for _ in range(repeats + 2):
        synchronize(device)
        started = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])


def synchronize(device: torch.device) -> None:
    """Wait for what runs on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def bandwidth(device: torch.device) -> float:
    """Measure how many bytes per second a sum over memory reads: the bound of decoding one row."""
    size = 2**31 if device.type == "cuda" else 2**22
    numbers = torch.randn(size, dtype=torch.bfloat16, device=device)
    return numbers.nbytes / seconds(numbers.sum, device)


def arithmetic(device: torch.device) -> float:
    """Measure the operations per second of a product of large bfloat16 matrices: the bound of a prefill."""
    side = 8192 if device.type == "cuda" else 256
    one, other = (torch.randn(side, side, dtype=torch.bfloat16, device=device) for _ in range(2))
    return 2.0 * side**3 / seconds(lambda: one @ other, device)


def limits(check: Check) -> None:
    """Measure both bounds."""
    check.add("memory bandwidth, a sum over 4 GiB", f"{bandwidth(check.device) / 1e9:,.0f} GB/s")
    check.add("arithmetic, bfloat16 product of 8192 x 8192", f"{arithmetic(check.device) / 1e12:,.0f} TFLOP/s")
