"""Bounds around a union or behind a validator: pydantic checks them, and its JSON schema does not say them."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    Field,
    StringConstraints,
    TypeAdapter,
    WithJsonSchema,
)

from langchain_vipllava import ChatVipLlava, GenerationError
from tests.support.careless import CarelessBackend


def same(value: Any) -> Any:
    return value


class Rank(enum.IntEnum):
    LOW = 1
    HIGH = 5


class Judged(BaseModel):
    score: int | float = Field(ge=0, le=1)
    weight: int | float | None = Field(None, gt=0, lt=1)


TYPES: dict[str, tuple[Any, Callable[[Any], bool]]] = {
    "a union": (Annotated[int | float, Field(ge=0, le=1)], lambda value: 0 <= value <= 1),
    "a union without whole numbers": (Annotated[int | float, Field(gt=0, lt=1)], lambda value: 0 < value < 1),
    "a union from a half": (Annotated[int | float, Field(ge=0.5, lt=2.5)], lambda value: 0.5 <= value < 2.5),
    "a union of decimals": (Annotated[decimal.Decimal | int, Field(ge=0, le=1)], lambda value: 0 <= value <= 1),
    "a union of steps": (Annotated[int | float, Field(multiple_of=2, ge=0, le=10)], lambda value: value % 2 == 0),
    "bounds of both": (
        Annotated[Annotated[int, Field(ge=0)] | Annotated[float, Field(le=4)], Field(ge=2, le=5)],
        lambda value: 2 <= value <= (5 if isinstance(value, int) else 4),
    ),
    "behind a validator": (
        Annotated[int, AfterValidator(same), Field(ge=0, le=9, multiple_of=3)],
        lambda value: value in (0, 3, 6, 9),
    ),
    "behind an early validator": (
        Annotated[float, BeforeValidator(float), Field(gt=0, lt=1)],
        lambda value: 0 < value < 1,
    ),
    "in front of it and behind": (
        Annotated[int, Field(ge=0, le=9), AfterValidator(same), Field(ge=3)],
        lambda value: 3 <= value <= 9,
    ),
    "lengths of a union": (
        Annotated[list[Literal[1]] | str, Field(min_length=1, max_length=2)],
        lambda value: 1 <= len(value) <= 2,
    ),
    "a pattern": (Annotated[str, AfterValidator(same), Field(pattern="^ab+$")], lambda value: value[:2] == "ab"),
    "a pattern in words": (
        Annotated[str, BeforeValidator(str.upper), StringConstraints(pattern="^[A-Z]{2}$")],
        lambda value: len(value) == 2,
    ),
    "a pattern of texts among others": (
        Annotated[str | int, Field(pattern="^(a|b)$")],
        lambda value: value in ("a", "b"),
    ),
    "digits behind a validator": (
        Annotated[decimal.Decimal, AfterValidator(same), Field(max_digits=3, decimal_places=1)],
        lambda value: abs(value) < 100 and round(value, 1) == value,
    ),
    "places behind a validator": (
        Annotated[decimal.Decimal, AfterValidator(same), Field(decimal_places=2, ge=0, lt=1)],
        lambda value: 0 <= value < 1 and round(value, 2) == value,
    ),
    "a pattern of a union": (Annotated[str | bytes, Field(pattern="^(a|b)$")], lambda value: value in ("a", "b")),
    "a union with what has no bound": (
        Annotated[int | str | list[bool] | None, Field(ge=1, lt=4)],
        lambda value: value in (None, 1, 2, 3),
    ),
    "a union with listed values": (
        Annotated[Literal[1, 5, "x"] | bool, Field(ge=1, le=3)],
        lambda value: value in (1, True),
    ),
    "a size in bytes": (Annotated[ByteSize, Field(ge=5, le=10)], lambda value: 5 <= value <= 10),
    "bounds at infinity": (
        Annotated[int | float | Literal["x"], Field(ge=3, lt=math.inf)],
        lambda value: value >= 3,
    ),
    "whole numbers at infinity behind a validator": (
        Annotated[int, AfterValidator(same), Field(ge=-math.inf, le=3)],
        lambda value: value <= 3,
    ),
    "a text or null, by hand": (
        Annotated[Any, WithJsonSchema({"type": ["string", "null"], "maxLength": 2})],
        lambda value: value is None or len(value) <= 2,
    ),
    "any value": (Annotated[Any, Field(ge=5, le=10)], lambda value: 5 <= value <= 10),
    "lengths of several types": (
        Annotated[str | list[bool] | dict[Literal["a", "b"], bool] | int, Field(min_length=1, max_length=1)],
        lambda value: len(value) == 1,
    ),
    "fields": (
        Judged,
        lambda value: 0 <= value.score <= 1 and (value.weight is None or 0 < value.weight < 1),
    ),
}


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("name", TYPES)
def test_every_answer_is_within_bounds(name, method):
    schema, fits = TYPES[name]
    llm = ChatVipLlava(backend=CarelessBackend(), max_tokens=200).with_structured_output(schema, method=method)
    values = [llm.invoke("What?") for _ in range(12)]
    assert all(map(fits, values)), values


def test_arguments_of_tools_are_within_bounds():
    llm = ChatVipLlava(backend=CarelessBackend(), max_tokens=200).bind_tools([Judged], tool_choice="any")
    for _ in range(12):
        (call,) = llm.invoke("What?").tool_calls
        assert 0 <= Judged(**call["args"]).score <= 1


def test_a_field_that_is_called_like_a_bound_stays():
    class Limits(BaseModel):
        ge: Literal[1]
        le: Literal[2]

    llm = ChatVipLlava(backend=CarelessBackend(), max_tokens=200)
    assert llm.with_structured_output(Limits).invoke("What?") == Limits(ge=1, le=2)


UNWRITTEN = ("validator", "pattern", "lengths")
"""Words of those whose bounds pydantic does not write, or writes as what they are not."""

PASTED = [name for name in TYPES if not any(word in name for word in UNWRITTEN)]


@pytest.mark.parametrize("name", PASTED)
def test_a_schema_that_pydantic_wrote_keeps_its_bounds(name):
    schema, fits = TYPES[name]
    adapter = TypeAdapter(schema)
    written = {"title": "T", **adapter.json_schema()}
    llm = ChatVipLlava(backend=CarelessBackend(), max_tokens=200).with_structured_output(written)
    for _ in range(12):
        assert fits(adapter.validate_python(llm.invoke("What?")))


@pytest.mark.parametrize(
    "kind",
    [
        Annotated[str, AfterValidator(same), Field(ge=1)],
        Annotated[None, Field(gt=2)],
        Annotated[datetime.date, AfterValidator(same), Field(ge=datetime.date(2020, 1, 1))],
        Annotated[Rank, Field(ge=2)],
        Annotated[int, AfterValidator(same), Field(multiple_of=0)],
        Annotated[Any, WithJsonSchema({"type": ["number", "null"], "ge": 3})],
    ],
)
def test_bounds_that_no_schema_says_are_refused(kind):
    with pytest.raises(GenerationError, match="of a type that has no such bound in JSON schema"):
        ChatVipLlava(backend=CarelessBackend()).with_structured_output(kind)
