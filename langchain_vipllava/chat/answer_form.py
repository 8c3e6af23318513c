"""`AnswerForm`: what an answer may be, besides words: calls of tools, or JSON that fits a schema."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from langchain_core.messages import InvalidToolCall, ToolCall

from langchain_vipllava.errors import GenerationError, shorten

if TYPE_CHECKING:
    from langchain_vipllava.engine.grammar import Grammar

_MAX_CALLS = 4
"""Most calls in one answer, when several may be made."""

_DEFINITIONS = "#/$defs/"


@dataclass(frozen=True)
class AnswerForm:
    """What an answer may be.

    Attributes:
        tools: functions as OpenAI writes them, `{"name", "description", "parameters"}`.
        must_call: whether an answer has to be a call.
        parallel: whether one answer may hold several calls; a model that was not taught to call tools would make as
            many as it may, so this is for whoever asks for it.
        schema: JSON schema of an answer that is no call; None for words.
    """

    tools: tuple[Mapping[str, Any], ...] = ()
    must_call: bool = False
    parallel: bool = False
    schema: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> AnswerForm:
        """Read what was bound: `tools`, `tool_choice`, `parallel_tool_calls`, `response_format`.

        Raises:
            GenerationError: a choice or a format that is none of the known ones; a tool that is no function.
        """
        tools = tuple(_function(tool) for tool in settings.get("tools") or ())
        choice = settings.get("tool_choice")
        wanted, must_call = _choose(tools, choice)
        parallel = settings.get("parallel_tool_calls") is True
        return cls(wanted, must_call, parallel, _schema(settings.get("response_format")))

    @cached_property
    def grammar(self) -> Grammar | None:
        """What the model is held to; None for words alone.

        Raises:
            GenerationError: a schema that cannot be enforced.
        """
        from langchain_vipllava.engine.grammar import Grammar  # noqa: PLC0415  # torch is loaded when needed

        if not self.tools:
            return None if self.schema is None else Grammar.of_schema(self.schema)
        try:
            calls = self._calls
        except RecursionError as error:
            raise GenerationError("the parameters of a tool hold themselves; expected a JSON schema.") from error
        if self.must_call:
            return Grammar.of_schema(calls)
        schemas = [calls] if self.schema is None else [calls, self.schema]
        return Grammar.of_alternatives(schemas, or_text=self.schema is None)

    @property
    def instructions(self) -> str:
        """What the model is told of the tools; empty without any."""
        if not self.tools:
            return ""
        lines = [f"- {_signature(tool)}: {tool.get('description') or tool['name']}" for tool in self.tools]
        example = write_calls([{"name": "tool", "args": {"argument": "value"}}])
        return "\n".join(["Tools:", *lines, f"To call tools, answer with a list such as {example}."])

    def read(self, text: str) -> tuple[str, list[ToolCall], list[InvalidToolCall]]:
        """Split an answer into words and calls."""
        if not self.may_be_calls(text):
            return text, [], []
        try:
            listed = json.loads(text)
            if self.schema is not None and not all(_is_call(call) for call in listed):
                return text, [], []  # JSON that fits the schema, a list too
            calls = [self._call(**call) for call in listed]
        except (ValueError, KeyError, TypeError) as error:  # cut in the middle: max_tokens was reached
            wrong = InvalidToolCall(
                type="invalid_tool_call", name=None, args=text, id=_new_id(), error=f"not a list of calls: {error}"
            )
            return "", [], [wrong]
        return ("", calls, []) if calls else (text, [], [])

    def _call(self, name: str, arguments: dict[str, Any]) -> ToolCall:
        if not isinstance(arguments, dict) or all(name != tool["name"] for tool in self.tools):
            raise ValueError(f"no such tool, or no arguments by name: {name!r}")
        return ToolCall(name=name, args=arguments, id=_new_id())

    def may_be_calls(self, beginning: str) -> bool:
        """Whether an answer that begins like this is a list of calls; words never begin so."""
        return bool(self.tools) and beginning.startswith("[")

    @property
    def _calls(self) -> dict[str, Any]:
        definitions: dict[str, Any] = {}
        calls = []
        for index, tool in enumerate(self.tools):
            name = f"tool{index}"
            parameters = _moved(tool.get("parameters") or {"type": "object", "properties": {}}, _DEFINITIONS + name)
            definitions[name] = {"additionalProperties": False, **parameters}
            properties = {"name": {"const": tool["name"]}, "arguments": {"$ref": _DEFINITIONS + name}}
            calls.append({"type": "object", "properties": properties, "required": ["name", "arguments"],
                          "additionalProperties": False})  # fmt: skip
        most = _MAX_CALLS if self.parallel else 1
        return {"type": "array", "items": {"anyOf": calls}, "minItems": 1, "maxItems": most, "$defs": definitions}


def write_calls(calls: Sequence[Mapping[str, Any]]) -> str:
    """Calls as the model writes them: a list of `{"name", "arguments"}`, without spaces between the parts."""
    listed = [{"name": call["name"], "arguments": call["args"]} for call in calls]
    return json.dumps(listed, separators=(",", ":"), ensure_ascii=False)


def _choose(tools: tuple[Mapping[str, Any], ...], choice: Any) -> tuple[tuple[Mapping[str, Any], ...], bool]:
    """Tools that may be called, and whether one has to be."""
    if choice in (None, False, "auto"):
        return tools, False
    if choice == "none":
        return (), False
    if choice is True or choice in ("any", "required"):
        wanted = tools
    else:
        function = choice.get("function", choice) if isinstance(choice, Mapping) else {"name": choice}
        name = function.get("name") if isinstance(function, Mapping) else None
        wanted = tuple(tool for tool in tools if tool["name"] == name)
    if not wanted:
        names = ", ".join(tool["name"] for tool in tools) or "no tool is bound"
        raise GenerationError(
            f"tool_choice={choice!r}; expected 'auto', 'any', 'none' or the name of a bound tool ({names})."
        )
    return wanted, True


def _schema(response_format: Any) -> Mapping[str, Any] | None:
    """The JSON schema of OpenAI's `response_format`."""
    if response_format is None or response_format == {"type": "text"}:
        return None
    if isinstance(response_format, Mapping):
        if response_format.get("type") == "json_object":
            return {"type": "object"}
        named = response_format.get("json_schema")
        if isinstance(named, Mapping) and isinstance(named.get("schema"), Mapping):
            found: Mapping[str, Any] = named["schema"]
            return found
    raise GenerationError(
        f"response_format={shorten(response_format)}; expected {{'type': 'json_schema', 'json_schema': {{'name': ..., "
        "'schema': ...}}, or use with_structured_output."
    )


def _function(tool: Any) -> Mapping[str, Any]:
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise GenerationError(
            f"{shorten(tool)} among the tools; expected functions, each with a name: only those can be called here."
        )
    if not isinstance(function.get("parameters") or {}, Mapping):
        raise GenerationError(f"the parameters of {function['name']!r} are no JSON schema; expected an object.")
    return function


def _moved(part: Any, place: str) -> Any:
    """A schema, or a part of it, that stands at a place of a larger one: that is where its references begin."""
    if isinstance(part, Mapping):
        found = {key: _moved(value, place) for key, value in part.items()}
        reference = part.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            found["$ref"] = place + reference.removeprefix("#")
        return found
    return [_moved(value, place) for value in part] if isinstance(part, (list, tuple)) else part


def _signature(tool: Mapping[str, Any]) -> str:
    properties = (tool.get("parameters") or {}).get("properties") or {}
    kinds = {name: part.get("type", "any") if isinstance(part, Mapping) else "any" for name, part in properties.items()}
    arguments = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
    return f"{tool['name']}({arguments})"


def _is_call(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"name", "arguments"}


def _new_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"
