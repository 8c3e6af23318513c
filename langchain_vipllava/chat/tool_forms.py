"""`openai_tool`: a tool in any form, as OpenAI writes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, Tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, TypeAdapter
from typing_extensions import is_typeddict

from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.schemas.json_schema import inlined
from langchain_vipllava.schemas.pydantic_schema import json_schema_of
from langchain_vipllava.schemas.typed_dict import readable_type

_PARAMETERS = ("parameters", "input_schema", "inputSchema", "parameters_json_schema", "parametersJsonSchema")
"""Keys of the arguments' schema: OpenAI's, Anthropic's, that of MCP, and Google's."""

_DECLARATIONS = ("function_declarations", "functionDeclarations")
"""Keys of Google's list of functions."""

_NO_PARAMETERS = frozenset({"annotations", "outputSchema", "output_schema", "_meta", "meta", "metadata", "execution",
                            "cache_control", "icons"})  # fmt: skip
"""Keys of a tool whose mapping is not the schema of its arguments."""


def listed_tools(tools: Iterable[Any]) -> list[Any]:
    """List tools one by one: Google puts several functions into one mapping."""
    listed: list[Any] = []
    for tool in tools:
        keys = [key for key in _DECLARATIONS if isinstance(tool, Mapping) and isinstance(tool.get(key), (list, tuple))]
        listed += [function for key in keys for function in tool[key]] if keys else [tool]
    return listed


def openai_tool(tool: Any, *, strict: bool | None = None) -> dict[str, Any]:
    """Write a tool, function or class as OpenAI does, with all of its arguments' schema: LangChain's own function
    flattens schemas that contain themselves, and leaves composed ones out.

    Raises:
        GenerationError: a mapping that names a tool and hides its arguments under an unknown key; no name.
    """
    if isinstance(tool, Mapping):
        function = openai_function(tool)
        if function is None:  # refused where it is read
            return dict(tool)
    elif is_typeddict(tool):
        written = inlined(json_schema_of(TypeAdapter(readable_type(tool))))
        function = {"name": tool.__name__, "description": written.get("description", ""), "parameters": written}
    elif not isinstance(getattr(tool, "name", getattr(tool, "__name__", None)), str):
        raise GenerationError(
            f"{shorten(tool)} among the tools has no name; expected a function, a tool, a class or a mapping. Wrap it "
            "in StructuredTool.from_function(..., name=...)."
        )
    else:
        converted = convert_to_openai_tool(tool)
        parameters = _parameters_of(tool)
        if parameters is None or "function" not in converted:
            return converted
        function = {**converted["function"], "parameters": inlined(parameters)}
    if isinstance(function["parameters"], Mapping):
        told = {name: value for name, value in function["parameters"].items() if name not in ("title", "description")}
        function = {**function, "parameters": told}
    return {"type": "function", "function": function if strict is None else {**function, "strict": strict}}


def openai_function(tool: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read a function in the form of OpenAI, Anthropic, Bedrock or MCP, or a JSON schema with a title.

    Returns:
        Its name, description and parameters; None for none of these.

    Raises:
        GenerationError: it has a name, and its arguments under an unknown key.
    """
    inner = next((tool[key] for key in ("function", "toolSpec") if isinstance(tool.get(key), Mapping)), tool)
    if isinstance(inner.get("name"), str) and _is_function(tool, inner):
        parameters = next((inner[key] for key in _PARAMETERS if inner.get(key) is not None), None)
        if isinstance(parameters, Mapping) and isinstance(parameters.get("json"), Mapping):  # Bedrock
            parameters = parameters["json"]
        if parameters is None:
            _refuse_hidden_parameters(inner)
        function = {key: inner[key] for key in ("name", "description", "strict") if inner.get(key) is not None}
        return {**function, "parameters": {} if parameters is None else parameters}
    if isinstance(tool.get("title"), str) and not isinstance(tool.get("function"), Mapping):
        parameters = {key: value for key, value in tool.items() if key not in ("title", "description")}
        return {"name": tool["title"], "description": str(tool.get("description", "")), "parameters": parameters}
    return None


def _is_function(tool: Mapping[str, Any], inner: Mapping[str, Any]) -> bool:
    """Whether a named mapping is a function: tools that a provider runs itself have another type."""
    if inner is not tool or any(key in inner for key in _PARAMETERS):
        return True
    return tool.get("type") in (None, "function")


def _refuse_hidden_parameters(function: Mapping[str, Any]) -> None:
    hidden = [key for key, value in function.items() if isinstance(value, Mapping) and key not in _NO_PARAMETERS]
    if hidden:
        raise GenerationError(
            f"the tool {shorten(function['name'])} has no parameters, but {shorten(hidden[0])}; expected the JSON "
            f"schema of its arguments under one of {', '.join(_PARAMETERS)}."
        )


def _parameters_of(tool: Any) -> Mapping[str, Any] | None:
    if isinstance(tool, Tool) and not tool.args_schema:
        return None  # it takes one text, which LangChain names; its schema is that of its own `_run`
    if isinstance(tool, BaseTool):
        tool = tool.tool_call_schema
    elif is_function(tool):
        try:
            tool = StructuredTool.from_function(tool, parse_docstring=True, description="x").tool_call_schema
        except Exception:  # a function that only LangChain's own conversion reads
            return None
    if isinstance(tool, Mapping):
        return tool
    return json_schema_of(tool) if isinstance(tool, type) and issubclass(tool, BaseModel) else None


def is_function(schema: Any) -> bool:
    """Whether it is a Python function."""
    return callable(schema) and hasattr(schema, "__code__")
