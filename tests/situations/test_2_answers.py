"""Schemas, tools and tool choices."""
# ruff: noqa: E501  # a row is a line

from __future__ import annotations

import datetime
import enum
import math
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser, StrOutputParser
from langchain_core.tools import InjectedToolArg, StructuredTool, tool
from pydantic import BaseModel, Field, RootModel, create_model

from langchain_vipllava import GenerationError
from tests.situations.registry import situation, situations


class Color(enum.Enum):
    RED = "red"
    WHITE = "white"


class Thing(BaseModel):
    """What is marked."""

    color: Literal["red", "white", "blue"]
    shape: Literal["square", "circle", "star"]


class ThingDict(TypedDict):
    """What is marked."""

    color: Literal["red", "white"]


class Node(BaseModel):
    name: Literal["a", "b"]
    children: list[Node] = []


class Listed(RootModel[list[Literal["x", "y"]]]):
    pass


def a(kind: Any) -> type[BaseModel]:
    return create_model("M", x=(kind, ...))


SCHEMAS = (
    ("a pydantic class", "its instance", Thing, lambda got: isinstance(got, Thing)),
    ("a `TypedDict`", "a dict", ThingDict, lambda got: got["color"] in ("red", "white")),
    ("a JSON schema", "a dict", {"title": "T", "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
     lambda got: isinstance(got["n"], int)),
    ("OpenAI's wrapper `{name, strict, schema}`", "is unwrapped",
     {"name": "t", "strict": True, "schema": {"type": "object", "properties": {"b": {"type": "boolean"}}, "required": ["b"]}},
     lambda got: isinstance(got["b"], bool)),
    ("an `Enum` class", "its member", Color, lambda got: got in Color),
    ("`Literal`", "one of its values", Literal["red", "white"], lambda got: got in ("red", "white")),
    ("`bool`", "a bool", bool, lambda got: isinstance(got, bool)),
    ("`list[...]`", "a list", list[Literal["x"]], lambda got: set(got) <= {"x"}),
    ("a union of classes", "an instance of one", Thing | Node, lambda got: isinstance(got, (Thing, Node))),
    ("a class that contains itself", "a tree that ends", Node, lambda got: isinstance(got, Node)),
    ("a `RootModel` of a list", "its instance", Listed, lambda got: set(got.root) <= {"x", "y"}),
    ("`float`", "a finite number", a(float), lambda got: math.isfinite(got.x)),
    ("`Field(gt=1, le=1.5)`", "a number above 1", a(Annotated[float, Field(gt=1, le=1.5)]), lambda got: 1 < got.x <= 1.5),
    ("`datetime`", "a time that exists", a(datetime.datetime), lambda got: isinstance(got.x, datetime.datetime)),
    ("`Decimal`", "a decimal", a(Decimal), lambda got: got.x.is_finite()),
    ("`int` without bounds", "within 64 bits, so that checkpoints take it", a(int), lambda got: abs(got.x) < 2**63),
    ("`UUID`", "a UUID", a(uuid.UUID), lambda got: isinstance(got.x, uuid.UUID)),
    ("`set[...]`", "a set", a(set[Literal["x", "y"]]), lambda got: got.x <= {"x", "y"}),
    ("`dict[Literal, int]`", "only those keys", a(dict[Literal["p", "q"], int]), lambda got: set(got.x) <= {"p", "q"}),
)  # fmt: skip


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@situations("Structured output: what comes back, in every method", *SCHEMAS)
def test_structured_output_of(llm, question, case, method):
    schema, fits = case
    assert fits(llm.with_structured_output(schema, method=method).invoke([question], max_tokens=150))


BAD = (
    ("properties without `type` or `properties`", {"shape": {"type": "string"}}),
    ("a misspelt keyword (`propertys`)", {"type": "object", "propertys": {"a": {"type": "string"}}}),
    ("`oneOf` of overlapping types", {"title": "T", "oneOf": [{"type": "integer"}, {"type": "number"}]}),
    ("a class that requires itself", create_model("Endless", next=("Endless", ...))),
    ("a set of at least two", a(Annotated[set[int], Field(min_length=2)])),
    ("an instance instead of its class", Thing(color="red", shape="star")),
)


@situations("Structured output: refused when it is bound", *((what, "GenerationError", schema) for what, schema in BAD))
def test_refused_schema(llm, case):
    with pytest.raises(GenerationError):
        llm.with_structured_output(case[0])


@situation("Structured output: refused when it is bound", "`method='json'`", "GenerationError lists the methods")
def test_unknown_method(llm):
    with pytest.raises(GenerationError, match="json_schema, function_calling, json_mode"):
        llm.with_structured_output(Thing, method="json")


GROUP = "Structured output and tools: habits"


@situation(GROUP, "`include_raw=True`", "`raw`, `parsed` and `parsing_error`")
def test_include_raw(llm, question):
    got = llm.with_structured_output(Thing, include_raw=True).invoke([question])
    assert isinstance(got["parsed"], Thing)
    assert got["parsing_error"] is None
    assert Thing.model_validate_json(got["raw"].text) == got["parsed"]


@situation(GROUP, "`max_tokens` cuts a structured answer", "OutputParserException says to raise it")
def test_cut(llm):
    with pytest.raises(OutputParserException, match="max_tokens"):
        llm.with_structured_output(a(Annotated[str, Field(min_length=200)])).invoke("Hi.", max_tokens=8)


@situation(GROUP, "`json_mode` without a schema", "any JSON object")
def test_json_mode(llm):
    assert isinstance(llm.with_structured_output(method="json_mode").invoke("Hi."), dict)


@situation(GROUP, "`llm.bind(response_format=...) | JsonOutputParser()`", "the JSON, parsed")
def test_response_format(llm):
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    bound = llm.bind(response_format={"type": "json_schema", "json_schema": {"name": "t", "schema": schema}})
    assert (bound | JsonOutputParser()).invoke("Hi.")["n"] in (1, 2)


@situation(GROUP, "`PydanticOutputParser` behind a structured answer", "its instance")
def test_pydantic_parser(llm):
    bound = llm.bind(
        response_format={"type": "json_schema", "json_schema": {"name": "t", "schema": Thing.model_json_schema()}}
    )
    assert isinstance((bound | PydanticOutputParser(pydantic_object=Thing)).invoke("Hi."), Thing)


@situation(GROUP, "`StrOutputParser`", "the text")
def test_str_parser(llm, question):
    assert "white square" in (llm | StrOutputParser()).invoke([question]).lower()


@tool
def look(side: Literal["left", "right"], times: Annotated[int, Field(ge=1, le=3)]) -> str:
    """Look at a side."""
    return f"{side} {times}"


@tool
def secret(side: Literal["left"], user: Annotated[str, InjectedToolArg]) -> str:
    """Look as somebody."""
    return user


@situation(GROUP, "`tool_choice='any'`", "a call whose arguments fit")
def test_any(llm):
    (call,) = llm.bind_tools([look], tool_choice="any").invoke("Look.").tool_calls
    assert look.invoke(call["args"]).split()[0] in ("left", "right")


@situation(GROUP, "`tool_choice` as OpenAI, Anthropic, Google and Bedrock write it", "the same call")
def test_choices(llm):
    forms = [{"type": "function", "function": {"name": "look"}}, {"type": "tool", "name": "look"}, {"type": "any"}, {"tool": {"name": "look"}},
             {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["look"]}}]  # fmt: skip
    calls = [llm.bind_tools([look], tool_choice=form).invoke("Look.").tool_calls[0]["args"] for form in forms]
    assert all(args == calls[0] for args in calls)


@situation(GROUP, "`tool_choice='none'`", "text, as without tools")
def test_none(llm, question):
    assert llm.bind_tools([look], tool_choice="none").invoke([question]).text == llm.invoke([question]).text


@situation(GROUP, "a `tool_choice` that is not bound", "GenerationError names the bound tools")
def test_unbound(llm):
    with pytest.raises(GenerationError, match="look"):
        llm.bind_tools([look], tool_choice="lok")


@situation(GROUP, "a tool with an injected argument", "the model is not told of it, and does not write it")
def test_injected(llm):
    (call,) = llm.bind_tools([secret], tool_choice="any").invoke("Look.").tool_calls
    assert call["args"] == {"side": "left"}


@situation(GROUP, "`parallel_tool_calls=True`", "up to four calls, each of which fits")
def test_parallel(llm):
    answer = llm.bind_tools([look], tool_choice="any", parallel_tool_calls=True).invoke("Look.", max_tokens=200)
    assert 1 <= len(answer.tool_calls) <= 4
    assert all(call["args"]["side"] in ("left", "right") for call in answer.tool_calls)


@situation(GROUP, "a tool whose argument contains itself", "a tree that ends, in `tool_calls`")
def test_recursive_tool(llm):
    def build(root: Node) -> str:
        """Build a tree."""
        return root.name

    (call,) = (
        llm.bind_tools([StructuredTool.from_function(build)], tool_choice="any")
        .invoke("Go.", max_tokens=150)
        .tool_calls
    )
    assert Node.model_validate(call["args"]["root"]).name in ("a", "b")


@situation(GROUP, "a call that `max_tokens` cuts", "is in `invalid_tool_calls`")
def test_cut_call(llm):
    answer = llm.bind_tools([look], tool_choice="any").invoke("Look.", max_tokens=4)
    assert (len(answer.tool_calls), len(answer.invalid_tool_calls)) == (0, 1)


@situation(
    GROUP, "a provider's own tool (`{'type': 'web_search'}`)", "GenerationError: only functions can be called here"
)
def test_server_tool(llm):
    with pytest.raises(GenerationError, match="function"):
        llm.bind_tools([{"type": "web_search_20250305", "name": 3}])


@situation(GROUP, "`strict=True`", "is accepted; answers fit all the same")
def test_strict(llm):
    assert isinstance(llm.with_structured_output(Thing, strict=True).invoke("Hi."), Thing)


@situation(GROUP, "`marked.answers_schema(Literal['white', 'red'])`", "one answer per region")
def test_answers_schema(llm, square):
    schema = square.answers_schema(Literal["white", "red"])
    got = llm.with_structured_output(schema).invoke([square.message("What is the color of {0}?")])
    assert list(got) == ["square"]
    assert got["square"] in ("white", "red")
