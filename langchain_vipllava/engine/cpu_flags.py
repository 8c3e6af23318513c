"""Which instructions the CPU has, and who made it."""

from __future__ import annotations

from functools import cache
from pathlib import Path


def cpu_flags() -> frozenset[str]:
    """Return the flags in /proc/cpuinfo; none where there is no such file."""
    return frozenset(_first("flags", "Features").split())  # on x86 and on Arm


def cpu_vendor() -> str:
    """Return the vendor in /proc/cpuinfo, such as "AuthenticAMD"; "" where it is not said."""
    return _first("vendor_id").strip()


@cache
def _first(*names: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1] for line in lines if line.startswith(names) and ":" in line), "")
