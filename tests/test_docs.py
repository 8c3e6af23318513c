"""What the documentation says is run: docstrings, the README's Python, and every example."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import langchain_vipllava
from langchain_vipllava import ChatVipLlava, Region, load_image, mark
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
    shutil.copytree(ROOT / "examples", tmp_path / "examples")  # it writes files, too: not into the repository
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 3
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec", dont_inherit=True), names)


def test_the_readme_names_only_commands_and_targets_that_exist():
    commands = {command.callback.__name__ for command in app.registered_commands}
    assert set(re.findall(r"^langchain-vipllava (\w+)", README, flags=re.MULTILINE)) <= commands
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets


def test_the_readme_s_links_and_images_exist():
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README) + re.findall(r'src="(?!https?:)([^"]+)"', README)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


def test_the_readme_s_answers_are_the_bundled_checkpoint_s():
    image = load_image(ROOT / "examples" / "scene.png")
    regions = [Region(box=(59, 378, 164, 483)), Region(box=(206, 30, 426, 250))]
    marked = mark(image, regions, kind=["rectangle", "ellipse"])
    rows = re.findall(r"^\| (.+\?) \| (.+) \|$", README, flags=re.MULTILINE)
    assert len(rows) == 3
    llm = ChatVipLlava(model="bundled", max_tokens=16)
    for question, answer in rows:
        assert llm.invoke([marked.message(question)]).text == answer


def test_no_placeholder_is_left_in_the_documents():
    for path in (*ROOT.glob("*.md"), *(ROOT / "training").glob("*.md")):
        assert not re.search(r"^[A-Z]{3,}(-[A-Z]+)+$|TODO|TBD|XXX", path.read_text(), flags=re.MULTILINE), path


def test_the_readme_s_image_is_what_mark_draws():
    marked = mark(
        load_image(ROOT / "examples" / "scene.png"),
        [Region(box=(59, 378, 164, 483)), Region(box=(206, 30, 426, 250))],
        kind=["rectangle", "ellipse"],
    )
    assert marked.image.tobytes() == load_image(ROOT / "docs" / "marked.png").tobytes()
