"""Fixtures: exported checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from langchain_vipllava.protocol.load_options import LoadOptions


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled checkpoint, exported."""
    from langchain_vipllava.serving.export import export_checkpoint

    return export_checkpoint(LoadOptions("bundled"), tmp_path_factory.mktemp("exports") / "shapes").folder
