"""One declaration per kind and color; a name without its declaration is an error of the type checker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import langchain_vipllava
from langchain_vipllava.markers import kinds

# preposition and (constant, min, max) of width, radius and opacity, from the paper's table and its repository
SPECS = {
    "rectangle": ("within", (3, 2, 8), (8, 5, 20), (1, 96 / 255, 1)),
    "ellipse": ("within", (3, 2, 8), (8, 5, 20), (1, 96 / 255, 1)),
    "triangle": ("with", (3, 2, 8), (8, 5, 20), (1, 96 / 255, 1)),
    "point": ("at", (3, 2, 8), (8, 5, 20), (1, 96 / 255, 1)),
    "scribble": ("with", (4, 2, 12), (8, 5, 20), (1, 96 / 255, 1)),
    "mask contour": ("with", (3, 1, 2), (8, 5, 20), (1, 96 / 255, 1)),
    "mask": ("with", (3, 2, 8), (8, 5, 20), (128 / 255, 48 / 255, 128 / 255)),
    "arrow": ("pointed to by", (3, 1, 6), (8, 5, 20), (1, 96 / 255, 1)),
}


def test_every_kind_is_declared():
    assert get_args(kinds.MarkerKind) == kinds.KINDS == tuple(SPECS)
    for kind, sizes in SPECS.items():
        spec = kinds.spec_of(kind)
        assert (spec.preposition, spec.width, spec.radius, spec.opacity) == sizes
        assert spec.brush == (kind == "mask contour")  # its width is the reach of a brush
        assert callable(spec.draw)
        assert callable(spec.draw_by_hand)


def test_every_color_is_declared():
    assert tuple(kinds.COLORS) == kinds.COLOR_NAMES == get_args(kinds.MarkerColor)
    assert len(set(kinds.COLORS.values())) == 9


@pytest.mark.parametrize("name", ["MarkerKind", "MarkerColor"])
def test_the_type_checker_reports_a_name_without_a_declaration(name, tmp_path):
    pytest.importorskip("mypy")
    source = Path(kinds.__file__).read_text()
    extended = source.replace(f"{name} = Literal[", f'{name} = Literal["zigzag", ', 1)
    assert extended != source
    path = tmp_path / "kinds_with_zigzag.py"
    path.write_text(extended)
    command = [sys.executable, "-m", "mypy", "--follow-imports=skip", "--config-file=", "--cache-dir", str(tmp_path)]
    root = Path(langchain_vipllava.__file__).parents[1]
    run = subprocess.run([*command, str(path)], cwd=root, capture_output=True, text=True, check=False)
    assert "assert_never" in run.stdout, run.stdout + run.stderr
    assert "zigzag" in run.stdout
