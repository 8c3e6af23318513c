"""Small benchmarks in their official layouts, and models that answer them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.region_sets import make_sets
from langchain_vipllava import ChatVipLlava
from langchain_vipllava.protocol.backend import Backend


@pytest.fixture(scope="session")
def made_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of four sets of 12 questions, as they were made."""
    folder = tmp_path_factory.mktemp("made")
    make_sets(folder, 12)
    return folder


@pytest.fixture
def sets(made_sets: Path, tmp_path: Path) -> Path:
    """A copy, to be changed and to take results."""
    return Path(shutil.copytree(made_sets, tmp_path / "sets"))


@pytest.fixture(scope="session")
def bundled() -> Backend:
    return ChatVipLlava(model="bundled").backend
