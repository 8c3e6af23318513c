"""The page about robustness shows the figures that the make targets wrote."""

from __future__ import annotations

import json

from benchmarks.robustness import DOCS, PAGE, page_with, tables


def test_the_page_shows_the_newest_figures():
    page = PAGE.read_text()
    assert page == page_with(page, tables())


def test_nothing_escaped_or_hung():
    fuzz = json.loads((DOCS / "fuzz.json").read_text())
    assert fuzz["profile"] == "long"
    assert len(fuzz["classes"]) > 20
    assert sum(row["escaped"] + row["hangs"] for row in fuzz["classes"]) == 0
    soak = json.loads((DOCS / "soak.json").read_text())
    assert (soak["wrong"], soak["hangs"], soak["threads inside the engine at most"]) == (0, 0, 1)
    assert soak["asked"] >= 1500
