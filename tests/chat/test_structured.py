"""Structured output and tool calls, with the bundled model."""

from __future__ import annotations

import asyncio
import json
from enum import Enum
from functools import reduce
from operator import add
from typing import Annotated, Literal, TypedDict

import pytest
import torch
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from llguidance.hf import from_tokenizer
from pydantic import BaseModel, Field, create_model, field_validator

from langchain_vipllava import ChatVipLlava, GenerationError, MarkedImage, MarkerError
from langchain_vipllava.chat.output import read_output_spec, split_answer
from langchain_vipllava.engine.constraint import ConstraintFactory
from langchain_vipllava.engine.output_grammar import compile_output
from tests.support.engine import engine_request
from tests.support.marked_scene import marked_scene


class Thing(BaseModel):
    """What is marked."""

    color: Literal["red", "green", "blue", "white"]
    is_round: bool
    corners: Annotated[int, Field(ge=0, le=12)]


class ThingDict(TypedDict):
    """What is marked."""

    color: Annotated[str, ..., "its color"]
    corners: Annotated[int, ..., "how many"]


THING_SCHEMA = {"title": "thing", "description": "What is marked.", **Thing.model_json_schema()}


@tool
def zoom_in(region: Literal["r1", "r2"], factor: Annotated[int, Field(ge=2, le=4)]) -> str:
    """Enlarge a region."""
    return f"{region} x{factor}"


@tool
def give_up() -> str:
    """Say that nothing can be seen."""
    return "given up"


@pytest.fixture(scope="module")
def bundled() -> ChatVipLlava:
    return ChatVipLlava(model="bundled", max_tokens=200)


@pytest.fixture(scope="module")
def scene() -> MarkedImage:
    return marked_scene()


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("schema", [Thing, ThingDict, THING_SCHEMA], ids=["pydantic", "TypedDict", "JSON schema"])
def test_structured_output_fits_its_schema(bundled, scene, method, schema):
    chain = bundled.with_structured_output(schema, method=method)
    answer = chain.invoke([scene.message("What is the object {0}?")])
    if schema is Thing:
        assert isinstance(answer, Thing)
    else:
        assert set(answer) >= {"color", "corners"}
        assert isinstance(answer["corners"], int)


def test_include_raw_returns_the_raw_answer_too(bundled):
    result = bundled.with_structured_output(Thing, include_raw=True).invoke("What is it?")
    assert isinstance(result["raw"], AIMessage)
    assert Thing.model_validate_json(result["raw"].text) == result["parsed"]
    assert result["parsing_error"] is None


def test_a_truncated_answer_raises_or_is_returned_raw(bundled):
    cut = bundled.model_copy(update={"max_tokens": 2})
    with pytest.raises(Exception, match=r"JSON|parse"):
        cut.with_structured_output(Thing).invoke("What is it?")
    result = cut.with_structured_output(Thing, include_raw=True).invoke("What is it?")
    assert result["parsed"] is None
    assert result["parsing_error"] is not None
    assert result["raw"].response_metadata["finish_reason"] == "length"


def test_json_mode_without_a_schema_returns_any_object(bundled):
    assert isinstance(bundled.with_structured_output(None, method="json_mode").invoke("What is it?"), dict)


def test_structured_output_streams_and_batches(bundled, scene):
    chain = bundled.with_structured_output(THING_SCHEMA)
    partial_answers = list(chain.stream([scene.message("What is the object {1}?")]))
    assert partial_answers[-1] == chain.invoke([scene.message("What is the object {1}?")])
    assert len(partial_answers) > 1
    batch = bundled.with_structured_output(Thing).batch(["What is it?"] * 3)
    assert len(batch) == 3
    assert all(isinstance(thing, Thing) for thing in batch)


def test_answers_schema_returns_one_answer_per_marked_region(bundled, scene):
    schema = scene.answers_schema({"enum": ["circle", "square", "star"]})
    assert schema["required"] == [marker.region.id or str(i) for i, marker in enumerate(scene.markers)]
    answers = bundled.with_structured_output(schema).invoke([scene.message("What shapes are the objects {0} and {1}?")])
    assert list(answers) == schema["required"]
    assert set(answers.values()) <= {"circle", "square", "star"}
    assert schema["properties"][schema["required"][1]]["description"] == "the object within the lime rectangle"


class Look(BaseModel):
    """What it looks like."""

    color: Literal["red", "white"]
    shape: Literal["square", "circle"]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_answers_schema_takes_types(bundled, scene, method):
    question = scene.message("What do the objects {0} and {1} look like?")

    def ask(answer):
        schema = scene.answers_schema(answer)
        return list(bundled.with_structured_output(schema, method=method).invoke([question], max_tokens=120).values())

    assert {Look.model_validate(one).shape for one in ask(Look)} <= {"square", "circle"}
    assert set(ask(Literal["red", "white"])) <= {"red", "white"}
    assert set(map(type, ask(bool))) == {bool}
    assert all(set(one) <= {"x", "y"} for one in ask(list[Literal["x", "y"]]))
    described = scene.answers_schema(Look)["properties"]
    assert next(iter(described.values()))["description"].startswith("What it looks like: the object within the ")
    for wrong in ("boolean", 3, object()):
        with pytest.raises(MarkerError, match="expected a JSON schema, or a type"):
            scene.answers_schema(wrong)


@pytest.mark.parametrize(
    ("wrong", "error_text"),
    [
        ({"schema": {"title": "odd", "type": "array", "contains": {"const": 1}}}, "contains"),
        ({"schema": Thing, "method": "magic"}, "magic"),
        ({"schema": None}, "schema is None"),
        ({"schema": Thing, "tone": "warm"}, "tone"),
    ],
)
def test_invalid_structured_output_raises_when_it_is_bound(bundled, wrong, error_text):
    with pytest.raises(GenerationError, match=error_text):
        bundled.with_structured_output(**wrong)


def calls_of(answer: AIMessage) -> set[str]:
    for call in answer.tool_calls:
        {"zoom_in": zoom_in, "give_up": give_up}[call["name"]].invoke(call["args"])  # raises if invalid
    assert not answer.invalid_tool_calls
    return {call["name"] for call in answer.tool_calls}


def test_tool_choice_forces_a_valid_call(bundled, scene):
    question = [scene.message("What is the object {0}?")]
    assert calls_of(bundled.bind_tools([zoom_in, give_up], tool_choice="any").invoke(question))
    named = bundled.bind_tools([zoom_in, give_up], tool_choice="zoom_in").invoke(question)
    assert calls_of(named) == {"zoom_in"}
    assert len(named.tool_calls) == 1
    choice = {"type": "function", "function": {"name": "give_up"}}
    assert calls_of(bundled.bind_tools([zoom_in, give_up], tool_choice=choice).invoke(question)) == {"give_up"}


def test_sampled_calls_are_valid_too(bundled):
    sampling = bundled.model_copy(update={"temperature": 2.0})
    for seed in range(6):
        bound = sampling.bind_tools([zoom_in, give_up], tool_choice="any")
        assert calls_of(bound.invoke("Look.", seed=seed))


def test_without_a_forced_choice_the_model_may_answer_with_text(bundled, scene):
    answer = bundled.bind_tools([zoom_in]).invoke([scene.message("What is the object {0}?")])
    assert answer.text or calls_of(answer)
    none = bundled.bind_tools([zoom_in], tool_choice="none").invoke([scene.message("What is the object {0}?")])
    assert none.text == bundled.invoke([scene.message("What is the object {0}?")]).text
    assert not none.tool_calls


def test_tools_are_described_in_the_prompt(bundled):
    bound = bundled.bind_tools([zoom_in, give_up])
    request = engine_request(bundled, [HumanMessage("Look.")], None, bound.kwargs)
    assert request.prompt.text == (
        'Tools:\n- zoom_in {"region": r1 | r2, "factor": whole number}: Enlarge a region.\n'
        "- give_up: Say that nothing can be seen.\n"
        'To call tools, answer with a list such as [{"name":"tool","arguments":{"argument":"value"}}]. '
        "USER: Look.ASSISTANT:"
    )
    token_count = bundled.get_num_tokens_from_messages([HumanMessage("Look.")], tools=[zoom_in, give_up])
    assert token_count == len(bundled.backend.runner.encoder.encode_text(request.prompt))


def test_tool_messages_are_rendered_as_user_turns_with_their_images(bundled, scene):
    call = {"name": "zoom_in", "args": {"region": "r1", "factor": 2}, "id": "1"}
    messages = [
        HumanMessage("Look."),
        AIMessage("", tool_calls=[call]),
        ToolMessage([scene.content_block(), {"type": "text", "text": "r1 x2"}], tool_call_id="1"),
    ]
    rendered_call = '[{"name":"zoom_in","arguments":{"region":"r1","factor":2}}]'
    assert bundled.render_prompt(messages) == f"USER: Look.ASSISTANT: {rendered_call}USER: <image>\nr1 x2ASSISTANT:"
    assert bundled.bind_tools([zoom_in]).invoke(messages)


def test_the_token_ids_of_a_call_are_reused_in_the_next_prompt(bundled):
    messages = [HumanMessage("Look.")]
    bound = bundled.bind_tools([zoom_in], tool_choice="any")
    answer = bound.invoke(messages)
    result = ToolMessage("nothing", tool_call_id=answer.tool_calls[0]["id"])
    second = bound.invoke([*messages, answer, result])
    reused = second.response_metadata["timings"]["reused_tokens"]
    assert answer.usage_metadata["output_tokens"] > 20
    assert reused >= answer.usage_metadata["total_tokens"] - 5  # the end of the JSON is forced, and was not computed


def test_calls_and_text_are_streamed_in_chunks(bundled):
    bound = bundled.bind_tools([zoom_in], tool_choice="any")
    chunks = list(bound.stream("Look."))
    answer = chunks[0]
    for chunk in chunks[1:]:
        answer += chunk
    assert calls_of(answer) == {"zoom_in"}
    assert answer.text == ""

    async def stream():
        return [chunk async for chunk in bound.astream("Look.")]

    async_chunks = asyncio.run(stream())
    assert [c["args"] for c in async_chunks[-1].tool_calls] == [c["args"] for c in answer.tool_calls]
    words = list(bundled.bind_tools([zoom_in], tool_choice="none").stream("Hello."))
    assert "".join(chunk.text for chunk in words) == bundled.invoke("Hello.").text


def test_a_truncated_call_is_an_invalid_tool_call(bundled):
    answer = bundled.bind_tools([zoom_in], tool_choice="any").invoke("Look.", max_tokens=3)
    assert not answer.tool_calls
    assert "not a list of calls" in answer.invalid_tool_calls[0]["error"]


@pytest.mark.parametrize("choice", ["no_such_tool", {"name": "no_such_tool"}])
def test_an_unknown_tool_choice_raises_when_it_is_bound(bundled, choice):
    with pytest.raises(GenerationError, match="expected 'auto', 'any', 'none' or the name of a bound tool"):
        bundled.bind_tools([zoom_in], tool_choice=choice)


def test_an_agent_returns_a_structured_response(bundled):
    agents = pytest.importorskip("langchain.agents")
    agent = agents.create_agent(bundled, [], response_format=Thing)
    final = agent.invoke({"messages": [HumanMessage("What is it?")]})
    assert isinstance(final["structured_response"], Thing)
    if "profile" in ChatVipLlava.model_fields:  # an older langchain-core asks for the call of a tool
        json.loads(final["messages"][-1].text)


@pytest.mark.parametrize("max_tokens", [4, 5, 6])
def test_text_answers_beside_tools_are_not_closed_like_json(bundled, scene, max_tokens):
    call = {"name": "zoom_in", "args": {"region": "r1", "factor": 2}, "id": "1"}
    asked = [
        scene.message("What is the object {0}?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("ok", tool_call_id="1"),
    ]
    answer = bundled.bind_tools([zoom_in]).invoke(asked, max_tokens=max_tokens)
    assert answer.text == "A white square."
    assert answer.response_metadata["finish_reason"] == ("length" if max_tokens == 4 else "stop")


PAIR = {
    "title": "pair", "description": "Two words.", "type": "object", "required": ["a", "b"],
    "properties": {"a": {"enum": ["left"]}, "b": {"enum": ["right"]}}, "additionalProperties": False,
}  # fmt: skip


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_a_truncated_structured_answer_raises(bundled, method):
    """LangChain's own parsers would close the open JSON and return it as complete."""
    chain = bundled.with_structured_output(PAIR, method=method)
    assert chain.invoke("Where?") == list(chain.stream("Where?"))[-1] == {"a": "left", "b": "right"}
    for cut in (bundled.model_copy(update={"max_tokens": 9}), bundled.model_copy(update={"stop": ["right"]})):
        cut_chain = cut.with_structured_output(PAIR, method=method)
        with pytest.raises(OutputParserException, match="ends before its JSON does"):
            cut_chain.invoke("Where?")
        with pytest.raises(OutputParserException, match="Raise max_tokens"):
            list(cut_chain.stream("Where?"))
        with pytest.raises(OutputParserException, match="Raise max_tokens"):
            _ = [part async for part in cut_chain.astream("Where?")]
        raw = cut.with_structured_output(PAIR, method=method, include_raw=True).invoke("Where?")
        assert raw["parsed"] is None
        assert isinstance(raw["parsing_error"], OutputParserException)


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_include_raw_streams_the_same_result_as_invoke(bundled, method):
    for model, parsed, error in (
        (bundled, {"a": "left", "b": "right"}, type(None)),
        (bundled.model_copy(update={"max_tokens": 9}), None, OutputParserException),
    ):
        chain = model.with_structured_output(PAIR, method=method, include_raw=True)
        streamed = list(chain.stream("Where?"))
        async_streamed = [part async for part in chain.astream("Where?")]
        for result in (
            chain.invoke("Where?"),
            await chain.ainvoke("Where?"),
            reduce(add, streamed),
            reduce(add, async_streamed),
        ):
            assert set(result) == {"raw", "parsed", "parsing_error"}
            assert result["raw"].text or result["raw"].tool_calls or result["raw"].invalid_tool_calls
            assert result["parsed"] == parsed
            assert type(result["parsing_error"]) is error
        assert method == "function_calling" or len(streamed) > 3, "the raw answer is streamed in several chunks"


def test_text_answers_cannot_start_like_a_call_after_a_space():
    output = read_output_spec({"tools": [convert_to_openai_tool(zoom_in)]})
    tokenizer = ChatVipLlava(model="bundled").backend.runner.encoder.tokenizer
    constraints = ConstraintFactory(tokenizer, len(tokenizer), [tokenizer.eos_token_id])

    def fits(text):
        constraint = constraints.start(compile_output(output), 100)
        try:
            for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
                constraint.mask(torch.zeros(len(tokenizer)))
                constraint.accept(token)
        except GenerationError:
            return False
        return True

    assert fits("No [brackets] first.")
    assert not fits(" [3, 4] are the corners.")


def test_calls_of_unbound_tools_are_invalid_tool_calls():
    output = read_output_spec({"tools": [convert_to_openai_tool(zoom_in)]})
    for text in ('[{"name":"nope","arguments":{}}]', '[{"name":"zoom_in","arguments":"z"}]', "[3]"):
        assert split_answer(output, text)[1] == []
        assert split_answer(output, text)[2][0]["args"] == text
    assert split_answer(output, "[]") == ("[]", [], [])


def test_equal_definition_names_of_two_tools_do_not_collide(bundled):
    def function(name, word):
        item = {"type": "object", "properties": {"item": {"$ref": "#/$defs/Item"}}, "required": ["item"]}
        return {
            "type": "function",
            "function": {"name": name, "parameters": {**item, "$defs": {"Item": {"enum": [word]}}}},
        }

    tools = [function("fruit_a", "apple"), function("fruit_b", "pear")]
    fruits = {"fruit_a": "apple", "fruit_b": "pear"}
    for seed in range(4):
        (call,) = bundled.bind_tools(tools, tool_choice="any").invoke("?", temperature=2.0, seed=seed).tool_calls
        assert call["args"] == {"item": fruits[call["name"]]}


def test_tools_without_a_function_raise_and_an_untyped_argument_accepts_any_value(bundled):
    with pytest.raises(GenerationError, match=r"web_search.*with a name"):
        bundled.bind_tools([{"type": "web_search"}]).invoke("?")
    anything = {"name": "keep", "description": "Keep.", "parameters": {"type": "object", "properties": {"it": True}}}
    assert bundled.bind_tools([{"type": "function", "function": anything}], tool_choice="any").invoke(
        "?", max_tokens=30
    )


@pytest.mark.parametrize(
    "field",
    [
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "time"},
        {"type": "string", "pattern": "^[a-z0-9]+-$"},
    ],
)
def test_strings_with_a_format_or_pattern_are_closed(bundled, field):
    schema = {"title": "T", "type": "object", "properties": {"x": field}, "required": ["x"]}
    assert set(bundled.with_structured_output(schema, method="json_schema").invoke("When?")) == {"x"}


class Shape(BaseModel):
    shape: Literal["circle", "square"]


class Holder(BaseModel):
    inner: Shape
    more: list[Shape] = []


def test_objects_have_no_properties_beyond_the_schema(bundled):
    for temperature in (None, 2.0):
        model = bundled.model_copy(update={"temperature": temperature, "seed": 3})
        raw = model.with_structured_output(Holder, include_raw=True).invoke("What is it?")["raw"]
        answer = json.loads(raw.text)
        assert set(answer) <= {"inner", "more"}
        assert set(answer["inner"]) == {"shape"}


def test_an_object_described_by_allof_may_have_the_properties_of_all_parts(bundled):
    one, two = ({"properties": {name: {"const": name}}, "required": [name], "type": "object"} for name in "ab")
    schema = {"title": "T", "type": "object", "allOf": [one, two]}
    assert (
        bundled.with_structured_output(schema, method="json_schema").invoke("What?").items()
        >= {"a": "a", "b": "b"}.items()
    )


def test_properties_can_be_named_like_schema_keywords(bundled):
    names = {"discriminator": {"const": 1}, "oneOf": {"const": True}, "properties": {"const": 2}}
    schema = {"title": "T", "type": "object", "properties": names, "required": list(names)}
    answer = bundled.with_structured_output(schema, method="json_schema").invoke("What?")
    assert answer == {"discriminator": 1, "oneOf": True, "properties": 2}


@pytest.mark.parametrize("kind", [{"type": ["number", "null"]}, {}], ids=["or null", "untyped"])
def test_numbers_do_not_round_to_an_exclusive_bound(kind):
    output = read_output_spec(response_format({**kind, "exclusiveMaximum": 1}))
    assert fits(output, "0.9999999999")
    assert not fits(output, "0.99999999999999999999")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number", "exclusiveMaximum": float("inf")},
        {"type": "number", "minimum": float("nan")},
        {"type": "number", "minimum": float("-inf")},
        {"const": "half \ud83d"},
        {"type": "integer", "maximum": 10**400},
    ],
)
def test_invalid_schemas_raise(bundled, schema):
    with pytest.raises(GenerationError):
        bundled.invoke("What?", **response_format({"type": "object", "properties": {"x": schema}}))


def test_a_schema_that_contains_itself_raises(bundled):
    schema = {"type": "object", "properties": {}}
    schema["properties"]["again"] = schema
    with pytest.raises(GenerationError):
        compile_output(read_output_spec(response_format(schema)))
    with pytest.raises(GenerationError):
        compile_output(read_output_spec({"tools": [{"name": "f", "parameters": schema}]}))


@pytest.mark.parametrize(
    "settings",
    [{"tools": [{"name": "f"}], "tool_choice": {"function": "f"}}, {"tools": [{"name": "f", "parameters": [1]}]}],
)
def test_malformed_tools_raise(settings):
    with pytest.raises(GenerationError):
        read_output_spec(settings)


def fits(output, text):
    """Return whether a text can be an answer."""
    tokenizer = ChatVipLlava(model="bundled").backend.runner.encoder.tokenizer
    constraints = ConstraintFactory(tokenizer, len(tokenizer), [tokenizer.eos_token_id])
    constraint = constraints.start(compile_output(output), 1000)
    try:
        for token in from_tokenizer(tokenizer).tokenize_str(text):
            constraint.accept(token)
    except GenerationError:
        return False
    return True


def response_format(schema):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


def test_a_list_that_fits_the_response_schema_is_not_parsed_as_calls(llm):
    pair = {"type": "array", "items": {"const": 3}, "minItems": 2, "maxItems": 2}
    bound = llm.bind_tools([zoom_in], **response_format(pair))
    texts = set()
    for seed in range(12):
        answer = bound.invoke("Hello", temperature=3, seed=seed, max_tokens=160)
        assert not answer.invalid_tool_calls
        texts.add(answer.text)
        streamed = list(bound.stream("Hello", temperature=3, seed=seed, max_tokens=160))
        assert "".join(part.text for part in streamed) == answer.text
    assert "[3,3]" in texts


@pytest.mark.parametrize("reference", ["#", "#/definitions/Node"])
def test_references_of_a_tool_resolve_within_its_own_schema(reference):
    node = {
        "type": "object", "required": ["v"], "additionalProperties": False,
        "properties": {"v": {"const": 7}, "child": {"anyOf": [{"type": "null"}, {"$ref": reference}]}},
    }  # fmt: skip
    parameters = {**node, "definitions": {"Node": node}}
    tool = {"type": "function", "function": {"name": "grow", "description": "Grow.", "parameters": parameters}}

    output = read_output_spec({"tools": [tool], "tool_choice": "any"})
    assert fits(output, '[{"name":"grow","arguments":{"v":7,"child":{"v":7,"child":null}}}]')
    assert not fits(output, '[{"name":"grow","arguments":{"v":7,"child":[')


class Refusing(BaseModel):
    """Whatever it is."""

    is_round: bool

    @field_validator("is_round")
    @classmethod
    def _refuse(cls, value: bool) -> bool:
        raise ValueError(f"not {value}")


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize(
    "schema",
    [Literal["white", "white square", "white squares"], Enum("E", {"a": "w", "b": "white"}), int, type(None),
     {"title": "n", "type": "null"}],
)  # fmt: skip
async def test_a_stream_yields_no_value_that_the_rest_makes_another(bundled, scene, schema, method):
    chain, question = bundled.with_structured_output(schema, method=method), [scene.message("What is the object {0}?")]
    expected = [chain.invoke(question)]
    assert list(chain.stream(question)) == expected
    assert [part async for part in chain.astream(question)] == expected


def test_parts_of_a_streamed_object_hold_whole_values(bundled):
    words = Literal["left", "left side"]
    parts = list(bundled.with_structured_output(create_model("M", a=(words, ...), b=(words, "left"))).stream("Where?"))
    assert parts
    assert all(part.a == parts[-1].a for part in parts)


def test_what_a_validator_refuses_ends_a_stream(bundled):
    with pytest.raises(OutputParserException, match=r"not (True|False)"):
        list(bundled.with_structured_output(Refusing).stream("Is it round?"))


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_what_a_validator_refuses_is_an_error_of_the_parser(llm, method):
    llm = ChatVipLlava(model=llm.model, max_tokens=80)
    asked = llm.with_structured_output(Refusing, method=method)
    with pytest.raises(OutputParserException, match=r"not (True|False)"):
        asked.invoke("Is it round?")
    with pytest.raises(OutputParserException, match=r"not (True|False)"):
        asyncio.run(asked.ainvoke("Is it round?"))
    raw = llm.with_structured_output(Refusing, method=method, include_raw=True).invoke("Is it round?")
    assert isinstance(raw["parsing_error"], OutputParserException)
