"""`python -m benchmarks`: every workload on this machine's CPU, as one table."""

from __future__ import annotations

import argparse
import platform
from datetime import UTC, datetime
from importlib.metadata import version

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import importing, marking
from benchmarks.answering import Bench, Row

console = Console(width=160)


def main() -> None:
    """Run and print; ratios are medians of runs that took turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="counted runs of each way")
    parser.add_argument("--only", default="", help="only workloads whose function has this in its name")
    options = parser.parse_args()
    bench = Bench(options.repeats)
    rows: list[Row] = []
    for workload in bench.rows():
        if options.only in workload.__name__:
            with console.status(workload.__doc__ or ""):
                rows.append(workload())
            console.print(f"{rows[-1].workload}: {rows[-1].ratio:.2f}x")  # what is done is not lost with the rest
    if options.only in "mark":
        rows += marking.rows(options.repeats)
    if options.only in "import":
        rows += importing.rows(options.repeats)
    console.print(_table(rows, sum(p.numel() for p in bench.model.parameters())))


def _table(rows: list[Row], parameters: int) -> Table:
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


if __name__ == "__main__":
    main()
