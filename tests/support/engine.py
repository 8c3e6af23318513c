"""Requests as the engine receives them, for tests of the engine and of prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_vipllava import ChatVipLlava
from langchain_vipllava.backends.local import compile_request
from langchain_vipllava.engine.request import GenerationRequest
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.images.access import ImageAccessPolicy
from langchain_vipllava.protocol.answer import Answer
from langchain_vipllava.protocol.chat_request import ChatRequest

open_image = ImageAccessPolicy.trusted().resolve
"""Opens an image from any source, without restrictions."""


def generate(runner: ModelRunner, request: GenerationRequest) -> Answer:
    """Return the answer to a request."""
    return runner.submit(request).future.result(120)


def engine_request(
    llm: ChatVipLlava, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]
) -> GenerationRequest:
    """Return the request that the engine receives when a chat model is called."""
    recorder = RequestRecorder(llm.model)
    llm.model_copy(update={"given_backend": recorder}).invoke(messages, stop=stop, **kwargs)
    return compile_request(recorder.requests[0])


@dataclass
class RequestRecorder:
    """A backend that records its requests and answers with an empty text."""

    name: str
    cache_key: str = "recorder"
    requests: list[ChatRequest] = field(default_factory=list)

    def generate(self, request: ChatRequest, *, timeout: float | None = None) -> Answer:
        self.requests.append(request)
        return Answer("", 0, 0, "stop")
