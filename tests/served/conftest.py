"""A server on loopback with the bundled checkpoint, and pictures that it knows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PIL import Image

from langchain_vipllava import ChatVipLlava
from langchain_vipllava.backends import served
from langchain_vipllava.backends.served import ServedBackend
from langchain_vipllava.backends.served_options import ServerTimeouts
from langchain_vipllava.engine.runner import ModelRunner
from tests.support.model_server import ModelServer

FAST = ServerTimeouts(connect=5, first=120, between=120, pause=0)
"""Retries at once: no test waits."""


@pytest.fixture(autouse=True)
def _fresh_clients() -> None:
    """Servers of these tests come and go, with ports that may come again."""
    served._clients.clear()


@pytest.fixture(scope="session")
def local() -> ChatVipLlava:
    return ChatVipLlava(model="bundled", max_tokens=24)


@pytest.fixture(scope="session")
def runner(local: ChatVipLlava) -> ModelRunner:
    return local.backend.runner


@pytest.fixture
def server(runner: ModelRunner) -> Iterator[ModelServer]:
    with ModelServer(runner) as server:
        yield server


@pytest.fixture
def llm(server: ModelServer) -> ChatVipLlava:
    """The chat model that asks the server."""
    return chat(server)


def chat(*servers: ModelServer, model: str = "bundled", **settings) -> ChatVipLlava:
    """Return a chat model that asks some servers, and retries at once."""
    backend_settings = {
        name: settings.pop(name) for name in ("max_retries", "timeouts", "api_key", "tokenizer") if name in settings
    }
    backend = ServedBackend([s.base_url for s in servers], model, **{"timeouts": FAST, **backend_settings})
    return ChatVipLlava(backend=backend, **{"max_tokens": 24, **settings})


def picture(shape: str = "ellipse", color: str = "red", size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Draw one shape that the bundled checkpoint knows."""
    from PIL import ImageDraw

    image = Image.new("RGB", size, "white")
    short = min(size)
    box = (short // 5, short // 5, short * 4 // 5, short * 4 // 5)
    getattr(ImageDraw.Draw(image), shape)(box, fill=color)
    return image
