"""`python -m benchmarks`: run the workloads on this machine's CPU, and print one table."""

from __future__ import annotations

import argparse

from rich.console import Console

from benchmarks import encoding, importing, marking, quantized
from benchmarks.answering import Bench, Row
from benchmarks.report import make_table

console = Console(width=160)


def main() -> None:
    """Run the workloads and print the table. A speedup is the ratio of two medians of interleaved runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="counted runs per workload and baseline")
    parser.add_argument("--only", default="", help="run only workloads whose function name contains this")
    options = parser.parse_args()
    bench = Bench(options.repeats)
    rows: list[Row] = []
    for workload in bench.rows():
        if options.only in workload.__name__:
            with console.status(workload.__doc__ or ""):
                rows.append(workload())
            console.print(f"{rows[-1].workload}: {rows[-1].speedup:.2f}x")  # at once, in case a later one fails
    if options.only in "mark":
        rows += marking.rows(options.repeats)
    if options.only in "encode":
        rows += encoding.rows(options.repeats)
    if options.only in "import":
        rows += importing.rows(options.repeats)
    if options.only in "quantized":
        rows += quantized.rows(options.repeats)
    console.print(make_table(rows, sum(p.numel() for p in bench.model.parameters())))


if __name__ == "__main__":
    main()
