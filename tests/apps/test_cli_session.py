"""The page that shows a session is what the commands print now; the table of start-up times is from its figures."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from benchmarks.startup import page_with, table

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "docs" / "guides"


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="the page was written on a CPU")
def test_the_session_in_the_docs_is_what_the_commands_print():
    spec = importlib.util.spec_from_file_location("write_session", ROOT / ".ci" / "write_session.py")
    assert spec is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    assert writer.page().splitlines() == (GUIDES / "command-line-session.md").read_text().splitlines()


def test_the_start_up_times_in_the_docs_are_those_that_were_measured_and_within_their_targets():
    measured = json.loads((ROOT / "docs" / "startup.json").read_text())
    page = (GUIDES / "command-line.md").read_text()
    assert table(measured) in page
    assert page_with(page, measured) == page
    assert all(ratio <= measured["targets"][name] for name, ratio in measured["ratios"].items())
