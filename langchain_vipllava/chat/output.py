"""What a caller binds (`tools`, `tool_choice`, `response_format`) to an `OutputSpec`, and answers to tool calls."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import InvalidToolCall, ToolCall
from pydantic.errors import PydanticUserError

from langchain_vipllava.chat.tool_choice import read_tool_choice
from langchain_vipllava.chat.tool_forms import listed_tools, openai_function, openai_tool
from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.protocol.limits import RequestLimits
from langchain_vipllava.protocol.output_spec import OutputSpec
from langchain_vipllava.schemas.json_schema import inlined, rebuilt
from langchain_vipllava.schemas.narrow_schema import narrow_schema

Tool = Mapping[str, Any]


def read_output_spec(settings: Mapping[str, Any]) -> OutputSpec:
    """Read `tools`, `tool_choice`, `parallel_tool_calls` and `response_format`, as OpenAI writes them.

    Raises:
        GenerationError: an unknown choice or format; a tool that is not a function.
    """
    listed = tuple(map(_function, listed_tools(settings.get("tools") or ())))
    tools, must_call = _choose(listed, settings.get("tool_choice"))
    # a model that was not trained to call tools makes as many calls as it may: several only for who asks for them
    parallel = settings.get("parallel_tool_calls") is True
    schema = _schema(settings.get("response_format"))
    try:
        _refuse_same_names(listed)
        tools = tuple({**tool, "parameters": narrow_schema(tool.get("parameters") or {})} for tool in tools)
        return OutputSpec(tools, must_call, parallel, None if schema is None else narrow_schema(schema))
    except RecursionError as error:
        raise GenerationError("a schema contains itself; refer to it with '$ref' instead.") from error


def read_tools(tools: Sequence[Any], limits: RequestLimits, *, strict: bool | None = None) -> list[dict[str, Any]]:
    """Write tools, functions and classes as OpenAI does.

    Raises:
        GenerationError: too many, too large, or nested too deep.
    """
    tools = listed_tools(tools)
    limits.check_tools(tools)
    limits.check_schemas(tool for tool in tools if isinstance(tool, Mapping))  # LangChain recurses into these
    try:
        return [openai_tool(tool, strict=strict) for tool in tools]
    except PydanticUserError as error:
        reason = shorten(str(error).splitlines()[0])
        raise GenerationError(f"the arguments of a tool have no form in JSON: {reason}.") from error
    except RecursionError as error:
        raise GenerationError("the arguments of a tool are nested too deep; expected a flatter schema.") from error


def may_be_calls(output: OutputSpec, beginning: str) -> bool:
    """Whether an answer that begins like this is a list of calls: a backend never lets free text begin with `[`."""
    return bool(output.tools) and beginning.lstrip().startswith("[")


def split_answer(output: OutputSpec, text: str) -> tuple[str, list[ToolCall], list[InvalidToolCall]]:
    """Split an answer into its text and its calls."""
    if not may_be_calls(output, text):
        return text, [], []
    try:
        listed = json.loads(text)
        if output.schema is not None and not all(_is_call(call) for call in listed):
            return text, [], []  # a list that fits the schema
        calls = [_call(output, **call) for call in listed]
    except (ValueError, KeyError, TypeError, RecursionError) as error:  # cut off: max_tokens was reached
        invalid = InvalidToolCall(
            type="invalid_tool_call", name=None, args=text, id=_new_id(), error=f"not a list of calls: {error}"
        )
        return "", [], [invalid]
    return ("", calls, []) if calls else (text, [], [])


def _call(output: OutputSpec, name: str, arguments: dict[str, Any]) -> ToolCall:
    if not isinstance(arguments, dict) or all(name != tool["name"] for tool in output.tools):
        raise ValueError(f"no such tool, or arguments without names: {name!r}")
    return ToolCall(name=name, args=arguments, id=_new_id())


def _choose(tools: tuple[Tool, ...], choice: Any) -> tuple[tuple[Tool, ...], bool]:
    """Return the tools that may be called, and whether one has to be."""
    mode, names = read_tool_choice(choice, [tool["name"] for tool in tools])
    return tuple(tool for tool in tools if tool["name"] in names), mode == "any"


def _refuse_same_names(tools: Sequence[Tool]) -> None:
    """Refuse tools that a call cannot tell apart, unless their arguments are the same: LangChain's tests bind such."""
    arguments: dict[str, Any] = {}
    for tool in tools:
        own = rebuilt(tool["parameters"], _leave_annotations_out)
        if arguments.setdefault(tool["name"], own) != own:
            raise GenerationError(
                f"two tools are named {shorten(tool['name'])}, with other arguments; expected names of their own: "
                "a call has no more."
            )


def _leave_annotations_out(schema: dict[str, Any]) -> None:
    for name in ("title", "description", "default", "examples"):
        schema.pop(name, None)


def _schema(response_format: Any) -> Mapping[str, Any] | None:
    """Return the JSON schema of OpenAI's `response_format`."""
    if response_format is None or response_format == {"type": "text"}:
        return None
    if isinstance(response_format, Mapping):
        if response_format.get("type") == "json_object":
            return {"type": "object"}
        wrapper = response_format.get("json_schema")
        if isinstance(wrapper, Mapping) and isinstance(wrapper.get("schema"), Mapping):
            schema: Mapping[str, Any] = wrapper["schema"]
            return schema
    raise GenerationError(
        f"response_format={shorten(response_format)}; expected {{'type': 'json_schema', 'json_schema': {{'name': ..., "
        "'schema': ...}}, or use with_structured_output."
    )


def _function(tool: Any) -> Tool:
    function = openai_function(tool) if isinstance(tool, Mapping) else None
    if function is None:
        raise GenerationError(
            f"{shorten(tool)} among the tools; expected functions, each with a name: others cannot be called here."
        )
    if not isinstance(function["parameters"], Mapping):
        raise GenerationError(f"the parameters of {function['name']!r} are not a JSON schema; expected an object.")
    kind = inlined(function["parameters"]).get("type", "object")
    kinds = kind if isinstance(kind, (list, tuple)) else [kind]
    if not any(isinstance(one, str) and one.lower() == "object" for one in kinds):
        raise GenerationError(
            f"the parameters of {function['name']!r} have the type {shorten(kind)}; arguments have names. Expected an "
            "object, or a class with a field for the value."
        )
    return function


def _is_call(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"name", "arguments"}


def _new_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"
