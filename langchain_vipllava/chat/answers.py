"""What an answer in a history says: its text, a refusal, spoken words, and its calls, wherever a provider puts them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_vipllava.chat.blocks import transcript_of
from langchain_vipllava.chat.tool_results import unwrapped
from langchain_vipllava.protocol.output_spec import format_calls
from langchain_vipllava.text import whole_characters

_CALLS = frozenset({"tool_use", "tool_call", "invalid_tool_call", "function_call", "custom_tool_call", "toolUse"})
"""Blocks that call a tool: Anthropic's, LangChain's, OpenAI's and Google's, Bedrock's."""


def answer_text(message: BaseMessage, texts: Iterable[str]) -> str:
    """Return everything that an answer says.

    Args:
        message: an AI message of any model.
        texts: those of its content.
    """
    said = [text for text in texts if text]
    kwargs = message.additional_kwargs
    for extra in (kwargs.get("refusal"), transcript_of(kwargs.get("audio"))):
        if isinstance(extra, str) and extra and extra not in said:
            said.append(extra)
    return whole_characters("\n".join([*said, *_calls(message)]))


def _calls(message: BaseMessage) -> Iterator[str]:
    """Write the calls of an answer as the model does, and behind them what a model wrote in place of calls."""
    calls: list[tuple[str, Any]] = [(call["name"], call["args"]) for call in getattr(message, "tool_calls", None) or []]
    raw: list[str] = []
    for call in getattr(message, "invalid_tool_calls", None) or []:
        if call.get("name"):
            calls.append((call["name"], call.get("args") or ""))
        elif call.get("args"):
            raw.append(str(call["args"]))  # an answer of ours that `max_tokens` cut
    if not calls and not raw:
        calls = list(_provider_calls(message))
    if calls:
        yield format_calls(calls)
    yield from raw


def _provider_calls(message: BaseMessage) -> Iterator[tuple[str, Any]]:
    """Yield the calls that LangChain did not read: those of content blocks, or OpenAI's in `additional_kwargs`."""
    content = message.content if isinstance(message.content, list) else []
    kwargs = message.additional_kwargs
    blocks = [_call_of(unwrapped(block)) for block in content]
    blocks = [block for block in blocks if block is not None]
    listed = kwargs.get("tool_calls")
    for call in blocks or [*(listed if isinstance(listed, list) else []), kwargs.get("function_call")]:
        inner = call.get("function", call) if isinstance(call, Mapping) else None
        if isinstance(inner, Mapping) and isinstance(inner.get("name"), str) and inner["name"]:
            found: list[Any] = [inner[key] for key in ("args", "input", "arguments") if inner.get(key) is not None]
            yield inner["name"], _parsed(found[0] if found else {})


def _call_of(block: Any) -> Mapping[str, Any] | None:
    if not isinstance(block, Mapping):
        return None
    kind = block.get("type", next((key for key in ("toolUse", "function_call") if key in block), None))
    if not isinstance(kind, str) or kind not in _CALLS:
        return None
    nested = block.get(kind)
    return nested if isinstance(nested, Mapping) else block


def _parsed(arguments: Any) -> Any:
    """Return arguments as a mapping; as they are, if a model wrote something else."""
    if not isinstance(arguments, str):
        return arguments
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return parsed if isinstance(parsed, dict) else arguments
