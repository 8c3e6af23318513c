"""`python -m benchmarks.startup`: how long the commands take, beside a bare `import torch`, interleaved in one run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks.timing import measure
from langchain_vipllava.apps.assets import SCENE

COMMAND = "from langchain_vipllava.apps.cli import main; main()"
BOX = ("--box", "59,378,164,483")
TORCH = "import torch"

TARGETS = {"ask": 3.0, "mark": 0.5, "--help": 0.5, "ask --help": 0.5, "--version": 0.5}
"""Most time of each, in bare imports of torch."""


def run(code: str, arguments: tuple[str, ...], folder: str) -> None:
    """Run a program in a process of its own, in an empty folder."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(  # noqa: S603  # the commands of this file
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, cwd=folder, env=environment
    )


def figures(repeats: int) -> dict[str, object]:
    """Measure the commands, and return their medians in seconds and their ratios to a bare import of torch."""
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            TORCH: partial(run, TORCH, (), folder),
            "ask": partial(run, COMMAND, ("ask", str(SCENE), "What is the object {0}?", *BOX), folder),
            "mark": partial(run, COMMAND, ("mark", str(SCENE), *BOX, "--out", "marked.png"), folder),
            "--help": partial(run, COMMAND, ("--help",), folder),
            "ask --help": partial(run, COMMAND, ("ask", "--help"), folder),
            "--version": partial(run, COMMAND, ("--version",), folder),
        }
        times = measure(commands, repeats)
    return {
        "date": f"{datetime.now(tz=UTC).date()}",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores, Python {platform.python_version()}",
        "versions": {name: version(name) for name in ("torch", "transformers", "typer", "langchain-core")},
        "runs": repeats,
        "seconds": {name: round(time.median, 3) for name, time in times.items()},
        "ratios": {name: round(times[name].median / times[TORCH].median, 2) for name in TARGETS},
        "targets": TARGETS,
    }


def table(measured: dict[str, object]) -> str:
    """Return the figures as a table of Markdown."""
    seconds, ratios = measured["seconds"], measured["ratios"]
    assert isinstance(seconds, dict)  # noqa: S101  # for mypy
    assert isinstance(ratios, dict)  # noqa: S101
    rows = [f"| `{TORCH}` | {seconds[TORCH]:.2f} | 1 | |"]
    rows += [f"| `{name}` | {seconds[name]:.2f} | {ratios[name]:.2f} | {TARGETS[name]:g} |" for name in TARGETS]
    return "\n".join(["| command | seconds, median | in imports of torch | at most |", "|---|---|---|---|", *rows])


def main() -> None:
    """Measure, print the table, and write the figures and the page that shows them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="counted runs of each command")
    parser.add_argument("--out", type=Path, help="file for the figures; the page of the docs beside it is written too")
    options = parser.parse_args()
    measured = figures(options.repeats)
    print(table(measured))
    if options.out is not None:
        options.out.write_text(json.dumps(measured, indent=2) + "\n")
        page = options.out.parent / "guides" / "command-line.md"
        page.write_text(page_with(page.read_text(), measured))


def page_with(page: str, measured: dict[str, object]) -> str:
    """Return the page with the figures between its markers."""
    before, begin, rest = page.partition("<!-- make bench-startup -->\n")
    _, end, after = rest.partition("<!-- end of make bench-startup -->")
    if not (begin and end):
        raise ValueError("the page has no place for the figures of make bench-startup.")
    source = f"`make bench-startup`, {measured['date']}: {measured['machine']}, medians of {measured['runs']} runs.\n"
    return f"{before}{begin}{source}\n{table(measured)}\n{end}{after}"


if __name__ == "__main__":
    main()
