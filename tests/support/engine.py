"""Reaching the engine below a chat model, for tests of the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_vipllava import ChatVipLlava
from langchain_vipllava.backends.local import compile_request
from langchain_vipllava.engine.request import GenerationRequest
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.images.access import ImageAccessPolicy
from langchain_vipllava.protocol.answer import Answer

OPEN = ImageAccessPolicy().resolve
"""Opens any image, as the program itself may."""


def generate(runner: ModelRunner, request: GenerationRequest) -> Answer:
    """Answer a request and wait."""
    return runner.submit(request).future.result(120)


def engine_request(
    llm: ChatVipLlava, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]
) -> GenerationRequest:
    """What the engine is asked in a call of a chat model."""
    _, request = llm._prepare(messages, stop, kwargs)
    return compile_request(request)
