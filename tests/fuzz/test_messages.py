"""Mutated messages, settings and schemas of the chat model."""

from __future__ import annotations

import asyncio
import copy
import warnings

import pytest
from hypothesis import given
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_vipllava import ChatVipLlava, ImageStore, keep_images, trim_turns
from langchain_vipllava.chat.image_refs import restore_images
from tests.fuzz.mutations import JSON, mutate, odd_value
from tests.support.echo import EchoBackend

CONTENTS = [
    "What is it?",
    [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ],
    [{"type": "image", "base64": "AAAA", "mime_type": "image/png"}, "Hi"],
    [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "text", "text": "x"},
    ],
    [
        {"type": "non_standard", "value": {"type": "text", "text": "x"}},
        {"inline_data": {"mime_type": "image/png", "data": "AAAA"}},
    ],
]
SCHEMA = {
    "title": "thing",
    "type": "object",
    "properties": {"a": {"type": "string", "enum": ["x", "y"]}, "b": {"type": "array", "items": {"$ref": "#/$defs/n"}}},
    "$defs": {"n": {"type": "integer", "minimum": 1}},
    "required": ["a"],
}


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def random_messages(rng):
    messages = [
        SystemMessage("Be brief."),
        HumanMessage("Hi"),
        AIMessage("Yes", response_metadata={"token_ids": [1, 2]}),
    ]
    messages += [
        HumanMessage(copy.copy(rng.choice(CONTENTS))),
        ToolMessage("42", tool_call_id="1"),
        HumanMessage("So?"),
    ]
    messages[2].tool_calls = rng.choice(([], [{"name": "look", "args": {"x": 1}, "id": "1", "type": "tool_call"}]))
    for _ in range(rng.choice((1, 1, 2))):
        message = rng.choice(messages)
        name = rng.choice(("content", "content", "response_metadata", "additional_kwargs", "tool_calls", "id", "name"))
        if name in type(message).model_fields:  # past the checks of the class: as a damaged checkpoint is
            message.__dict__[name] = mutate(getattr(message, name), rng)
    return messages


async def astream(llm, messages):
    return [chunk async for chunk in llm.astream(messages)]


WAYS = ["invoke", "stream", "ainvoke", "astream", "batch", "render_prompt", "count", "trim", "keep_images", "restore"]


@pytest.mark.parametrize("way", WAYS)
def test_mutated_messages(fuzz, way):
    llm, rng = ChatVipLlava(backend=EchoBackend()), fuzz.rng()
    ways = {
        "invoke": llm.invoke,
        "stream": lambda messages: list(llm.stream(messages)),
        "ainvoke": lambda messages: asyncio.run(llm.ainvoke(messages)),
        "astream": lambda messages: asyncio.run(astream(llm, messages)),
        "batch": lambda messages: llm.batch([messages]),
        "trim": lambda messages: trim_turns(messages, llm),
        "restore": lambda messages: restore_images(messages, ImageStore()),
        "render_prompt": llm.render_prompt,
        "count": llm.get_num_tokens_from_messages,
        "keep_images": lambda messages: keep_images(messages, ImageStore()),
    }
    for _ in fuzz.rounds(60):
        fuzz.try_input(ways[way], random_messages(rng))


def test_mutated_settings(fuzz):
    llm, rng = ChatVipLlava(backend=EchoBackend()), fuzz.rng()
    names = [
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "max_tokens",
        "prompt_format",
        "multi_image",
        "image_fit",
        "stop",
        "model",
        "tools",
        "tool_choice",
        "response_format",
        "escape_turn_markers",
        "parallel_tool_calls",
        "config",
    ]
    for _ in fuzz.rounds(100):
        fuzz.try_input(llm.invoke, "Hi", **{rng.choice(names): odd_value(rng)})


def test_mutated_schemas(fuzz):
    llm, rng = ChatVipLlava(model="bundled"), fuzz.rng()
    for round_ in fuzz.rounds(60):
        schema = mutate(mutate(SCHEMA, rng), rng)
        method = ("json_schema", "function_calling", "json_mode")[round_ % 3]
        fuzz.try_input(llm.with_structured_output, schema, method=method)
        fuzz.try_input(llm.bind_tools, [{"type": "function", "function": {"name": "x", "parameters": schema}}])


def test_any_value_as_messages(fuzz):
    llm = ChatVipLlava(backend=EchoBackend())

    @given(JSON)
    def any_value(value):
        fuzz.try_input(llm.invoke, value)
        fuzz.try_input(llm.invoke, [{"role": "user", "content": value}])

    any_value()
