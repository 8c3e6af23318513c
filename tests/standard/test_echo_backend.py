"""LangChain's standard tests over a trivial backend: the chat model needs nothing of the engine.

The echo stands in for a model: it is a real implementation of the protocol, and what it answers is the question.
"""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_vipllava import ChatVipLlava, trim_turns
from tests.support.echo import EchoBackend


class _Echo:
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatVipLlava

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"backend": EchoBackend()}

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False


class TestUnit(_Echo, ChatModelUnitTests): ...


class TestIntegration(_Echo, ChatModelIntegrationTests):
    @property
    def supports_image_inputs(self) -> bool:
        return False


@pytest.fixture
def echo() -> ChatVipLlava:
    return ChatVipLlava(backend=EchoBackend())


def test_the_answer_is_the_backend_s(echo):
    answer = echo.invoke(
        [SystemMessage("Repeat."), HumanMessage("one two"), AIMessage("x"), HumanMessage("three four")]
    )
    assert answer.text == "three four"
    assert answer.response_metadata["model_name"] == "echo"
    assert answer.usage_metadata["output_tokens"] == 2
    assert [chunk.text for chunk in echo.stream("five six")][:2] == ["five", " six"]


def test_settings_of_a_call_reach_the_backend(echo):
    assert echo.invoke("one two three", max_tokens=2).response_metadata["finish_reason"] == "length"
    assert echo.invoke("one two three", stop=["two"]).text == "one"
    assert echo.bind(stop="three").invoke("one two three").text == "one two"


def test_counting_and_trimming_ask_the_backend(echo):
    assert echo.get_num_tokens_from_messages([HumanMessage("one two")]) == 3  # "USER: one twoASSISTANT:"
    long = [HumanMessage("old " * 9_000), AIMessage("x"), HumanMessage("new " * 5_000)]
    assert trim_turns(long, echo) == long[2:]
