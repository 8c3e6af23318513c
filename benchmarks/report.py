"""The table that a benchmark prints."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

import torch
from rich.table import Table

from benchmarks.answering import Row


def make_table(rows: Sequence[Row], parameters: int) -> Table:
    """Rows under a line that says when, where and with what they were measured."""
    today = datetime.now(tz=UTC).date()
    table = Table(
        title=f"{today}, {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"transformers {version('transformers')}, {parameters / 1e6:.0f}M parameters, fp32",
        title_justify="left",
    )
    for column in ("workload", "against", "ours", "peer", "times faster", "wanted", "same answers", "note"):
        table.add_column(column)
    for row in rows:
        met = "green" if row.ratio >= row.wanted else "red"
        same = "-" if row.exact is None else "yes" if row.exact else "[red]no[/]"
        ratio = f"[{met}]{row.ratio:.2f}[/]"
        table.add_row(row.workload, row.against, str(row.ours), str(row.peer), ratio, f"{row.wanted:g}", same, row.note)
    return table
