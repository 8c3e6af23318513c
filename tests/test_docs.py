"""What the documentation says is run: docstrings, the README's Python, and every example."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import langchain_vipllava
from langchain_vipllava.apps.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MODULES = [module.name for module in pkgutil.walk_packages(langchain_vipllava.__path__, "langchain_vipllava.")]


def test_docstring_examples():
    attempted = 0
    for name in MODULES:
        results = doctest.testmod(importlib.import_module(name), verbose=False)
        assert results.failed == 0, name
        attempted += results.attempted
    assert attempted >= 20


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_every_example_runs(example):
    run = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


def test_the_readme_s_python_runs_from_top_to_bottom(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 3
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)


def test_the_readme_names_only_commands_and_targets_that_exist():
    commands = {command.callback.__name__ for command in app.registered_commands}
    assert set(re.findall(r"^langchain-vipllava (\w+)", README, flags=re.MULTILINE)) <= commands
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets


def test_the_readme_s_links_and_pictures_exist():
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README) + re.findall(r'src="(?!https?:)([^"]+)"', README)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing
