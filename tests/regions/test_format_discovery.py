"""Built-in formats: a file in the folder is enough, and their order depends on nothing but themselves."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import langchain_vipllava
from langchain_vipllava.regions.formats import FORMATS, find_formats, in_order
from langchain_vipllava.regions.recognition import RECOGNIZED
from tests.regions.samples import SAMPLES

NEW_FORMAT = """
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.format import Format, Precedence


def _is_robot(output):
    return "robot_sees" in output


def _read_robot(output, context):
    yield Row(box=output["robot_sees"], label="robot")


FORMATS = (Format("robot", "my robot", _is_robot, _read_robot, Precedence.IMAGE),)
"""


def test_a_new_file_in_the_folder_is_a_new_format(tmp_path):
    package = Path(langchain_vipllava.__file__).parent
    copy = tmp_path / "langchain_vipllava"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("bundled", "__pycache__"))
    (copy / "regions" / "formats" / "robot.py").write_text(NEW_FORMAT)
    script = "from langchain_vipllava import regions_from; print(regions_from({'robot_sees': [1, 2, 30, 40]}))"
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "[Region(box=(1.0, 2.0, 30.0, 40.0), label='robot')]", run.stderr


def test_a_file_without_formats_is_an_error_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "made_up_formats").mkdir()
    (tmp_path / "made_up_formats" / "forgotten.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(AttributeError, match=r"made_up_formats\.forgotten"):
        find_formats("made_up_formats", [str(tmp_path / "made_up_formats")])


def test_the_order_is_total_and_does_not_depend_on_imports():
    keys = [(format_.precedence, format_.name) for format_ in FORMATS]
    assert len(set(keys)) == len(keys)
    assert keys == sorted(keys)
    shuffled = list(FORMATS)
    for seed in range(5):
        random.Random(seed).shuffle(shuffled)
        assert in_order(shuffled) == FORMATS


def _matches(format_, output):
    try:
        return bool(format_.matches(output))
    except Exception:
        return False


@pytest.mark.parametrize("sample", [row[0] for row in SAMPLES], ids=lambda sample: sample.__name__)
@pytest.mark.parametrize("n", [1, 2])
def test_formats_of_one_precedence_never_match_the_same_output(sample, n):
    matching = [format_ for format_ in RECOGNIZED if _matches(format_, sample(n))]
    assert len({format_.precedence for format_ in matching}) == len(matching), [format_.name for format_ in matching]
