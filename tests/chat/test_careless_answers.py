"""Schemas of users, answered at random: whatever a form of answers admits, its type takes, in every method."""

from __future__ import annotations

import dataclasses
import decimal
import enum
import inspect
import json
import re
from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Mapping
from datetime import date, timedelta
from fractions import Fraction
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from langchain_core.exceptions import OutputParserException
from pydantic import (
    AliasChoices,
    AliasPath,
    AnyUrl,
    Base64Bytes,
    BaseModel,
    ByteSize,
    ConfigDict,
    Discriminator,
    Field,
    HttpUrl,
    ImportString,
    JsonValue,
    StringConstraints,
    Tag,
    TypeAdapter,
    UrlConstraints,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.json_schema import GenerateJsonSchema

from langchain_vipllava import ChatVipLlava, GenerationError
from langchain_vipllava.schemas.narrow_schema import MAX_NUMBER
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


SCALARS = {
    "a bounded number": an_object(a={"allOf": [{"type": "number"}, {"minimum": 0}]}),
    "steps of a whole number": an_object(a={"type": "integer", "allOf": [{"minimum": 0}, {"multipleOf": 2}]}),
    "a text of two patterns": an_object(a={"allOf": [{"type": "string", "maxLength": 3}, {"pattern": "^b"}]}),
    "two objects": {
        "title": "T",
        "allOf": [an_object(a={"type": "number"}), an_object(a={"type": "number", "minimum": 5})],
    },
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SCALARS)
def test_beside_a_value_that_several_schemas_describe_no_name_is_invented(name, method):
    for answer in answers(SCALARS[name], method=method):
        assert answer.keys() == {"a"}
        jsonschema.validate(answer, SCALARS[name])


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


class Paths(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: Literal["n"] = Field(validation_alias="Name")
    first: int = Field(validation_alias=AliasPath("size", 0))
    third: Literal[3] = Field(validation_alias=AliasPath("size", 2))
    deep: bool = Field(validation_alias=AliasPath("a", "b", "c"))
    beside: Literal["q"] = Field(validation_alias=AliasPath("a", "d"))
    maybe: int = Field(-1, validation_alias=AliasPath("more", "maybe"))
    either: int = Field(validation_alias=AliasChoices(AliasPath("a", "e"), "either"))


@dataclasses.dataclass
class Measured:
    size: Annotated[Literal[1, 2], Field(validation_alias=AliasPath("q", "r"))]
    unit: Literal["m"] = "m"


BY_NAME = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=False)


class ByName(BaseModel):
    model_config = BY_NAME
    size: Literal[1, 2] = Field(alias="Size")


@pydantic_dataclass(config=BY_NAME)
class ByNameToo:
    size: Literal[1, 2] = Field(alias="Size")


def told_apart(value):
    return "number" if isinstance(value, int) else "text"


def stripped(**lengths):
    return Annotated[str, StringConstraints(strip_whitespace=True, **lengths)]


def a_model(kind, **config):
    return create_model("M", __config__=ConfigDict(**config), x=(kind, ...))


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"


class Puppy(BaseModel):
    kind: Literal["dog"] = "dog"
    age: Literal[0] = 0


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    age: Literal[1, 2] = 1


Dogs = Annotated[Puppy | Dog, Field(discriminator="age")]


class Owner(BaseModel):
    pet: Annotated[Cat | Dogs, Field(discriminator="kind")]
    others: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = Field(min_length=1, max_length=2)


class Tone(enum.Enum):
    LOUD = 1
    NOISY = 1
    SOFT = "soft"


TAKEN = {
    "fields read from paths": Paths,
    "a dataclass read from paths": Measured,
    "decimals without a digit before the point": a_model(
        Annotated[decimal.Decimal, Field(max_digits=2, decimal_places=2)]
    ),
    "decimals of fewer digits than their bounds": a_model(
        Annotated[decimal.Decimal, Field(max_digits=2, ge=0, le=1000)]
    ),
    "decimals as databases hold them": a_model(Annotated[decimal.Decimal, Field(max_digits=38, decimal_places=2)]),
    "decimals of any digits": a_model(Annotated[decimal.Decimal, Field(max_digits=400)]),
    "more places than digits": a_model(Annotated[decimal.Decimal, Field(max_digits=2, decimal_places=4, ge=0)]),
    "unions told apart by fields with defaults": Owner,
    "a union that a function tells apart": a_model(
        Annotated[Annotated[int, Tag("number")] | Annotated[str, Tag("text")], Discriminator(told_apart)]
    ),
    "stripped, one or more": a_model(stripped(min_length=1)),
    "stripped, exactly one": a_model(stripped(min_length=1, max_length=1)),
    "stripped, two or three": a_model(stripped(min_length=2, max_length=3)),
    "stripped by the class": a_model(Annotated[str, Field(min_length=2)], str_strip_whitespace=True, str_max_length=3),
    "lengths of the class": a_model(str, str_min_length=2, str_max_length=3),
    "bytes of a length": a_model(Annotated[bytes, Field(min_length=2, max_length=5)]),
    "bytes in base64": a_model(bytes, val_json_bytes="base64"),
    "bytes in hex": a_model(Annotated[bytes, Field(max_length=3)], val_json_bytes="hex"),
    "multiples of 0.1": a_model(Annotated[float, Field(multiple_of=0.1)]),
    "multiples of 0.3 above 0": a_model(Annotated[float, Field(multiple_of=0.3, gt=0)]),
    "multiples of 0.07": a_model(Annotated[float, Field(multiple_of=0.07, ge=0, le=700)]),
    "decimals of steps of 0.0007": a_model(Annotated[decimal.Decimal, Field(multiple_of=decimal.Decimal("0.0007"))]),
    "a size in bytes": a_model(ByteSize),
    "what is hashable": a_model(set[Hashable]),
    "a union of numbers within bounds": a_model(Annotated[int | float, Field(ge=1, lt=5)]),
    "a union of bounded numbers": a_model(Annotated[Annotated[int, Field(ge=3)] | float, Field(gt=1, le=9)]),
    "a union of texts and lists": a_model(Annotated[str | list[bool], Field(min_length=2, max_length=2)]),
    "a deque of a length": a_model(Annotated[deque[bool], Field(max_length=1)]),
    "a counter of a length": a_model(Annotated[Counter[Literal["a", "b"]], Field(max_length=1)]),
    "a defaultdict of a length": a_model(Annotated[defaultdict[Literal["a", "b"], bool], Field(max_length=1)]),
    "base64 of a length": a_model(Annotated[Base64Bytes, Field(min_length=5, max_length=7)]),
    "bytes in base64 of a length": a_model(
        Annotated[bytes, Field(min_length=2, max_length=5)], val_json_bytes="base64"
    ),
    "fields read by their names alone": ByName,
    "fields of a dataclass read by their names alone": ByNameToo,
    "durations written as numbers": a_model(timedelta, ser_json_timedelta="float"),
    "short addresses": a_model(Annotated[AnyUrl, UrlConstraints(max_length=12, allowed_schemes=["https"])]),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", TAKEN)
def test_a_type_takes_every_answer_that_its_schema_admits(name, method):
    for answer in answers(TAKEN[name], method=method):
        assert isinstance(answer, TAKEN[name])


def test_fields_read_from_paths_get_what_stands_there():
    found = answers(Paths)
    assert all((answer.third, answer.beside) == (3, "q") for answer in found)
    assert {answer.deep for answer in found} == {True, False}
    assert len({answer.first for answer in found}) > 1


def test_a_class_that_reads_fields_by_their_names_too_is_asked_for_these():
    class Named(Paths):
        model_config = ConfigDict(extra="forbid", populate_by_name=True)

    assert {answer.third for answer in answers(Named, 5)} == {3}


def test_a_text_is_ascii_where_its_type_says_so():
    if "ascii_only" not in inspect.signature(StringConstraints).parameters:
        pytest.skip("pydantic before 2.14")
    constraints = StringConstraints(ascii_only=True, strip_whitespace=True, min_length=2, max_length=9)
    found = [answer.x for answer in answers(a_model(Annotated[str, constraints]))]
    assert all(text.isascii() and 2 <= len(text) <= 9 for text in found)


def test_two_names_of_a_member_are_one_value():
    prompt = careless().with_structured_output(a_model(Tone)).first
    schema = prompt.kwargs["response_format"]["json_schema"]["schema"]
    assert schema["$defs"]["Tone"]["enum"] == [1, "soft"]


def test_a_python_object_by_its_name_is_refused():
    with pytest.raises(GenerationError, match="must not import"):
        careless().with_structured_output(a_model(ImportString))


@pytest.mark.parametrize(
    ("kind", "error_text"),
    [
        (Annotated[timedelta, Field(multiple_of=timedelta(minutes=5))], "multiple_of=0:05:00 of a timedelta"),
        (Annotated[date | timedelta, Field(ge=date(2020, 1, 1))], "ge='2020-01-01' of a type that has no such bound"),
        (Literal["a", b"x"], r"Literal\[b'x'\]: JSON holds no bytes"),
    ],
)
def test_a_type_whose_values_no_schema_holds_is_refused(kind, error_text):
    with pytest.raises(GenerationError, match=error_text):
        careless().with_structured_output(a_model(kind))


def test_the_host_of_an_address_stands_for_no_other_alphabet():
    prompt = careless().with_structured_output(a_model(HttpUrl)).first
    pattern = prompt.kwargs["response_format"]["json_schema"]["schema"]["properties"]["x"]["pattern"]
    assert re.fullmatch(pattern, "https://ab-c.org/x")
    with pytest.raises(ValidationError):
        TypeAdapter(HttpUrl).validate_python("https://xn--a.org")
    assert not re.fullmatch(pattern, "https://xn--a.org")


@pytest.mark.parametrize("step", ["0.3", "0.05", "7"])
def test_the_largest_steps_of_a_decimal_are_exact_in_the_arguments_of_a_call(step):
    kind = a_model(Annotated[decimal.Decimal, Field(multiple_of=decimal.Decimal(step))])
    kwargs = careless().with_structured_output(kind, method="function_calling").first.kwargs
    number = kwargs["tools"][0]["function"]["parameters"]["properties"]["x"]
    largest = min(decimal.Decimal(str(number.get("maximum", MAX_NUMBER))), decimal.Decimal(MAX_NUMBER))
    for steps in range(50):
        value = (largest // decimal.Decimal(step) - steps) * decimal.Decimal(step)
        assert decimal.Decimal(json.dumps(float(value))) == value


def test_a_fraction_keeps_its_bounds():
    bounded = a_model(Annotated[Fraction, Field(ge=1, le=3)])
    if not hasattr(GenerateJsonSchema, "fraction_schema"):  # pydantic 2.11 writes it as a text
        with pytest.raises(GenerationError, match="of a type that has no such bound"):
            answers(bounded)
        return
    assert all(1 <= answer.x <= 3 for answer in answers(bounded))


class Careful(BaseModel):
    """A validator that reads both fields, and fails on a part of an answer with an error of its own."""

    low: Literal[1, 2]
    high: Literal[3, 4]

    @model_validator(mode="before")
    @classmethod
    def _in_order(cls, fields):
        if fields["low"] > fields["high"]:
            raise ValueError("not in order")
        return fields


class Faulty(BaseModel):
    size: Literal[1, 2]

    @field_validator("size")
    @classmethod
    def _look_up(cls, size):
        return {}[size]


@pytest.mark.parametrize("method", METHODS)
def test_a_validator_that_fails_on_a_part_of_an_answer_does_not_end_its_stream(method):
    streamed, whole = (careless().with_structured_output(Careful, method=method) for _ in range(2))
    for _ in range(5):
        assert list(streamed.stream("Which?"))[-1] == whole.invoke("Which?")


@pytest.mark.parametrize("method", METHODS)
def test_any_error_of_a_validator_is_one_of_the_parser(method):
    structured = careless().with_structured_output(Faulty, method=method)
    with pytest.raises(OutputParserException, match=r"KeyError.*\"size\":"):
        structured.invoke("Which?")
    with pytest.raises(OutputParserException, match="KeyError"):
        list(structured.stream("Which?"))


FORMATS = {
    "email": r"[\w.+-]+@[A-Za-z0-9.-]+\.[a-z]+",
    "hostname": r"[A-Za-z0-9.-]+",
    "uuid": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "date-time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)",
}


@pytest.mark.parametrize("lengths", [{}, {"minLength": 9, "maxLength": 40}], ids=["any length", "of a length"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_text_with_a_format_is_one_and_ends(name, lengths):
    schema = an_object(a={"type": "string", "format": name, **lengths})
    for answer in answers(schema):
        assert re.fullmatch(FORMATS[name], answer["a"])
        jsonschema.validate(answer, schema)


def test_a_pattern_that_no_grammar_enforces_is_named_with_the_reason():
    with pytest.raises(GenerationError, match=r"\^\(\?=a\)b.*look-around"):
        careless().with_structured_output(an_object(a={"type": "string", "pattern": "^(?=a)b"}))


def test_a_schema_as_text_is_refused():
    with pytest.raises(GenerationError, match=r"json\.loads"):
        careless().with_structured_output('{"type": "object"}')
