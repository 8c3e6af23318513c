"""LangChain's standard tests for chat models, on a backend that answers with the question.

They show that the chat model needs only the backend protocol, not the engine.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_vipllava import ChatVipLlava, trim_turns
from langchain_vipllava.protocol import Answer
from tests.support.echo import EchoBackend


class _EchoSuite:
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


class TestUnit(_EchoSuite, ChatModelUnitTests): ...


class TestIntegration(_EchoSuite, ChatModelIntegrationTests):
    @property
    def supports_image_inputs(self) -> bool:
        return False


@pytest.fixture
def echo() -> ChatVipLlava:
    return ChatVipLlava(backend=EchoBackend())


def test_the_chat_model_returns_the_answer_of_the_backend(echo):
    answer = echo.invoke(
        [SystemMessage("Repeat."), HumanMessage("one two"), AIMessage("x"), HumanMessage("three four")]
    )
    assert answer.text == "three four"
    assert answer.response_metadata["model_name"] == "echo"
    assert answer.usage_metadata["output_tokens"] == 2
    assert [chunk.text for chunk in echo.stream("five six")][:2] == ["five", " six"]


def test_settings_of_a_call_are_passed_to_the_backend(echo):
    assert echo.invoke("one two three", max_tokens=2).response_metadata["finish_reason"] == "length"
    assert echo.invoke("one two three", stop=["two"]).text == "one"
    assert echo.bind(stop="three").invoke("one two three").text == "one two"


def test_counting_and_trimming_use_the_backend(echo):
    assert echo.get_num_tokens_from_messages([HumanMessage("one two")]) == 3  # "USER: one twoASSISTANT:"
    messages = [HumanMessage("old " * 9_000), AIMessage("x"), HumanMessage("new " * 5_000)]
    assert trim_turns(messages, echo) == messages[2:]


class PaddedCall(EchoBackend):
    """Streams a call the way servers do: an empty piece first, and a space in front."""

    def check_output(self, output):
        pass

    def stream(self, request, *, timeout=None):
        yield from ("", " ", '[{"name":"look",', '"arguments":{"at":"r1"}}]')
        yield Answer(' [{"name":"look","arguments":{"at":"r1"}}]', 1, 1, "stop")


@pytest.mark.parametrize("how", ["invoke", "stream"])
def test_a_call_behind_blank_pieces_is_a_call_and_no_text(how):
    tool = {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}
    bound = ChatVipLlava(backend=PaddedCall()).bind_tools([tool])
    message = bound.invoke("Look.") if how == "invoke" else reduce(add, bound.stream("Look."))
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("look", {"at": "r1"})]
    assert message.content == ""
