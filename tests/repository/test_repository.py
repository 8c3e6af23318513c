"""Files around the package: hooks, workflow, issue forms, and the contents of the sdist."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]


def test_hooks_use_the_pinned_version_of_ruff():
    (ruff,) = [repo for repo in HOOKS if "ruff" in repo["repo"]]
    assert f"ruff=={ruff['rev'].removeprefix('v')}" in (ROOT / "constraints.txt").read_text().splitlines()


def test_the_workflow_runs_the_documented_commands():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert commands == ["bash .ci/run", "make docs"]
    setups = [step["with"] for job in jobs.values() for step in job["steps"] if "setup-python" in str(step)]
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=").partition(",")[0]
    assert [setup["python-version"] for setup in setups] == [oldest, oldest]


FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_issue_forms_have_the_fields_that_github_requires(form):
    fields = yaml.safe_load(form.read_text())
    assert {"name", "description", "body"} <= fields.keys()
    assert len({field["id"] for field in fields["body"]}) == len(fields["body"])
    assert all(field["attributes"]["label"] for field in fields["body"])


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="an unpacked sdist")
def test_the_sdist_contains_every_file_of_the_repository():
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    patterns = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    included = {match.name for pattern in patterns for match in ROOT.glob(pattern.removeprefix("/"))}
    assert {name.partition("/")[0] for name in listing.splitlines()} <= included | {"pyproject.toml", ".gitignore"}


def test_project_urls_point_into_the_repository():
    home = PROJECT["project"]["urls"]["Homepage"]
    for url in PROJECT["project"]["urls"].values():
        assert url.startswith(home)
        if "/blob/main/" in url:
            assert (ROOT / url.partition("/blob/main/")[2]).exists()
