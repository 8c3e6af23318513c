"""Which instructions the CPU has."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def cpu_flags() -> frozenset[str]:
    """Return the flags in /proc/cpuinfo; none where there is no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    names = ("flags", "Features")  # on x86 and on Arm
    flags = next((line.split(":", 1)[1] for line in lines if line.startswith(names) and ":" in line), "")
    return frozenset(flags.split())
