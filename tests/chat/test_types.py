"""Types of answers: every value that a grammar admits parses as its type, and what is no type is refused."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import ipaddress
import pathlib
import random
import uuid
import zoneinfo
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal, Optional, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import (
    UUID4,
    AnyUrl,
    AwareDatetime,
    Base64Bytes,
    Base64Str,
    BaseModel,
    ConfigDict,
    Field,
    FutureDate,
    HttpUrl,
    IPvAnyAddress,
    Json,
    NaiveDatetime,
    PastDate,
    PostgresDsn,
    RootModel,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    create_model,
)

from langchain_vipllava import ChatVipLlava, GenerationError
from langchain_vipllava.chat.settings import CallSettings
from langchain_vipllava.prompt.conversation import Conversation, Turn


class Shape(enum.Enum):
    CIRCLE = "circle"
    SQUARE = "square"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Node(BaseModel):
    name: Literal["a", "b"]
    children: list[Node] = Field(default=[], max_length=2)


class Tags(RootModel[list[Literal["x", "y"]]]):
    pass


class Count(BaseModel):
    count: int = Field(ge=0, le=9)


class Named(BaseModel):
    name: Literal["n"]


class Point(TypedDict):
    x: int
    y: int


@pytest.fixture(scope="module")
def llm():
    return ChatVipLlava(model="bundled", max_tokens=120)


TYPES: dict[str, Any] = {
    "float": float,
    "int": int,
    "bool": bool,
    "str": Annotated[str, Field(max_length=12)],
    "positive": Annotated[int, Field(gt=0)],
    "bounded float": Annotated[float, Field(gt=0, lt=1)],
    "large int": Annotated[int, Field(ge=10**16, le=10**17)],
    "money": Annotated[decimal.Decimal, Field(max_digits=6, decimal_places=2)],
    "decimal": decimal.Decimal,
    "datetime": datetime.datetime,
    "date": datetime.date,
    "time": datetime.time,
    "duration": datetime.timedelta,
    "aware": AwareDatetime,
    "naive": NaiveDatetime,
    "past": PastDate,
    "future": FutureDate,
    "uuid": uuid.UUID,
    "uuid4": UUID4,
    "ip": ipaddress.IPv4Address,
    "any ip": IPvAnyAddress,
    "network": ipaddress.IPv4Network,
    "path": pathlib.Path,
    "bytes": bytes,
    "secret": SecretStr,
    "base64 bytes": Base64Bytes,
    "base64 text": Base64Str,
    "url": AnyUrl,
    "http url": HttpUrl,
    "json": Json,
    "set": set[Literal["a", "b"]],
    "frozenset": frozenset[Annotated[int, Field(ge=0, le=3)]],
    "enum": Shape,
    "int enum": Level,
    "literal": Literal[1, "two", None],
    "list": Annotated[list[Annotated[float, Field(ge=0, le=9)]], Field(max_length=3)],
    "tuple": tuple[bool, Literal["l", "r"]],
    "enum keys": dict[Shape, bool],
    "literal keys": dict[Literal["a"], bool],
    "optional": float | None,
    "date within": Annotated[datetime.date, Field(ge=datetime.date(2024, 1, 15), lt=datetime.date(2024, 12, 1))],
    "past within": Annotated[PastDate, Field(gt=datetime.date(2000, 6, 6))],
    "date-time before": Annotated[datetime.datetime, Field(lt=datetime.datetime(1900, 1, 1))],
    "two hours in UTC": Annotated[
        datetime.datetime,
        Field(
            ge=datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC),
            lt=datetime.datetime(2000, 1, 1, 2, tzinfo=datetime.UTC),
        ),
    ],
    "office hours": Annotated[datetime.time, Field(ge=datetime.time(9), lt=datetime.time(17, 30))],
    "within an hour": Annotated[datetime.timedelta, Field(le=datetime.timedelta(hours=1))],
    "above 400 days": Annotated[datetime.timedelta, Field(gt=datetime.timedelta(days=400))],
    "int keys": dict[int, Literal[0]],
    "bounded int keys": dict[Annotated[int, Field(ge=3, le=17)], Literal[0]],
    "bool keys": dict[bool, Literal[0]],
    "float keys": dict[float, Literal[0]],
    "date keys": dict[datetime.date, Literal[0]],
    "pattern keys": dict[Annotated[str, StringConstraints(pattern="^[a-z]{2}$")], Literal[0]],
    "address keys": dict[ipaddress.IPv4Address, Literal[0]],
    "counter": collections.Counter[int],
    "IPv6 network": ipaddress.IPv6Network,
    "IPv6 interface": ipaddress.IPv6Interface,
    "complex": complex,
    "fraction": fractions.Fraction,
    "time zone": zoneinfo.ZoneInfo,
    "database": PostgresDsn,
    "union": Count | Named,
    "node": Node,
    "tags": Tags,
}


def model_of(name):
    return create_model("M", __config__=ConfigDict(strict="union" not in name), x=(TYPES[name], ...))


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("name", TYPES)
def test_a_field_of_every_common_type_parses_as_its_type(llm, name, temperature):
    answers = llm.with_structured_output(model_of(name), include_raw=True)
    for seed in range(3 if temperature else 1):
        answer = answers.invoke("What is it?", temperature=temperature, seed=seed)
        assert answer["parsing_error"] is None, answer["raw"].text
        value = answer["parsed"].x
        if isinstance(value, float):
            assert abs(value) <= 1e15
        if isinstance(value, int):
            assert abs(value) < 2**63


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("name", ["enum", "int enum", "literal", "bool", "list", "tuple", "union", "node", "tags",
                                  "enum keys", "date", "optional"])  # fmt: skip
def test_any_type_is_a_schema_in_every_method(llm, name, method):
    value = llm.with_structured_output(TYPES[name], method=method).invoke("What is it?")
    assert value == TypeAdapter(TYPES[name]).validate_python(value)
    if name == "enum":
        assert isinstance(value, Shape)
    if name in ("node", "tags"):
        assert isinstance(value, TYPES[name])


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_calls_have_the_whole_schema_that_answers_have(llm, method):
    enum_schema = {"title": "T", "enum": ["x", "y"]}
    assert llm.with_structured_output(enum_schema, method=method).invoke("Which?") in ("x", "y")
    wrapper = {
        "name": "thing",
        "strict": True,
        "schema": {"type": "object", "properties": {"a": {"enum": ["p", "q"]}}, "required": ["a"]},
    }
    for schema in (wrapper, {"type": "json_schema", "json_schema": wrapper}):
        assert llm.with_structured_output(schema, method=method).invoke("Which?")["a"] in ("p", "q")
    assert llm.with_structured_output(Point, method=method).invoke("Where?").keys() == {"x", "y"}


def test_tools_keep_arguments_that_contain_themselves(llm):
    @tool
    def plant(tree: Node, times: Annotated[int, Field(ge=1, le=3)]) -> str:
        """Plant a tree."""
        return ""

    def plant_too(tree: Node, times: int) -> str:
        """Plant a tree."""
        return ""

    for bound in (plant, plant_too):
        for seed in range(3):
            answer = llm.bind_tools([bound], tool_choice="any").invoke("Plant one.", temperature=1, seed=seed)
            (call,) = answer.tool_calls
            assert isinstance(Node.model_validate(call["args"]["tree"]), Node)
            assert isinstance(call["args"]["times"], int)


@pytest.mark.parametrize(
    ("schema", "error_text"),
    [
        ({"shape": {"type": "string"}}, "no keyword of JSON schema"),
        ({"title": "T", "type": "object", "propertys": {"a": {"type": "string"}}}, "did you mean 'properties'"),
        ({"type": "object", "properties": {"a": {"type": "string", "maxlength": 3}}}, "did you mean 'maxLength'"),
        ({"title": "T", "type": "integer", "minimum": 10**20, "maximum": 10**21}, "within 64 bits"),
        (Json[list[int]], "JSON of a schema"),
        (Annotated[datetime.date, Field(ge=datetime.date(2024, 1, 2), le=datetime.date(2024, 1, 1))], "expected wider"),
        (dict[tuple[int, int], int], "or a list of pairs"),
        (dict[Literal[1, 2], int], "or a list of pairs"),
        (dict[int | None, int], "or a list of pairs"),
        (dict[AnyUrl, int], "propertyNames with format"),
        (dict[Annotated[str, StringConstraints(pattern="a", max_length=3)], int], "the length in the pattern"),
        (Literal[Shape.CIRCLE], r"Literal\['circle'\]"),
        (enum.Enum("Pair", {"a": (1, 2)}), "which JSON does not hold"),
        (type[int], "JSON holds no class"),
        (Annotated[decimal.Decimal, Field(decimal_places=12)], "at most 10"),
        (create_model("C", a=(int, ...), run=(Callable[[int], int], ...)), "field 'run' of C.*CallableSchema"),
        (
            {"title": "T", "type": "object", "properties": {"a": {"enum": []}}, "required": ["a"]},
            "generation: Unsatisfiable schema: required property 'a'",
        ),
        ({"title": "T", "type": "number", "multipleOf": 1e-12}, "more than 10 decimal places"),
        ({"title": "T", "oneOf": [{"type": "string"}, {"enum": ["a"]}]}, "several options of a oneOf"),
        ({"title": "T", "type": "object", "propertyNames": {"anyOf": [{"enum": ["a"]}]}}, "propertyNames with anyOf"),
        (
            {
                "$ref": "#/$defs/a~1b",
                "$defs": {"a/b": {"type": "object", "properties": {"n": {"$ref": "#/$defs/a~1b"}}, "required": ["n"]}},
            },
            "again and again",
        ),
        (
            {"anyOf": [{"type": "object", "properties": {"n": {"$ref": "#/anyOf/0"}}, "required": ["n"]}]},
            "again and again",
        ),
        (object(), "expected a pydantic class"),
        ("Thing", "is a text; expected a type"),
        (5, "expected a pydantic class"),
    ],
)
def test_what_is_no_schema_is_refused_when_it_is_bound(llm, schema, error_text):
    for method in ("json_schema", "function_calling", "json_mode"):
        with pytest.raises(GenerationError, match=error_text) as caught:
            llm.with_structured_output(schema, method=method)
        assert len(str(caught.value)) < 400


class Described(BaseModel):
    color: Literal["red", "blue"] = Field(description="of the object")
    seen: datetime.date
    weight: float | None
    tags: list[str] = []
    counts: dict[str, int]


def test_the_question_tells_the_schema_unless_it_must_not(llm):
    bound = llm.with_structured_output(Described).first
    written = llm.render_prompt("What is it?")
    assert written == "USER: What is it?ASSISTANT:"
    line = (
        'Answer in JSON: {"color" (of the object): red | blue, "seen": date, "weight": number | null, '
        '"tags"?: [text, ...], "counts": {text: whole number, ...}}'
    )
    request = CallSettings.read(llm, None, {"response_format": bound.kwargs["response_format"]})
    conversation = Conversation((Turn("Hi", answer="Yes"), Turn("What is it?")))
    assert request.request(conversation).render().text == f"USER: HiASSISTANT: YesUSER: What is it?\n{line}ASSISTANT:"
    quiet = CallSettings.read(llm, None, {**bound.kwargs, "schema_in_prompt": False})
    assert quiet.request(conversation).render().text == "USER: HiASSISTANT: YesUSER: What is it?ASSISTANT:"
    silent = ChatVipLlava(model="bundled", schema_in_prompt=False).with_structured_output(Count)
    told = llm.with_structured_output(Count, include_raw=True).invoke("How many?")["raw"].usage_metadata
    assert isinstance(silent.invoke("How many?"), Count)
    assert told["input_tokens"] > llm.get_num_tokens_from_messages([HumanMessage("How many?")]) + 8


def test_a_class_that_contains_itself_in_many_fields_is_told_in_a_short_line(llm):
    wide = create_model("Wide", **{f"f{index}": (Optional["Wide"], None) for index in range(40)})  # noqa: F821  # itself
    wide.model_rebuild(_types_namespace={"Wide": wide})
    bound = llm.with_structured_output(wide).first
    request = CallSettings.read(llm, None, {"response_format": bound.kwargs["response_format"]})
    line = request.request(Conversation((Turn("What?"),))).render().text  # written in full it has 40 to the power of 8
    assert '{"f0"?: {...} | null, "f1"?: {...} | null' in line
    assert len(line) < 1100
    assert isinstance(llm.with_structured_output(wide, schema_in_prompt=False).invoke("What?"), wide)


def random_type(rng, depth=0):
    """Return a random type of a field; deeper ones are simpler, so that answers end."""
    simple = [name for name in TYPES if name not in ("node", "tags", "union", "path", "bytes", "secret")]
    kind = (
        rng.choice(["simple"] * 4 + ["list", "dict", "optional", "union", "model", "tuple"]) if depth < 2 else "simple"
    )
    inner = lambda: random_type(rng, depth + 1)  # noqa: E731
    if kind == "list":
        return Annotated[list[inner()], Field(max_length=2)]
    if kind == "dict":
        return dict[Literal["a", "b"], inner()]
    if kind == "optional":
        return inner() | None
    if kind == "union":
        return Count | Named | Literal["none"]
    if kind == "model":
        return random_model(rng, depth + 1)
    if kind == "tuple":
        return tuple[inner(), bool]
    return TYPES[rng.choice(simple)]


def random_model(rng, depth=0):
    fields = {f"f{index}": (random_type(rng, depth), ...) for index in range(rng.randint(1, 3))}
    if rng.random() < 0.3:
        fields["extra"] = (Annotated[int, Field(ge=0, le=9)], 1)
    return create_model(f"M{rng.randrange(10**6)}", **fields)


def check_random_models(llm, seeds, temperature):
    def ask(seed):
        model = random_model(random.Random(seed))
        answer = llm.with_structured_output(model, include_raw=True).invoke(
            "What is it?", temperature=temperature, seed=seed, max_tokens=1200
        )
        assert answer["parsing_error"] is None, (seed, model.model_fields, answer["raw"].text)
        return model.model_validate_json(answer["raw"].text) == answer["parsed"]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, seeds))


@pytest.mark.parametrize("temperature", [0, 1])
def test_answers_of_random_models_validate(llm, temperature):
    check_random_models(llm, range(25), temperature)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0, 1])
def test_answers_of_two_hundred_random_models_validate(llm, temperature):
    check_random_models(llm, range(1000, 1200), temperature)
