"""Fixtures: a server with the bundled checkpoint on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from langchain_vipllava import ImageAccessPolicy
from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.apps.detectors import detect_shapes
from langchain_vipllava.apps.mcp.sdk import IS_LINE_2
from langchain_vipllava.apps.segmenters import segment_shapes
from langchain_vipllava.backends.local import LocalBackend
from langchain_vipllava.backends.vision import BackendVision
from tests.support.recording import RecordingBackend

if TYPE_CHECKING:
    from tests.support.mcp_clients import Served


@pytest.fixture(scope="session")
def vision() -> BackendVision:
    return BackendVision(RecordingBackend(LocalBackend.load(model="bundled")))


@pytest.fixture(scope="session")
def served(vision: BackendVision) -> Iterator[Served]:
    """A server whose operator allows the folder of the bundled scene."""
    from tests.support.mcp_clients import serving

    with serving(
        vision, detector=detect_shapes, segmenter=segment_shapes, access=ImageAccessPolicy(SCENE.parent)
    ) as served:
        yield served


@pytest.fixture(params=("legacy", "auto") if IS_LINE_2 else ("legacy",))
def mode(request: pytest.FixtureRequest) -> str:
    """The protocol of the client: with a handshake and sessions; in line 2 also the newest one, without over HTTP."""
    return request.param
