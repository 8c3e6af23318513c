"""`python -m benchmarks.robustness`: writes the figures of `make fuzz` and `make soak` into the docs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "reference" / "robustness.md"

_MIB = 2**20


def fuzz_table(classes: list[dict[str, Any]]) -> str:
    """Return the table of `make fuzz`, one row for each class of inputs."""
    rows = [
        f"| {row['name'].replace('_', ' ')} | {row['tried']:,} | {row['answered']:,} | {row['handled']:,} "
        f"| {row['escaped']} | {row['hangs']} | {row['worst_bytes'] / _MIB:,.1f} | {row['grown_bytes'] / _MIB:,.1f} "
        f"| {row['worst_seconds']:.2f} |"
        for row in sorted(classes, key=lambda row: row["name"])
    ]
    sums = {name: sum(row[name] for row in classes) for name in ("tried", "answered", "handled", "escaped", "hangs")}
    worst = {name: max(row[name] for row in classes) for name in ("worst_bytes", "grown_bytes", "worst_seconds")}
    rows.append(
        f"| **all** | {sums['tried']:,} | {sums['answered']:,} | {sums['handled']:,} | {sums['escaped']} "
        f"| {sums['hangs']} | {worst['worst_bytes'] / _MIB:,.1f} | {worst['grown_bytes'] / _MIB:,.1f} "
        f"| {worst['worst_seconds']:.2f} |"
    )
    head = "| class | tried | answered | refused | escaped | hangs | worst memory, MiB | growth, MiB | worst time, s |"
    return "\n".join([head, "|---|---|---|---|---|---|---|---|---|", *rows])


def soak_table(figures: dict[str, float]) -> str:
    """Return the table of `make soak`."""
    rows = [f"| {name} | {value:,} |" for name, value in figures.items()]
    return "\n".join(["| what | figure |", "|---|---|", *rows])


def page_with(page: str, tables: dict[str, str]) -> str:
    """Return the page with tables between their markers."""
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"{PAGE.name} has no place for the table {name}; expected {begin} and {end}.")
        page = f"{before}{begin}\n{table}\n{end}{after}"
    return page


def tables() -> dict[str, str]:
    """Return both tables, from the newest figures in docs/."""
    fuzz = json.loads((DOCS / "fuzz.json").read_text())
    soak = json.loads((DOCS / "soak.json").read_text())
    return {"make fuzz": fuzz_table(fuzz["classes"]), "make soak": soak_table(soak)}


if __name__ == "__main__":
    PAGE.write_text(page_with(PAGE.read_text(), tables()))
    print(PAGE)
