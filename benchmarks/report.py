"""The table of results."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

import torch
from rich.table import Table

from benchmarks.answering import Row


def make_table(rows: Sequence[Row], parameters: int) -> Table:
    """Make a table whose title names the date, the machine and the versions."""
    today = datetime.now(tz=UTC).date()
    table = Table(
        title=f"{today}, {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"transformers {version('transformers')}, {parameters / 1e6:.0f}M parameters, fp32",
        title_justify="left",
    )
    for column in ("workload", "baseline", "ours", "theirs", "speedup", "target", "same answers", "note"):
        table.add_column(column)
    for row in rows:
        color = "green" if row.speedup >= row.target else "red"
        same = "-" if row.same_answers is None else "yes" if row.same_answers else "[red]no[/]"
        speedup, target = f"[{color}]{row.speedup:.2f}[/]", f"{row.target:g}"
        table.add_row(row.workload, row.baseline, str(row.ours), str(row.theirs), speedup, target, same, row.note)
    return table
