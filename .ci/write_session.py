"""Writes docs/guides/command-line-session.md: what the command line prints, run with the bundled checkpoint."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guides" / "command-line-session.md"

HEAD = """# A session of the command line

`make session` writes this page: it runs each command with the bundled checkpoint, on a CPU. A test runs them again.
Standard error is shown too; `2>/dev/null` or `--quiet` leaves the answers alone.
"""

SECTIONS = {
    "Mark": [
        "langchain-vipllava mark examples/scene.png --box 59,378,164,483 --box 206,30,426,250 "
        "--kind rectangle --kind ellipse --out marked.png",
        "langchain-vipllava mark examples/scene.png --detector shapes --max-regions 2 --quiet --json",
    ],
    "Ask": [
        'langchain-vipllava ask examples/scene.png "What is the object {0}?" --box 206,30,426,250',
        'langchain-vipllava ask examples/scene.png "How many objects are there?"',
        'langchain-vipllava ask - "What is the object {0}?" --box 59,378,164,483 --quiet < examples/scene.png',
        r'printf "What is the object {0}?\nWhat color is the object {9}?\nWhat color is the object {1}?\n" | '
        "langchain-vipllava ask examples/scene.png - --detector shapes --quiet",
    ],
    "Chat": [
        r'printf "/help\nWhat is the object {0}?\nWhat color is it?\n/mark 206,30,426,250 ellipse blue\n'
        r'What is the object {1}?\n/zoom\n/quit\n" | '
        "langchain-vipllava chat examples/scene.png --box 59,378,164,483",
    ],
    "Mistakes": [
        'langchain-vipllava ask examples/scene.png "What is the object {0}?" --box 0.1,0.6,0.3,0.8',
        'langchain-vipllava ask examples/scene.png "What is the object {1}?" --box 59,378,164,483',
        "langchain-vipllava mark examples/scene.png --box 59,378,164,483 --kind elipse",
        "langchain-vipllava mark examples/scene.png --box 59,378,164,483 --out examples/scene.png",
        'langchain-vipllava ask examples/scene.png "What is it?" --device tpu',
        "langchain-vipllava ask - - --quiet",
    ],
}


def run(command: str, folder: Path) -> str:
    """Run a line of a shell, and return what it prints, and its status unless that is 0."""
    environment = {
        **os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    environment.pop("VIPLLAVA_MODEL", None)
    done = subprocess.run(  # noqa: S603  # the commands above
        ["/bin/bash", "-o", "pipefail", "-c", command],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    status = f"[exit status {done.returncode}]\n" if done.returncode else ""
    return done.stdout + status


def page() -> str:
    """Return the page, from commands that run now."""
    parts = [HEAD]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "examples", folder / "examples")
        (folder / "bin").mkdir()
        script = folder / "bin" / "langchain-vipllava"
        script.write_text(f"#!{sys.executable}\nfrom langchain_vipllava.apps.cli import main\nmain()\n")
        script.chmod(0o755)
        for title, commands in SECTIONS.items():
            shown = [f"$ {command}\n{run(command, folder)}" for command in commands]
            parts.append(f"## {title}\n\n```text\n" + "\n".join(shown) + "```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE.relative_to(ROOT))  # noqa: T201
