"""`OutputSpec`: what an answer may be: text, calls of tools, or JSON that fits a schema."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_vipllava.locks import cached_property
from langchain_vipllava.protocol.schema_text import schema_text
from langchain_vipllava.schemas.json_schema import rebuilt

_MAX_CALLS = 4
"""Maximum number of calls in one answer when several are allowed. Chosen: a model that was not trained to call tools
makes as many calls as it may."""

_DEFINITIONS = "#/$defs/"

_COMPOSING = ("allOf", "anyOf", "oneOf", "$ref", "if", "not", "dependentSchemas", "patternProperties")
"""Keywords that may name arguments beside "properties": closing the schema around them would forbid these arguments."""


@dataclass(frozen=True)
class OutputSpec:
    """What an answer may be. Plain data: nothing is compiled.

    Attributes:
        tools: functions in OpenAI's form, `{"name", "description", "parameters"}`.
        must_call: whether the answer has to be a call.
        parallel: whether one answer may hold several calls.
        schema: JSON schema of an answer that is not a call; None for free text.
        text: the one text that the answer has to be, whatever the tools and the schema: what its log-probabilities then
            say is how likely the model finds it. The prompt is the same as without it. None for a free answer.
    """

    tools: tuple[Mapping[str, Any], ...] = ()
    must_call: bool = False
    parallel: bool = False
    schema: Mapping[str, Any] | None = None
    text: str | None = None

    @property
    def is_free_text(self) -> bool:
        """Whether the model may write whatever it likes."""
        return not self.tools and self.schema is None and self.text is None

    @cached_property
    def instructions(self) -> str:
        """What the system text tells the model about the tools; empty without tools."""
        if not self.tools:
            return ""
        lines = [f"- {_signature(tool)}: {tool.get('description') or tool['name']}" for tool in self.tools]
        example = format_calls([("tool", {"argument": "value"})])
        return "\n".join(["Tools:", *lines, f"To call tools, answer with a list such as {example}."])

    @cached_property
    def question_suffix(self) -> str:
        """What a question tells the model about the JSON of its answer, in a line of its own; empty for free text."""
        if self.schema is None or self.must_call:
            return ""
        line = schema_text(self.schema)
        return f"\nAnswer in JSON: {line}" if line else "\nAnswer in JSON."

    def calls_schema(self) -> dict[str, Any]:
        """JSON schema of a list of calls.

        Raises:
            RecursionError: the parameters of a tool contain themselves as a Python object.
        """
        definitions: dict[str, Any] = {}
        calls = []
        for index, tool in enumerate(self.tools):
            name = f"tool{index}"
            definitions[name] = _arguments_schema(relocate(tool.get("parameters") or {}, _DEFINITIONS + name))
            properties = {"name": {"const": tool["name"]}, "arguments": {"$ref": _DEFINITIONS + name}}
            calls.append({"type": "object", "properties": properties, "required": ["name", "arguments"],
                          "additionalProperties": False})  # fmt: skip
        max_calls = _MAX_CALLS if self.parallel else 1
        return {"type": "array", "items": {"anyOf": calls}, "minItems": 1, "maxItems": max_calls, "$defs": definitions}


def format_calls(calls: Iterable[tuple[str, Any]]) -> str:
    """Write calls, pairs of name and arguments, the way the model does: a compact JSON list."""
    listed = [{"name": name, "arguments": arguments} for name, arguments in calls]
    return json.dumps(listed, separators=(",", ":"), ensure_ascii=False)


def relocate(schema: Any, place: str) -> Any:
    """Move a schema to a place inside a larger one: its references start there. Constants are no references."""

    def move(part: dict[str, Any]) -> None:
        reference = part.get("$ref")
        if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
            part["$ref"] = place + reference.removeprefix("#")

    return rebuilt(schema, move)


def _arguments_schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a call's arguments: an object, of the named ones alone where nothing else names some."""
    closed = {} if any(key in parameters for key in _COMPOSING) else {"additionalProperties": False}
    return {**closed, **parameters, "type": "object"}


def _signature(tool: Mapping[str, Any]) -> str:
    arguments = schema_text(tool.get("parameters") or {})
    return f"{tool['name']} {arguments}" if arguments else str(tool["name"])
