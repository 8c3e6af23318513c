"""Documentation: docstring examples, the Python of every page, examples, links and names."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

import langchain_vipllava
from langchain_vipllava import ChatVipLlava, Region, load_image, mark
from langchain_vipllava.apps.cli.app import app
from tests.repository.test_rooms import ROOMS
from tests.support.versions import needs_mcp

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = sorted(path.relative_to(ROOT) for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
DOCUMENTS = [*PAGES, *sorted(path.relative_to(ROOT) for path in ROOT.glob("[!R]*.md"))]
MODULES = [module.name for module in pkgutil.walk_packages(langchain_vipllava.__path__, "langchain_vipllava.")]
NEED_GRADIO = {f"langchain_vipllava.apps.studio.{name}" for name in ("page", "server")}
REPOSITORY = re.compile(
    r"https://(?:github\.com/langchain-vipllava/langchain-vipllava/(?:blob|tree|raw)"
    r"|raw\.githubusercontent\.com/langchain-vipllava/langchain-vipllava)/main/"
)


def blocks_of(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)


def test_docstring_examples_pass():
    attempted = 0
    without = set() if importlib.util.find_spec("gradio") else NEED_GRADIO
    for name in [name for name in MODULES if name not in without]:
        results = doctest.testmod(importlib.import_module(name), verbose=False)
        assert results.failed == 0, name
        attempted += results.attempted
    assert attempted >= 20


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_every_example_runs(example):
    run = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


NEEDS = {"mcp.md": [needs_mcp]}
PRINTED = re.compile(r"^ *print\(.*\)(?:  # (.*)|\n *# (.*))$", flags=re.MULTILINE)


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=NEEDS.get(page.name, [])) for page in PAGES if blocks_of(page, "python")],
    ids=str,
)
def test_python_of_a_page_runs_and_prints_the_output_in_its_comments(page, monkeypatch, tmp_path, capfd):
    # pages write files, which must not end up in the repository
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks_of(page, "python"):
        exec(compile(block, str(page), "exec", dont_inherit=True), names)
        expected = [same_line or next_line for same_line, next_line in PRINTED.findall(block)]
        assert capfd.readouterr().out.splitlines() == expected, block


def test_the_readme_has_python_and_at_most_120_lines():
    assert len(blocks_of(Path("README.md"), "python")) >= 3
    assert len(README.splitlines()) <= 120


COMMANDS = typer.main.get_command(app).commands
OPTIONS = {
    name: {option for parameter in part.params for option in parameter.opts} | {"--help"}
    for group, command in COMMANDS.items()
    for name, part in [(group, command), *((f"{group} {n}", c) for n, c in getattr(command, "commands", {}).items())]
}


@pytest.mark.parametrize("page", DOCUMENTS, ids=str)
def test_pages_name_only_commands_options_targets_and_extras_that_exist(page):
    text = (ROOT / page).read_text()
    lines = [line for block in blocks_of(page, "sh") for line in block.replace("\\\n", "").splitlines()]
    for words in (shlex.split(line)[1:] for line in lines if line.startswith("langchain-vipllava ")):
        name = " ".join(words[:2]) if " ".join(words[:2]) in OPTIONS else words[0]
        assert {word for word in words if word.startswith("-") and word != "-"} <= OPTIONS[name]
    assert set(re.findall(r"`langchain-vipllava ([a-z]+)", text)) <= COMMANDS.keys()
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z0-9-]+)", text)) <= targets
    assert set(re.findall(r"^ *make ([a-z-]+)", text, flags=re.MULTILINE)) <= targets
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"langchain-vipllava\[(\w+)\]", text)) <= extras.keys()


def test_the_readme_names_every_command():
    assert set(re.findall(r"^langchain-vipllava (\w+)", README, flags=re.MULTILINE)) == COMMANDS.keys()


def _links(page: Path) -> list[str]:
    """Return the targets of the links and images of a page, except those in code blocks."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", DOCUMENTS, ids=str)
def test_links_and_images_of_a_page_exist(page):
    for link in _links(page):
        path, _, anchor = link.partition("#")
        if REPOSITORY.match(link):
            target = ROOT / REPOSITORY.sub("", path)
        elif re.match(r"https?:", link):
            continue
        else:
            target = (ROOT / page).parent / path if path else ROOT / page
            if target.parent.name == "notebooks":  # `make docs` copies them there
                target = ROOT / "examples" / target.name
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


@pytest.mark.parametrize("page", DOCUMENTS, ids=str)
def test_files_that_a_page_names_exist(page):
    names = re.findall(r"\b(?:tests|training|benchmarks|examples)/[\w/]+\.\w+", (ROOT / page).read_text())
    assert not [name for name in names if not (ROOT / name).exists()]


def test_the_readme_works_on_a_package_index():
    assert len(_links(Path("README.md"))) > 5
    assert all(link.startswith("https://") for link in _links(Path("README.md")))


def test_contributing_lists_the_rooms_in_order():
    rows = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)
    assert rows == ROOMS


def test_the_reference_has_every_public_name():
    reference = (ROOT / "docs" / "reference" / "api.md").read_text()
    listed = re.findall(r"^\.\. auto\w+:: (\w+)", reference, flags=re.MULTILINE)
    assert sorted(listed) == sorted(langchain_vipllava.__all__)
    errors = {name for name in langchain_vipllava.__all__ if name.endswith(("Error", "Warning"))}
    assert errors <= set(re.findall(r"`(\w+)`", (ROOT / "docs" / "reference" / "errors.md").read_text()))


def test_answers_in_the_readme_are_those_of_the_bundled_checkpoint():
    image = load_image(ROOT / "examples" / "scene.png")
    regions = [Region(box=(59, 378, 164, 483)), Region(box=(206, 30, 426, 250))]
    marked = mark(image, regions, kind=["rectangle", "ellipse"])
    rows = re.findall(r"^\| (.+\?) \| (.+) \|$", README, flags=re.MULTILINE)
    assert len(rows) == 3
    llm = ChatVipLlava(model="bundled", max_tokens=16)
    for question, answer in rows:
        assert llm.invoke([marked.message(question)]).text == answer


def test_documents_contain_no_placeholders():
    for path in (*ROOT.glob("*.md"), *(ROOT / "training").glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        assert not re.search(r"^[A-Z]{3,}(-[A-Z]+)+$|TODO|TBD|XXX", path.read_text(), flags=re.MULTILINE), path


def test_the_image_in_the_readme_is_drawn_by_mark():
    marked = mark(
        load_image(ROOT / "examples" / "scene.png"),
        [Region(box=(59, 378, 164, 483)), Region(box=(206, 30, 426, 250))],
        kind=["rectangle", "ellipse"],
    )
    assert marked.image.tobytes() == load_image(ROOT / "docs" / "marked.png").tobytes()
