"""Schemas in the words of OpenAPI, Google and older drafts ask for the same answers as those of draft 2020-12."""

from __future__ import annotations

import jsonschema
import pytest
from langchain_core.messages import HumanMessage

from langchain_vipllava import ChatVipLlava, GenerationError
from tests.support.careless import CarelessBackend

DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
WORD = {"type": "string", "pattern": "^[a-c]{1,3}$"}
NULL = {"type": "null"}


def an_object(required=None, **properties):
    required = list(properties) if required is None else required
    return {"title": "T", "type": "object", "properties": properties, "required": required}


def with_defs(schema, **definitions):
    return {**schema, "$defs": definitions}


SAME = {
    "nullable": (an_object(a={**DIGIT, "nullable": True}), an_object(a={**DIGIT, "type": ["integer", "null"]})),
    "nullable: false": (an_object(a={**DIGIT, "nullable": False}), an_object(a=DIGIT)),
    "a nullable enum": (
        an_object(a={"type": "string", "enum": ["x", "y"], "nullable": True}), an_object(a={"enum": ["x", "y", None]})),
    "a nullable constant": (an_object(a={"const": "x", "nullable": True}), an_object(a={"enum": ["x", None]})),
    "a nullable reference": (
        with_defs(an_object(a={"$ref": "#/$defs/D", "nullable": True}), D=DIGIT),
        an_object(a={"anyOf": [DIGIT, NULL]})),
    "nullable options": (
        an_object(a={"anyOf": [DIGIT, WORD], "nullable": True}), an_object(a={"anyOf": [DIGIT, WORD, NULL]})),
    "nullable allOf": (
        an_object(a={"allOf": [DIGIT], "nullable": True}), an_object(a={"anyOf": [DIGIT, NULL]})),
    "null as YAML reads it": (
        an_object(a={**DIGIT, "type": ["integer", None]}), an_object(a={**DIGIT, "type": ["integer", "null"]})),
    "Google's types": (
        {**an_object(a={**WORD, "type": "STRING"}, b={**DIGIT, "type": "INTEGER"}), "type": "OBJECT"},
        an_object(a=WORD, b=DIGIT)),
    "Google's order": (
        {**an_object(a=WORD, b=DIGIT), "propertyOrdering": ["b", "a"]}, an_object(b=DIGIT, a=WORD)),
    "Google's format of an enum": (
        an_object(a={"type": "STRING", "format": "enum", "enum": ["x", "y"]}), an_object(a={"enum": ["x", "y"]})),
    "draft 4's address": (
        {"$schema": "http://json-schema.org/draft-04/schema#", "id": "http://a.b/c", "definitions": {"D": DIGIT},
         **an_object(id={"$ref": "#/definitions/D"})},
        an_object(id=DIGIT)),
    "int32": (
        an_object(a={"type": "integer", "format": "int32"}),
        an_object(a={"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1})),
    "uint8 above 250": (
        an_object(a={"type": "integer", "format": "uint8", "minimum": 250}),
        an_object(a={"type": "integer", "minimum": 250, "maximum": 255})),
    "draft 7's list of items": (
        an_object(a={"type": "array", "items": [DIGIT, WORD], "additionalItems": False, "minItems": 2}),
        an_object(a={"type": "array", "prefixItems": [DIGIT, WORD], "items": False, "minItems": 2})),
    "draft 7's further items": (
        an_object(a={"type": "array", "items": [WORD], "additionalItems": DIGIT, "minItems": 2, "maxItems": 3}),
        an_object(a={"type": "array", "prefixItems": [WORD], "items": DIGIT, "minItems": 2, "maxItems": 3})),
    "draft 4's exclusive bounds": (
        an_object(a={"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1,
                     "exclusiveMaximum": False}),
        an_object(a={"type": "number", "exclusiveMinimum": 0, "maximum": 1})),
    "required in a property": (
        an_object([], a={**DIGIT, "required": True}, b={**DIGIT, "required": False}),
        an_object(["a"], a=DIGIT, b=DIGIT)),
    "required in a nested property": (
        an_object([], a={**an_object([], b={**DIGIT, "required": True}), "required": True}),
        an_object(["a"], a=an_object(["b"], b=DIGIT))),
    "a discriminator that nothing requires": (
        {"title": "T", "oneOf": [an_object([], k={"const": "a"}, n=DIGIT), an_object([], k={"const": "b"}, n=DIGIT)],
         "discriminator": {"propertyName": "k"}},
        {"title": "T", "anyOf": [an_object(["k"], k={"const": "a"}, n=DIGIT),
                                 an_object(["k"], k={"const": "b"}, n=DIGIT)]}),
    "$anchor": (
        with_defs(an_object(a={"$ref": "#digit"}), D={"$anchor": "digit", **DIGIT}), an_object(a=DIGIT)),
    "$id": (
        {**with_defs(an_object(a={"$ref": "digit"}), D={"$id": "digit", **DIGIT}), "$id": "https://example.com/thing"},
        an_object(a=DIGIT)),
    "a document inside another": (
        with_defs(an_object(a={"$ref": "https://example.com/inner"}),
                  Inner={"$id": "https://example.com/inner", "$ref": "#/$defs/D", "$defs": {"D": DIGIT}}),
        an_object(a=DIGIT)),
    "a definition with a space in its name": (
        with_defs(an_object(a={"$ref": "#/$defs/a digit"}), **{"a digit": DIGIT}), an_object(a=DIGIT)),
}  # fmt: skip


def careless():
    return ChatVipLlava(backend=CarelessBackend())


def told(schema):
    bound = careless().with_structured_output(schema).first
    return bound.bound._prepare([HumanMessage("Which?")], None, bound.kwargs)[1].output.question_suffix


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("name", SAME)
def test_a_schema_of_another_dialect_admits_the_same_answers(name, method):
    dialect, same = SAME[name]
    structured, plain = (careless().with_structured_output(schema, method=method) for schema in SAME[name])
    for _ in range(15):
        answer = structured.invoke("Which?")
        assert answer == plain.invoke("Which?")
        jsonschema.validate(answer, same)
    assert told(dialect) == told(same)


@pytest.mark.parametrize(
    ("given", "words"),
    [("int", "did you mean 'integer'"), (str, "did you mean 'string'"), ("dict", "did you mean 'object'"),
     ("any", "Leave it out")],
)  # fmt: skip
def test_an_unknown_type_is_refused_with_the_one_that_is_meant(given, words):
    with pytest.raises(GenerationError, match=words):
        careless().with_structured_output(an_object(a={"type": given}))


def test_tools_in_the_words_of_google_take_arguments():
    look = {"name": "look", "description": "Look.", "parameters": {
        "type": "OBJECT", "properties": {"where": {"type": "STRING", "enum": ["left", "right"], "nullable": True}},
        "required": ["where"]}}  # fmt: skip
    llm = careless().bind_tools([look], tool_choice="any")
    found = {llm.invoke("Where?").tool_calls[0]["args"]["where"] for _ in range(20)}
    assert found == {"left", "right", None}


def test_options_that_only_require_properties_leave_them_in_the_question():
    schema = {**an_object([], a=DIGIT, b=DIGIT), "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    assert told(schema) == '\nAnswer in JSON: {"a"?: whole number, "b"?: whole number}'
