"""`TypedDict`s as forms of answers and as tools, in the notation of Python and in LangChain's."""

from __future__ import annotations

import datetime
import typing
import warnings
from typing import Annotated, Any, Literal, NotRequired, Required

import pytest
import typing_extensions
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from typing_extensions import ReadOnly

from langchain_vipllava import ChatVipLlava


class Perhaps(typing.TypedDict):
    """Thing."""

    a: Literal["x"]
    b: NotRequired[Literal["y"]]


class Partial(typing_extensions.TypedDict, total=False):
    a: Required[Literal["x"]]
    c: bool


class Fixed(typing_extensions.TypedDict):
    a: ReadOnly[Literal["x"]]


class Kid(typing.TypedDict):
    name: Literal["a"]
    kids: Annotated[list[Kid], Field(max_length=1)]


class Bounded(typing.TypedDict):
    a: Annotated[int, Field(ge=3, le=5)]
    when: datetime.date
    keys: dict[Literal["k"], int]


class Part(BaseModel):
    v: Literal["p"]


class Whole(typing.TypedDict):
    part: Part
    inner: Annotated[list[Perhaps], Field(min_length=1, max_length=1)]


class Described(typing.TypedDict):
    """What is marked."""

    color: Annotated[Literal["red"], ..., "its color"]
    size: Annotated[int | None, None, "how large"]
    near: Annotated[Literal["x"], "what is near"]
    inner: Annotated[Perhaps, ...]


def is_kid(value: Any) -> bool:
    return value["name"] == "a" and all(map(is_kid, value["kids"]))


CASES: dict[str, tuple[Any, typing.Callable[[Any], bool]]] = {
    "NotRequired": (Perhaps, lambda v: v["a"] == "x" and v.get("b", "y") == "y" and v.keys() <= {"a", "b"}),
    "Required": (Partial, lambda v: v["a"] == "x" and v.get("c", True) in (True, False)),
    "ReadOnly": (Fixed, lambda v: v == {"a": "x"}),
    "itself": (Kid, is_kid),
    "bounds": (Bounded, lambda v: 3 <= v["a"] <= 5 and v["keys"].keys() <= {"k"}),
    "classes": (Whole, lambda v: v["inner"][0]["a"] == "x"),
    "LangChain": (Described, lambda v: v["color"] == "red" and v["near"] == "x" and v["inner"]["a"] == "x"),
}


@pytest.fixture(scope="module")
def llm():
    return ChatVipLlava(model="bundled", max_tokens=160)


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("name", CASES)
def test_a_typed_dict_is_a_schema_in_every_method(llm, name, method):
    schema, fits = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chain = llm.with_structured_output(schema, method=method)
        answers = [chain.invoke("What is it?", temperature=1, seed=seed) for seed in range(2)]
    assert all(map(fits, answers)), answers
    if name == "bounds":
        assert isinstance(answers[0]["when"], datetime.date)
    if name == "classes":
        assert answers[0]["part"] == Part(v="p")


@pytest.mark.parametrize("name", CASES)
def test_a_typed_dict_is_a_tool(llm, name):
    schema, fits = CASES[name]
    answer = llm.bind_tools([schema], tool_choice="any").invoke("What is it?", temperature=1, seed=1)
    assert answer.tool_calls[0]["name"] == schema.__name__
    assert fits(answer.tool_calls[0]["args"])


def test_a_typed_dict_inside_a_type_is_read_too(llm):
    answers = llm.with_structured_output(Annotated[list[Described], Field(min_length=1, max_length=1)]).invoke("What?")
    assert answers[0]["color"] == "red"


def schema_of(bound: Any) -> Any:
    return bound.first.kwargs["response_format"]["json_schema"]["schema"]


def test_annotations_of_langchain_describe_fields_and_say_their_defaults(llm):
    chain = llm.with_structured_output(Described)
    schema = schema_of(chain)
    assert schema["description"] == "What is marked."
    assert schema["required"] == ["color", "near", "inner"]
    described = {name: field.get("description") for name, field in schema["properties"].items()}
    assert described == {"color": "its color", "size": "how large", "near": "what is near", "inner": None}
    tool = llm.bind_tools([Described]).kwargs["tools"][0]["function"]
    assert tool["description"] == "What is marked."
    assert tool["parameters"]["properties"]["color"]["description"] == "its color"
    read = chain.last.answer.validate
    assert read('{"color": "red", "near": "x", "inner": {"a": "x"}}')["size"] is None
    with pytest.raises(ValidationError, match="color"):
        read('{"near": "x", "inner": {"a": "x"}}')


def test_fields_and_requirements_are_those_that_pydantic_reads(llm):
    """`typing_extensions.TypedDict` is read by pydantic alone: ours is compared with it."""

    class Same(typing_extensions.TypedDict):
        """Thing."""

        a: Literal["x"]
        b: NotRequired[Literal["y"]]

    expected = {**TypeAdapter(Same).json_schema(), "title": "Perhaps"}
    assert schema_of(llm.with_structured_output(Perhaps)) == expected
