"""Types of answers: every value that a grammar admits parses as its type, and what is no type is refused."""

from __future__ import annotations

import datetime
import decimal
import enum
import ipaddress
import pathlib
import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal, TypedDict

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
    RootModel,
    SecretStr,
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
        (object(), "expected a pydantic class"),
        ("Thing", "expected a pydantic class"),
        (5, "expected a pydantic class"),
    ],
)
def test_what_is_no_schema_is_refused_when_it_is_bound(llm, schema, error_text):
    for method in ("json_schema", "function_calling", "json_mode"):
        with pytest.raises(GenerationError, match=error_text):
            llm.with_structured_output(schema, method=method)


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
        'Answer in JSON: {"color": red | blue (of the object), "seen": date, "weight": number | null, '
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
