"""Fixtures of the command line's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a gray image of 400 x 300 pixels."""
    path = tmp_path_factory.mktemp("images") / "gray.png"
    Image.new("RGB", (400, 300), (128, 128, 128)).save(path)
    return path
