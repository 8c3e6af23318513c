"""`answers_schema` of a type: every answer of every region is one that pydantic takes."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal, TypedDict

import pytest
from PIL import Image
from pydantic import (
    BaseModel,
    Field,
    HttpUrl,
    ImportString,
    NaiveDatetime,
    PastDate,
    PostgresDsn,
    TypeAdapter,
    condecimal,
)

from langchain_vipllava import ChatVipLlava, MarkerError, Region, mark
from langchain_vipllava.schemas.typed_dict import readable_type
from tests.support.careless import CarelessBackend


class Worn(TypedDict, total=False):
    since: Annotated[PastDate, "when it was bought"]
    price: Decimal


class Seen(BaseModel):
    kind: Literal["cat", "dog"]
    weight: int | float = Field(gt=0, le=80)


TYPES = {
    "a date and time without zone": NaiveDatetime,
    "a bounded union": Annotated[int | float, Field(ge=1, le=5)],
    "a database": PostgresDsn,
    "a complex number": complex,
    "a past date": PastDate,
    "a decimal": Decimal,
    "a decimal of three digits": condecimal(max_digits=3, decimal_places=1),
    "numbers as names": dict[int, bool],
    "a date within bounds": Annotated[date, Field(ge=date(2020, 1, 1), lt=date(2021, 1, 1))],
    "an address": HttpUrl,
    "a TypedDict": Worn,
    "a class": Seen,
}


@pytest.fixture(scope="module")
def marked():
    regions = [Region(box=(10, 10, 90, 90), id="cat-1"), Region(box=(150, 150, 250, 250), id="dog-1")]
    return mark(Image.new("RGB", (336, 336)), regions)


@pytest.mark.parametrize("name", TYPES)
def test_the_type_takes_the_answer_of_every_region(name, marked):
    adapter = TypeAdapter(readable_type(TYPES[name]))
    llm = ChatVipLlava(backend=CarelessBackend(), max_tokens=400)
    llm = llm.with_structured_output(marked.answers_schema(TYPES[name]))
    for _ in range(15):
        answers = llm.invoke("What?")
        assert list(answers) == ["cat-1", "dog-1"]
        for answer in answers.values():
            adapter.validate_json(json.dumps(answer))


def test_a_type_whose_values_no_schema_holds_is_refused(marked):
    with pytest.raises(MarkerError, match="JSON holds no Python object"):
        marked.answers_schema(ImportString)
