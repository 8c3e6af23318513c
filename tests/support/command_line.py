"""The command line, in this process and in one of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

from langchain_vipllava.apps.cli import app

CODE = "from langchain_vipllava.apps.cli import main; main()"
COMMAND = [sys.executable, "-c", CODE]
ROOT = Path(__file__).parents[2]


def environment(python_path: object = "") -> dict[str, str]:
    """Return an environment without settings of the user, and without the hub."""
    path = f"{python_path}:{ROOT}" if python_path else str(ROOT)
    return {"COLUMNS": "160", "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "PYTHONPATH": path}


def run(
    *arguments: object, stdin: str | bytes = "", cwd: Path | None = None, python_path: object = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command in this process: torch and the models are loaded once for all tests."""
    given = io.TextIOWrapper(io.BytesIO(stdin.encode() if isinstance(stdin, str) else stdin))
    written = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    paths = [str(python_path)] if python_path else []
    before = sys.stdin, sys.path, os.environ.copy()
    sys.stdin, sys.path = given, [*paths, *sys.path]
    os.environ["COLUMNS"] = "160"
    try:
        with chdir(cwd or Path.cwd()), redirect_stdout(written[0]), redirect_stderr(written[1]):
            status = app.run([str(argument) for argument in arguments])
    finally:
        sys.stdin, sys.path = before[:2]
        os.environ.clear()
        os.environ.update(before[2])
    texts = [stream.buffer.getvalue().decode("utf-8", "surrogateescape") for stream in written]
    return subprocess.CompletedProcess(list(arguments), status, *texts)


def run_process(
    *arguments: object, stdin: str | bytes = "", cwd: Path | None = None, python_path: object = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, offline; its output is decoded, unless it is not text."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        cwd=cwd,
        capture_output=True,
        timeout=300,
        check=False,
        env=environment(python_path),
    )
    texts = [stream.decode("utf-8", "surrogateescape") for stream in (done.stdout, done.stderr)]
    return subprocess.CompletedProcess(done.args, done.returncode, *texts)
