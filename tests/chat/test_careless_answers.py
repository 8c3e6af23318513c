"""Schemas of users, answered at random: whatever a form of answers admits, its type takes, in every method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel, ConfigDict, JsonValue, create_model

from langchain_vipllava import ChatVipLlava
from tests.support.careless import CarelessBackend

METHODS = ["json_schema", "function_calling", "json_mode"]
NUMBERS = 20


def careless(**settings):
    return ChatVipLlava(backend=CarelessBackend(), **settings)


def answers(schema, number=NUMBERS, method="json_schema"):
    structured = careless().with_structured_output(schema, method=method)
    return [structured.invoke("What is it?") for _ in range(number)]


def an_object(**properties):
    return {"title": "T", "type": "object", "properties": properties, "required": list(properties)}


def numbers_in(value):
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return [number for part in value for number in numbers_in(part)]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


OPEN = {
    "Any": create_model("M", x=(Any, ...)),
    "dict": create_model("M", x=(dict, ...)),
    "list": create_model("M", x=(list, ...)),
    "a JSON value": JsonValue,
    "further fields": create_model("M", __config__=ConfigDict(extra="allow"), x=(bool, ...)),
    "nothing said": an_object(a={}, b=True, c={"description": "a thing"}),
    "no type": an_object(a={"minLength": 3}),
    "several types": an_object(a={"type": ["number", "object", "array"]}),
    "any object": {"title": "T", "type": "object"},
    "patterns of names": {"type": "object", "patternProperties": {"^a": {}}, "additionalProperties": False},
    "one of its names": {**an_object(a={"$ref": "#/$defs/J"}), "$defs": {"J": {}, "AnyValue": {"type": "null"}}},
}


@pytest.mark.parametrize("method", METHODS[:2])
@pytest.mark.parametrize("name", OPEN)
def test_numbers_of_a_value_that_is_left_open_fit_into_a_float_and_into_64_bits(name, method):
    found = [number for answer in answers(OPEN[name], method=method) for number in numbers_in(answer)]
    assert found
    assert all(abs(number) <= 1e15 for number in found)


def test_any_object_is_no_call_without_arguments():
    schema = {"title": "T", "type": "object"}
    assert any(answers(schema, 20, method="function_calling"))


@pytest.mark.parametrize("method", METHODS)
def test_a_minimum_of_named_properties_is_kept(method):
    number = {"type": "integer", "minimum": 0, "maximum": 9}
    schema = {"title": "T", "type": "object", "properties": {"a": number, "b": number}, "minProperties": 1}
    found = answers(schema, 30, method=method)
    for answer in found:
        jsonschema.validate(answer, schema)
    assert {tuple(answer) for answer in found} == {("a",), ("b",), ("a", "b")}
