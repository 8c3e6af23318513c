"""LangChain's standard tests for chat models, on the bundled checkpoint behind a server on loopback."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import httpx
import pytest
from PIL import Image

from langchain_vipllava import ChatVipLlava
from tests.standard import test_chat_model
from tests.standard.test_chat_model import BUNDLED, SCENE
from tests.support.model_server import ModelServer


@cache
def _server() -> ModelServer:
    return ModelServer(ChatVipLlava(model="bundled").backend.runner, aliases=(BUNDLED,))


@pytest.fixture(autouse=True)
def _images_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suites fetch images over HTTP: `httpx` returns one of this repository, and asks only the server itself."""
    as_jpeg = io.BytesIO()
    Image.open(SCENE).convert("RGB").save(as_jpeg, format="JPEG")

    asks = httpx.AsyncHTTPTransport.handle_async_request

    async def answer_async(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        return await asks(self, request) if request.url.host == "127.0.0.1" else answer(self, request)

    def answer(self: object, request: httpx.Request) -> httpx.Response:
        content = as_jpeg.getvalue() if str(request.url).endswith((".jpg", ".jpeg")) else SCENE.read_bytes()
        return httpx.Response(200, content=content, request=request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answer)
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", answer_async)


class TestUnit(test_chat_model.TestUnit):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"base_url": "http://127.0.0.1:1/v1", "model": "bundled"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"VIPLLAVA_API_KEY": "key"}, self.chat_model_params, {"api_key": "key"}


class TestIntegration(test_chat_model.TestIntegration):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"base_url": _server().base_url, "model": "bundled"}
