"""`Check`: a run of `benchmarks.gpu`, and its table."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

HEAD = ("what", "measured", "share of its limit", "goal")


@dataclass
class Check:
    """A run: where, how long, and what it found.

    Attributes:
        device: torch device.
        shape: "7b" or "tiny".
        deadline: by `time.monotonic`; a part that does not fit in front of it is left out.
        out: the file of the table.
        lines: of the table, so far: what was measured, with its unit, as a share of what, and what was aimed at.
    """

    device: torch.device
    shape: str
    deadline: float
    out: Path
    lines: list[tuple[str, str, str, str]] = field(default_factory=lambda: [HEAD, ("---",) * 4])

    def add(self, metric: str, result: str, limit: str = "", goal: str = "") -> None:
        """Add a line, print it and write the table."""
        self.lines.append((metric, result, limit, goal))
        print(" | ".join(self.lines[-1]), flush=True)
        self.out.write_text("".join(f"| {' | '.join(line)} |\n" for line in self.lines))

    def run(self, part: Callable[[Check], None], seconds: int) -> None:
        """Run a part that takes about some seconds, unless the time is up; a failure is a line of the table."""
        name = f"{part.__module__.rpartition('.')[2]}.{part.__name__}"
        if time.monotonic() + seconds > self.deadline:
            self.add(name, f"left out: {seconds} s did not fit")
            return
        try:
            part(self)
        except Exception as error:
            self.add(name, f"failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
