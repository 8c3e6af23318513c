"""Type checkers see the public names as a user's editor does: user_code.py passes, user_mistakes.py does not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy comes with the dependency group `lint`")

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MISTAKES = {
    name: number
    for number, line in enumerate((HERE / "user_mistakes.py").read_text().splitlines(), 1)
    for name in re.findall(r"# wrong: (\w+)", line)
}


@pytest.fixture(scope="module")
def errors():
    """What mypy reports: (file name, line) to the messages of that line."""
    command = [sys.executable, "-m", "mypy", "--config-file", str(HERE / "mypy.ini"), "--no-pretty"]
    command += ["--cache-dir", str(ROOT / ".mypy_cache" / "user_code")]
    files = [str(HERE / name) for name in ("user_code.py", "user_mistakes.py")]
    run = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode in (0, 1), run.stdout + run.stderr
    reported: dict[tuple[str, int], list[str]] = {}
    for path, line, message in re.findall(r"^(.+?):(\d+): error: (.*)$", run.stdout, re.MULTILINE):
        reported.setdefault((Path(path).name, int(line)), []).append(message)
    return reported


def test_correct_code_passes(errors):
    assert not {place: messages for place, messages in errors.items() if place[0] != "user_mistakes.py"}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_reported(name, errors):
    assert ("user_mistakes.py", MISTAKES[name]) in errors


def test_only_mistakes_are_reported(errors):
    assert {line for file, line in errors if file == "user_mistakes.py"} <= set(MISTAKES.values())
