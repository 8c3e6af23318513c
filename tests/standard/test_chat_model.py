"""LangChain's standard tests for chat models, on the bundled checkpoint.

The suites fetch images over HTTP. Here, `httpx` returns an image of this repository instead.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from PIL import Image

import langchain_vipllava
from langchain_vipllava import ChatVipLlava

SCENE = Path(__file__).parents[2] / "examples" / "scene.png"
# the path of the bundled checkpoint, which counts as another model than "bundled"
BUNDLED = str(Path(langchain_vipllava.__file__).parent / "bundled")


class TestUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatVipLlava

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "bundled"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"VIPLLAVA_MODEL": "bundled"}, {}, {"model": "bundled"}


@pytest.fixture(autouse=True)
def _images_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    as_jpeg = io.BytesIO()
    Image.open(SCENE).convert("RGB").save(as_jpeg, format="JPEG")

    def answer(request: httpx.Request) -> httpx.Response:
        content = as_jpeg.getvalue() if str(request.url).endswith((".jpg", ".jpeg")) else SCENE.read_bytes()
        return httpx.Response(200, content=content, request=request)

    async def answer_async(self, request: httpx.Request) -> httpx.Response:
        return answer(request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda self, request: answer(request))
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", answer_async)


class TestIntegration(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatVipLlava

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "bundled"}

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return BUNDLED

    @pytest.mark.xfail(reason="the bundled checkpoint cannot read numbers: it calls magic_function, but not with 3")
    def test_tool_calling(self, model: BaseChatModel) -> None:
        super().test_tool_calling(model)

    @pytest.mark.xfail(reason="the bundled checkpoint cannot read numbers: it calls magic_function, but not with 3")
    async def test_tool_calling_async(self, model: BaseChatModel) -> None:
        await super().test_tool_calling_async(model)

    @pytest.mark.xfail(
        reason="the bundled checkpoint was not trained to call tools: without a forced choice, it answers with text"
    )
    def test_agent_loop(self, model: BaseChatModel) -> None:
        super().test_agent_loop(model)

    @pytest.mark.xfail(
        reason="the bundled checkpoint cannot read Chinese: its call is well-formed, but the name is wrong"
    )
    def test_unicode_tool_call_integration(self, model: BaseChatModel, **kwargs: Any) -> None:
        super().test_unicode_tool_call_integration(model, **kwargs)
