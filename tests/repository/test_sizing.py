"""The page on serving shows what `python -m benchmarks.sizing` prints."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.sizing import GPUS, MODELS, main

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "serving.md"


def test_the_page_shows_what_the_command_prints(capsys):
    main()
    shown = re.search(
        r"<!-- python -m benchmarks.sizing -->\n(.*?)<!-- end of", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    assert shown[1] == capsys.readouterr().out


def test_the_figures_of_memory_are_those_of_the_doctor():
    seven = MODELS[0]
    assert f"{seven.weights / 2**30:.1f}" == "13.2"
    assert seven.kv_bytes * 4096 == 2 * 2**30
    assert all(gpu.memory * 1e9 > seven.weights for gpu in GPUS)
