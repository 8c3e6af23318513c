"""Tools in the forms of other libraries, and schemas of their arguments: no argument is lost."""

from __future__ import annotations

import functools
from typing import Any, Literal

import pytest
from langchain_core.tools import Tool
from pydantic import RootModel

from langchain_vipllava import ChatVipLlava, GenerationError
from tests.support.careless import CarelessBackend

ARGUMENTS = {"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"]}

FORMS: dict[str, dict[str, Any]] = {
    "OpenAI": {"type": "function", "function": {"name": "t", "description": "d", "parameters": ARGUMENTS}},
    "OpenAI Responses": {"type": "function", "name": "t", "description": "d", "parameters": ARGUMENTS},
    "a function": {"name": "t", "description": "d", "parameters": ARGUMENTS},
    "Anthropic": {"name": "t", "description": "d", "input_schema": ARGUMENTS},
    "MCP": {"name": "t", "title": "T", "description": "d", "inputSchema": ARGUMENTS, "annotations": {"readOnly": 1}},
    "Bedrock": {"toolSpec": {"name": "t", "description": "d", "inputSchema": {"json": ARGUMENTS}}},
    "a schema": {"title": "t", "description": "d", **ARGUMENTS},
    "a composed schema": {"title": "t", "anyOf": [ARGUMENTS]},
    "types": {"title": "t", **ARGUMENTS, "type": ["object", "null"]},
    "a reference": {"name": "t", "parameters": {"$ref": "#/definitions/A", "definitions": {"A": ARGUMENTS}}},
}


@pytest.fixture(scope="module")
def llm():
    return ChatVipLlava(model="bundled", max_tokens=80)


def arguments_of(llm, tools, **settings):
    (call,) = llm.bind_tools(tools, tool_choice="any").invoke("Which?", **settings).tool_calls
    return call["args"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_tool_keeps_its_arguments(llm, form):
    assert arguments_of(llm, [FORMS[form]]) == {"a": "x"}
    (call,) = llm.bind(tools=[FORMS[form]], tool_choice="any").invoke("Which?").tool_calls
    assert (call["name"], call["args"]) == ("t", {"a": "x"})
    for method in ("json_schema", "function_calling"):
        assert llm.with_structured_output(FORMS[form], method=method).invoke("Which?") == {"a": "x"}


@pytest.mark.parametrize("key", ["args", "arguments", "inputs", "schema_"])
def test_arguments_under_an_unknown_key_are_refused(llm, key):
    for tool in ({"name": "t", key: ARGUMENTS}, {"type": "function", "function": {"name": "t", key: ARGUMENTS}}):
        with pytest.raises(GenerationError, match=f"no parameters, but '{key}'; expected .* inputSchema"):
            llm.bind_tools([tool])
    assert arguments_of(llm, [{"name": "t", "description": "d", "cache_control": {"type": "ephemeral"}}]) == {}


def test_tools_that_a_provider_runs_are_refused(llm):
    for tool in ({"type": "web_search_20250305", "name": "web_search"}, {"google_search": {}}):
        with pytest.raises(GenerationError, match="others cannot be called here"):
            llm.bind_tools([tool])


@pytest.mark.parametrize("key", ["function_declarations", "functionDeclarations"])
def test_google_lists_several_functions_in_one_tool(llm, key):
    tool = {key: [FORMS["a function"], {"name": "u", "parameters_json_schema": ARGUMENTS}, {"name": "v"}]}
    calls = {}
    for name in "tuv":
        for bound in (llm.bind_tools([tool], tool_choice=name), llm.bind(tools=[tool], tool_choice=name)):
            (call,) = bound.invoke("Which?").tool_calls
            calls[call["name"]] = call["args"]
    assert calls == {"t": {"a": "x"}, "u": {"a": "x"}, "v": {}}


class Values(RootModel[list[Literal["x"]]]):
    """Some values."""


@pytest.mark.parametrize("tool", [Values, {"name": "t", "parameters": {"type": "array", "items": {"enum": ["x"]}}}])
def test_a_tool_whose_arguments_have_no_names_is_refused(llm, tool):
    with pytest.raises(GenerationError, match="'array'; arguments have names"):
        llm.bind_tools([tool])


def test_a_function_without_a_name_is_refused(llm):
    with pytest.raises(GenerationError, match="has no name; expected a function"):
        llm.bind_tools([functools.partial(print, 1)])


def test_two_tools_of_one_name_and_other_arguments_are_refused(llm):
    other = {"name": "t", "parameters": {**ARGUMENTS, "properties": {"a": {"enum": ["y"]}}}}
    with pytest.raises(GenerationError, match="two tools are named 't'"):
        llm.bind_tools([FORMS["MCP"], other])
    assert arguments_of(llm, [FORMS["MCP"], FORMS["OpenAI"]]) == {"a": "x"}


A, B = {"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}
REQUIRED = [{**A, "required": ["a"]}, {**B, "required": ["b"]}]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"anyOf": REQUIRED}, [{"a": 1}, {"b": 2}]),
        ({"oneOf": REQUIRED}, [{"a": 1}, {"b": 2}]),
        ({"allOf": REQUIRED}, [{"a": 1, "b": 2}]),
        ({"anyOf": [A, B]}, [{"a": 1}, {"b": 2}, {}]),
        (
            {"properties": {"c": {"enum": ["y"]}}, "required": ["c"], "anyOf": REQUIRED},
            [{"c": "y", "a": 1}, {"c": "y", "b": 2}],
        ),
        (
            {"properties": {**A["properties"], **B["properties"]}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            [{"a": 1}, {"b": 2}],
        ),
        (
            {
                "properties": {"c": {"type": "string"}},
                "required": ["c"],
                "allOf": [{"properties": {"c": {"enum": ["y"]}}}, *REQUIRED],
            },
            [{"c": "y", "a": 1, "b": 2}],
        ),
        ({"$ref": "#/$defs/P", "$defs": {"P": {"anyOf": REQUIRED}}}, [{"a": 1}, {"b": 2}]),
    ],
)
def test_composed_arguments_reach_calls(llm, parameters, expected):
    for seed in range(3):
        for typed in (parameters, {"type": "object", **parameters}):
            assert arguments_of(llm, [{"name": "t", "parameters": typed}], temperature=1, seed=seed) in expected
        for method in ("json_schema", "function_calling"):
            chain = llm.with_structured_output({"title": "t", "type": "object", **parameters}, method=method)
            assert chain.invoke("Which?", temperature=1, seed=seed) in expected


def test_optional_composed_arguments_may_be_given(llm):
    parameters = {"anyOf": [{"type": "object", **A}, {"type": "object", **B}]}
    answers = [arguments_of(llm, [{"name": "t", "parameters": parameters}], temperature=1, seed=s) for s in range(8)]
    assert {"a": 1} in answers or {"b": 2} in answers


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_constants_that_look_like_schemas_stay_as_they_are(llm, method):
    constant = {"$ref": "#/x"}
    schema = {
        "title": "t", "type": "object", "required": ["k", "const", "e"],
        "properties": {"k": {"const": constant, "default": constant, "examples": [constant]}, "e": {"enum": [constant]},
                       "const": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"enum": ["x"]}},
    }  # fmt: skip
    expected = {"k": constant, "const": "x", "e": constant}
    assert llm.with_structured_output(schema, method=method).invoke("Which?") == expected


def test_a_list_of_types_at_the_top_is_traced(llm):
    schema = {"title": "x", "type": ["string", "null"], "enum": ["a", None]}
    for method in ("json_schema", "function_calling"):
        assert llm.with_structured_output(schema, method=method).invoke("Which?") in ("a", None)


@pytest.mark.parametrize("strict", [None, True])
def test_a_tool_of_one_text_gets_a_text(strict):
    """`Tool(func=)` without a schema, as in LangChain's wrappers of search engines."""
    received = []
    tool = Tool(name="search", description="Search.", func=lambda query: received.append(query) or "found")
    careless = ChatVipLlava(backend=CarelessBackend(), max_tokens=60)
    (call,) = careless.bind_tools([tool], tool_choice="any", strict=strict).invoke("Which?").tool_calls
    (text,) = call["args"].values()
    assert isinstance(text, str)
    assert tool.invoke(call).content == "found"
    assert received == [text]


def test_what_a_docstring_says_of_an_argument_is_told(llm):
    def look(place: Literal["left", "right"], far: bool = False) -> None:
        """Look at a side.

        Args:
            place: which side.
            far: whether to look past the fence.
        """

    (tool,) = llm.bind_tools([look]).kwargs["tools"]
    told = {name: part["description"] for name, part in tool["function"]["parameters"]["properties"].items()}
    assert told == {"place": "which side.", "far": "whether to look past the fence."}
    assert tool["function"]["description"] == "Look at a side."
