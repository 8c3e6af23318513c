"""Answers that are more than words: JSON that fits a schema, and calls of tools. The model is the bundled one."""

from __future__ import annotations

import asyncio
import json
from functools import reduce
from operator import add
from typing import Annotated, Literal, TypedDict

import pytest
import torch
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, Field

from langchain_vipllava import ChatVipLlava, GenerationError, MarkedImage, load_image, mark, regions_from
from langchain_vipllava.apps.detectors import detect_shapes
from langchain_vipllava.backends.local import compile_output
from langchain_vipllava.chat.output import read_output_spec, split_answer
from tests.support.engine import engine_request


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
def eyes() -> ChatVipLlava:
    return ChatVipLlava(model="bundled", max_tokens=200)


@pytest.fixture(scope="module")
def scene() -> MarkedImage:
    image = load_image("examples/scene.png")
    return mark(image, regions_from(detect_shapes(image), image_size=image.size)[:2])


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("schema", [Thing, ThingDict, THING_SCHEMA], ids=["pydantic", "TypedDict", "JSON schema"])
def test_structured_output_fits_its_schema(eyes, scene, method, schema):
    chain = eyes.with_structured_output(schema, method=method)
    answer = chain.invoke([scene.message("What is the object {0}?")])
    if schema is Thing:
        assert isinstance(answer, Thing)
    else:
        assert set(answer) >= {"color", "corners"}
        assert isinstance(answer["corners"], int)


def test_the_raw_answer_comes_along_when_asked_for(eyes):
    found = eyes.with_structured_output(Thing, include_raw=True).invoke("What is it?")
    assert isinstance(found["raw"], AIMessage)
    assert Thing.model_validate_json(found["raw"].text) == found["parsed"]
    assert found["parsing_error"] is None


def test_an_answer_that_was_cut_is_an_error_or_comes_raw(eyes):
    cut = eyes.model_copy(update={"max_tokens": 2})
    with pytest.raises(Exception, match=r"JSON|parse"):
        cut.with_structured_output(Thing).invoke("What is it?")
    found = cut.with_structured_output(Thing, include_raw=True).invoke("What is it?")
    assert found["parsed"] is None
    assert found["parsing_error"] is not None
    assert found["raw"].response_metadata["finish_reason"] == "length"


def test_any_json_object_without_a_schema(eyes):
    assert isinstance(eyes.with_structured_output(None, method="json_mode").invoke("What is it?"), dict)


def test_structured_output_streams_and_batches(eyes, scene):
    chain = eyes.with_structured_output(THING_SCHEMA)
    grown = list(chain.stream([scene.message("What is the object {1}?")]))
    assert grown[-1] == chain.invoke([scene.message("What is the object {1}?")])
    assert len(grown) > 1
    batch = eyes.with_structured_output(Thing).batch(["What is it?"] * 3)
    assert len(batch) == 3
    assert all(isinstance(thing, Thing) for thing in batch)


def test_one_answer_for_each_marked_region_in_one_call(eyes, scene):
    schema = scene.answers_schema({"enum": ["circle", "square", "star"]})
    assert schema["required"] == [marker.region.id or str(i) for i, marker in enumerate(scene.markers)]
    answers = eyes.with_structured_output(schema).invoke([scene.message("What shapes are the objects {0} and {1}?")])
    assert list(answers) == schema["required"]
    assert set(answers.values()) <= {"circle", "square", "star"}
    assert schema["properties"][schema["required"][1]]["description"] == "the object within the lime rectangle"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"schema": {"title": "set", "type": "array", "uniqueItems": True}}, "uniqueItems"),
        ({"schema": Thing, "method": "magic"}, "magic"),
        ({"schema": None}, "schema is None"),
        ({"schema": Thing, "tone": "warm"}, "tone"),
    ],
)
def test_what_cannot_be_had_is_refused_when_it_is_bound(eyes, wrong, says):
    with pytest.raises(GenerationError, match=says):
        eyes.with_structured_output(**wrong)


def calls_of(answer: AIMessage) -> set[str]:
    for call in answer.tool_calls:
        {"zoom_in": zoom_in, "give_up": give_up}[call["name"]].invoke(call["args"])  # raises if they do not fit
    assert not answer.invalid_tool_calls
    return {call["name"] for call in answer.tool_calls}


def test_a_call_is_forced_and_always_fits(eyes, scene):
    question = [scene.message("What is the object {0}?")]
    assert calls_of(eyes.bind_tools([zoom_in, give_up], tool_choice="any").invoke(question))
    named = eyes.bind_tools([zoom_in, give_up], tool_choice="zoom_in").invoke(question)
    assert calls_of(named) == {"zoom_in"}
    assert len(named.tool_calls) == 1
    by_mapping = {"type": "function", "function": {"name": "give_up"}}
    assert calls_of(eyes.bind_tools([zoom_in, give_up], tool_choice=by_mapping).invoke(question)) == {"give_up"}


def test_sampled_calls_fit_too(eyes):
    hot = eyes.model_copy(update={"temperature": 2.0})
    for seed in range(6):
        bound = hot.bind_tools([zoom_in, give_up], tool_choice="any")
        assert calls_of(bound.invoke("Look.", seed=seed))


def test_free_to_choose_a_model_that_knows_no_tools_answers_in_words(eyes, scene):
    answer = eyes.bind_tools([zoom_in]).invoke([scene.message("What is the object {0}?")])
    assert answer.text or calls_of(answer)
    none = eyes.bind_tools([zoom_in], tool_choice="none").invoke([scene.message("What is the object {0}?")])
    assert none.text == eyes.invoke([scene.message("What is the object {0}?")]).text
    assert not none.tool_calls


def test_the_model_is_told_of_its_tools(eyes):
    seen = []
    bound = eyes.bind_tools([zoom_in, give_up])
    request = engine_request(eyes, [HumanMessage("Look.")], None, bound.kwargs)
    seen.append(request.prompt.text)
    assert request.prompt.text == (
        "Tools:\n- zoom_in(region: string, factor: integer): Enlarge a region.\n"
        "- give_up(): Say that nothing can be seen.\n"
        'To call tools, answer with a list such as [{"name":"tool","arguments":{"argument":"value"}}]. '
        "USER: Look.ASSISTANT:"
    )
    more = eyes.get_num_tokens_from_messages([HumanMessage("Look.")], tools=[zoom_in, give_up])
    assert more == len(eyes.backend.runner.encoder.encode_text(request.prompt))


def test_tool_messages_are_read_as_the_user_s_with_their_images(eyes, scene):
    call = {"name": "zoom_in", "args": {"region": "r1", "factor": 2}, "id": "1"}
    messages = [
        HumanMessage("Look."),
        AIMessage("", tool_calls=[call]),
        ToolMessage([scene.content_block(), {"type": "text", "text": "r1 x2"}], tool_call_id="1"),
    ]
    said = '[{"name":"zoom_in","arguments":{"region":"r1","factor":2}}]'
    assert eyes.render_prompt(messages) == f"USER: Look.ASSISTANT: {said}USER: <image>\nr1 x2ASSISTANT:"
    assert eyes.bind_tools([zoom_in]).invoke(messages)


def test_a_call_s_own_ids_are_continued(eyes):
    asked = [HumanMessage("Look.")]
    bound = eyes.bind_tools([zoom_in], tool_choice="any")
    answer = bound.invoke(asked)
    back = ToolMessage("nothing", tool_call_id=answer.tool_calls[0]["id"])
    again = bound.invoke([*asked, answer, back])
    assert again.response_metadata["timings"]["reused_tokens"] >= answer.usage_metadata["total_tokens"] - 1


def test_calls_stream_as_chunks_and_words_as_they_come(eyes):
    bound = eyes.bind_tools([zoom_in], tool_choice="any")
    chunks = list(bound.stream("Look."))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert calls_of(whole) == {"zoom_in"}
    assert whole.text == ""

    async def awaited():
        return [chunk async for chunk in bound.astream("Look.")]

    whole_too = asyncio.run(awaited())
    assert [c["args"] for c in whole_too[-1].tool_calls] == [c["args"] for c in whole.tool_calls]
    words = list(eyes.bind_tools([zoom_in], tool_choice="none").stream("Hello."))
    assert "".join(chunk.text for chunk in words) == eyes.invoke("Hello.").text


def test_a_call_that_was_cut_is_an_invalid_call(eyes):
    answer = eyes.bind_tools([zoom_in], tool_choice="any").invoke("Look.", max_tokens=3)
    assert not answer.tool_calls
    assert "not a list of calls" in answer.invalid_tool_calls[0]["error"]


@pytest.mark.parametrize("choice", ["no_such_tool", {"name": "no_such_tool"}])
def test_an_unknown_choice_is_refused_when_it_is_bound(eyes, choice):
    with pytest.raises(GenerationError, match="expected 'auto', 'any', 'none' or the name of a bound tool"):
        eyes.bind_tools([zoom_in], tool_choice=choice)


def test_an_agent_ends_with_an_answer_that_fits(eyes):
    agents = pytest.importorskip("langchain.agents")
    agent = agents.create_agent(eyes, [], response_format=Thing)
    final = agent.invoke({"messages": [HumanMessage("What is it?")]})
    assert isinstance(final["structured_response"], Thing)
    json.loads(final["messages"][-1].text)


@pytest.mark.parametrize("most", [4, 5, 6])
def test_words_beside_tools_are_not_brought_to_an_end_like_json(eyes, scene, most):
    answer = eyes.bind_tools([zoom_in]).invoke([scene.message("Describe the image.")], max_tokens=most)
    assert answer.text == "A white square."
    assert answer.response_metadata["finish_reason"] == ("length" if most == 4 else "stop")


PAIR = {
    "title": "pair", "description": "Two words.", "type": "object", "required": ["a", "b"],
    "properties": {"a": {"enum": ["left"]}, "b": {"enum": ["right"]}}, "additionalProperties": False,
}  # fmt: skip


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_half_a_structured_answer_is_no_answer(eyes, method):
    """LangChain's own parsers close what is open and take it for all."""
    whole = eyes.with_structured_output(PAIR, method=method)
    assert whole.invoke("Where?") == list(whole.stream("Where?"))[-1] == {"a": "left", "b": "right"}
    for cut in (eyes.model_copy(update={"max_tokens": 9}), eyes.model_copy(update={"stop": ["right"]})):
        half = cut.with_structured_output(PAIR, method=method)
        with pytest.raises(OutputParserException, match="ends before its JSON does"):
            half.invoke("Where?")
        with pytest.raises(OutputParserException, match="Raise max_tokens"):
            list(half.stream("Where?"))
        with pytest.raises(OutputParserException, match="Raise max_tokens"):
            _ = [part async for part in half.astream("Where?")]
        raw = cut.with_structured_output(PAIR, method=method, include_raw=True).invoke("Where?")
        assert raw["parsed"] is None
        assert isinstance(raw["parsing_error"], OutputParserException)


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_with_the_raw_answer_a_stream_ends_as_the_whole_does(eyes, method):
    for model, parsed, error in (
        (eyes, {"a": "left", "b": "right"}, type(None)),
        (eyes.model_copy(update={"max_tokens": 9}), None, OutputParserException),
    ):
        chain = model.with_structured_output(PAIR, method=method, include_raw=True)
        streamed = list(chain.stream("Where?"))
        awaited = [part async for part in chain.astream("Where?")]
        for found in (
            chain.invoke("Where?"),
            await chain.ainvoke("Where?"),
            reduce(add, streamed),
            reduce(add, awaited),
        ):
            assert set(found) == {"raw", "parsed", "parsing_error"}
            assert found["raw"].text or found["raw"].tool_calls or found["raw"].invalid_tool_calls
            assert found["parsed"] == parsed
            assert type(found["parsing_error"]) is error
        assert method == "function_calling" or len(streamed) > 3, "the raw answer comes piece by piece"


def test_words_do_not_begin_like_calls_behind_a_space_either():
    output = read_output_spec({"tools": [convert_to_openai_tool(zoom_in)]})
    guide = ChatVipLlava(model="bundled").backend.runner._grammars
    tokens = guide._tokenizer

    def fits(text):
        constraint = guide.start(compile_output(output), 100)
        try:
            for token in tokens(text, add_special_tokens=False)["input_ids"]:
                constraint.mask(torch.zeros(len(tokens)))
                constraint.accept(token)
        except GenerationError:
            return False
        return True

    assert fits("No [brackets] first.")
    assert not fits(" [3, 4] are the corners.")


def test_what_is_no_call_of_a_bound_tool_is_not_passed_on_as_one():
    output = read_output_spec({"tools": [convert_to_openai_tool(zoom_in)]})
    for text in ('[{"name":"nope","arguments":{}}]', '[{"name":"zoom_in","arguments":"z"}]', "[3]"):
        assert split_answer(output, text)[1] == []
        assert split_answer(output, text)[2][0]["args"] == text
    assert split_answer(output, "[]") == ("[]", [], [])


def test_tools_keep_their_own_definitions_of_the_same_name(eyes):
    def function(name, word):
        item = {"type": "object", "properties": {"item": {"$ref": "#/$defs/Item"}}, "required": ["item"]}
        return {
            "type": "function",
            "function": {"name": name, "parameters": {**item, "$defs": {"Item": {"enum": [word]}}}},
        }

    tools = [function("fruit_a", "apple"), function("fruit_b", "pear")]
    words = {"fruit_a": "apple", "fruit_b": "pear"}
    for seed in range(4):
        (call,) = eyes.bind_tools(tools, tool_choice="any").invoke("?", temperature=2.0, seed=seed).tool_calls
        assert call["args"] == {"item": words[call["name"]]}


def test_tools_that_are_no_functions_are_refused_and_any_argument_may_be_anything(eyes):
    with pytest.raises(GenerationError, match=r"web_search.*with a name"):
        eyes.bind_tools([{"type": "web_search"}]).invoke("?")
    anything = {"name": "keep", "description": "Keep.", "parameters": {"type": "object", "properties": {"it": True}}}
    assert eyes.bind_tools([{"type": "function", "function": anything}], tool_choice="any").invoke("?", max_tokens=30)


@pytest.mark.parametrize(
    "field",
    [
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "time"},
        {"type": "string", "pattern": "^[a-z0-9]+-$"},
    ],
)
def test_a_string_that_only_some_characters_may_end_is_brought_to_its_end(eyes, field):
    schema = {"title": "T", "type": "object", "properties": {"x": field}, "required": ["x"]}
    assert set(eyes.with_structured_output(schema, method="json_schema").invoke("When?")) == {"x"}


class Shape(BaseModel):
    shape: Literal["circle", "square"]


class Holder(BaseModel):
    inner: Shape
    more: list[Shape] = []


def test_an_object_has_the_properties_that_are_named_and_no_others(eyes):
    for temperature in (None, 2.0):
        model = eyes.model_copy(update={"temperature": temperature, "seed": 3})
        raw = model.with_structured_output(Holder, include_raw=True).invoke("What is it?")["raw"]
        answer = json.loads(raw.text)
        assert set(answer) <= {"inner", "more"}
        assert set(answer["inner"]) == {"shape"}


def test_an_object_that_is_described_in_two_places_stays_open(eyes):
    one, two = ({"properties": {name: {"const": name}}, "required": [name], "type": "object"} for name in "ab")
    schema = {"title": "T", "type": "object", "allOf": [one, two]}
    assert (
        eyes.with_structured_output(schema, method="json_schema").invoke("What?").items()
        >= {"a": "a", "b": "b"}.items()
    )


def test_properties_may_be_called_like_keywords(eyes):
    names = {"discriminator": {"const": 1}, "oneOf": {"const": True}, "properties": {"const": 2}}
    schema = {"title": "T", "type": "object", "properties": names, "required": list(names)}
    answer = eyes.with_structured_output(schema, method="json_schema").invoke("What?")
    assert answer == {"discriminator": 1, "oneOf": True, "properties": 2}


@pytest.mark.parametrize("kind", [{"type": ["number", "null"]}, {}], ids=["or null", "untyped"])
def test_no_number_rounds_onto_its_exclusive_bound(kind):
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
def test_what_is_no_schema_is_refused(eyes, schema):
    with pytest.raises(GenerationError):
        eyes.invoke("What?", **response_format({"type": "object", "properties": {"x": schema}}))


def test_a_schema_that_holds_itself_is_refused(eyes):
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
def test_tools_that_are_written_wrong_are_refused(settings):
    with pytest.raises(GenerationError):
        read_output_spec(settings)


def fits(output, text):
    guide = ChatVipLlava(model="bundled").backend.runner._grammars
    constraint = guide.start(compile_output(output), 1000)
    try:
        for token in guide._guide.tokenize_str(text):
            constraint.accept(token)
    except GenerationError:
        return False
    return True


def response_format(schema):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


def test_a_list_that_fits_the_schema_is_no_list_of_calls(eyes):
    pair = {"type": "array", "items": {"const": 3}, "minItems": 2, "maxItems": 2}
    bound = eyes.bind_tools([zoom_in], **response_format(pair))
    texts = set()
    for seed in range(6):
        answer = bound.invoke("Hello", temperature=3, seed=seed)
        assert not answer.invalid_tool_calls
        texts.add(answer.text)
        streamed = list(bound.stream("Hello", temperature=3, seed=seed))
        assert "".join(part.text for part in streamed) == answer.text
    assert "[3,3]" in texts


@pytest.mark.parametrize("reference", ["#", "#/definitions/Node"])
def test_a_tools_references_are_to_its_own_schema(reference):
    node = {
        "type": "object", "required": ["v"], "additionalProperties": False,
        "properties": {"v": {"const": 7}, "child": {"anyOf": [{"type": "null"}, {"$ref": reference}]}},
    }  # fmt: skip
    parameters = {**node, "definitions": {"Node": node}}
    tool = {"type": "function", "function": {"name": "grow", "description": "Grow.", "parameters": parameters}}

    output = read_output_spec({"tools": [tool], "tool_choice": "any"})
    assert fits(output, '[{"name":"grow","arguments":{"v":7,"child":{"v":7,"child":null}}}]')
    assert not fits(output, '[{"name":"grow","arguments":{"v":7,"child":[')
