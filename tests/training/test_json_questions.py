"""Questions of the training set whose answer is JSON or a call: asked as the package asks, and answered rightly."""

from __future__ import annotations

import json

import numpy as np
import pytest
import transformers
from jsonschema import validate
from langchain_core.messages import HumanMessage

if int(transformers.__version__.split(".")[0]) < 5:
    pytest.skip("training runs with the versions of constraints.txt", allow_module_level=True)

from tests.support.askers import make_asker
from tests.support.engine import engine_request
from training import structured
from training.score_json import ASKS, draw_question
from training.structured import STRUCTURED, ask_json
from training.tool_calls import draw_toolbox


def values_of(found):
    """Return every string of a JSON value, in lower case and without a period."""
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, list):
        return [value for part in found for value in values_of(part)]
    return [found.lower().rstrip(".").removeprefix("a ")] if isinstance(found, str) else []


@pytest.mark.parametrize("kind", [kind for kind in STRUCTURED if kind != "json_follow"])
def test_answers_fit_the_schema_that_the_package_would_tell(kind, llm, monkeypatch):
    schemas = []
    suffix = structured._suffix
    monkeypatch.setattr(structured, "_suffix", lambda schema: schemas.append(schema) or suffix(schema))
    rng = np.random.default_rng(7)
    for _ in range(40):
        schemas.clear()
        asker = make_asker(rng)
        [turn] = ask_json(asker, kind)
        [schema] = schemas
        answer = json.loads(turn.answer)
        validate(answer, schema)
        wrapper = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        wording = turn.question.split("\n")[0]
        request = engine_request(llm, [HumanMessage(wording)], None, {"response_format": wrapper})
        assert request.prompt.text == f"USER: {turn.question}ASSISTANT:"
        things = asker.scene.things
        true = {word for thing in things for word in (thing.color, thing.shape, f"{thing.color} {thing.shape}")}
        assert set(values_of(answer)) <= true
        for _, index in turn.named:  # what is said of a named object alone is about that object
            if kind in ("json_object", "json_value"):
                assert set(values_of(answer)) <= {
                    things[index].color, things[index].shape, f"{things[index].color} {things[index].shape}"
                }  # fmt: skip


def test_a_region_has_the_answer_about_its_own_object():
    rng = np.random.default_rng(8)
    for _ in range(60):
        asker = make_asker(rng)
        [turn] = ask_json(asker, "json_regions")
        answer = json.loads(turn.answer)
        for look, found in zip(asker.looks, answer.values(), strict=True):
            thing = asker.scene.things[look.thing]
            assert set(values_of([found])) <= {thing.color, thing.shape, f"{thing.color} {thing.shape}"}
        for start, stop, index in turn.mentions:
            thing = asker.scene.things[index]
            said = values_of(json.loads(turn.answer[start:stop]))
            assert set(said) <= {thing.color, thing.shape, f"{thing.color} {thing.shape}"}


def test_calls_are_told_as_the_package_tells_them_and_fit_their_tools(llm):
    rng, free = np.random.default_rng(9), 0
    for _ in range(60):
        asker, toolbox = make_asker(rng), draw_toolbox(rng)
        turn = toolbox.converse(asker)[0]
        if turn.kind not in ("json_call", "json_copy"):  # what none of the tools is for has a free answer
            free += 1
            assert turn.answer.endswith(".")
            continue
        [call] = json.loads(turn.answer)
        [tool] = [tool for tool in toolbox.output.tools if tool["name"] == call["name"]]
        validate(call["arguments"], tool["parameters"])
        assert list(call["arguments"]) == list(tool["parameters"]["properties"])
        tools = [{"type": "function", "function": tool} for tool in toolbox.output.tools]
        request = engine_request(llm, [HumanMessage(turn.question)], None, {"tools": tools, "tool_choice": "any"})
        assert request.prompt.text == f"{toolbox.output.instructions} USER: {turn.question}ASSISTANT:"
    assert 3 < free < 25


def test_an_answer_without_its_schema_is_not_taught():
    rng = np.random.default_rng(10)
    talks = [ask_json(make_asker(rng), "json_follow") for _ in range(40)]
    untaught = [talk for talk in talks if not talk[0].taught]
    assert 5 < len(untaught) < 35
    for first, last in untaught:
        assert json.loads(first.answer)
        assert "JSON" not in first.question + last.question
        assert last.answer.endswith(".")
    for first, last in [talk for talk in talks if talk[0].taught]:
        assert first.answer.endswith(".")
        assert json.loads(last.answer)


@pytest.mark.parametrize("ask", ASKS)
def test_evaluation_answers_fit_their_schemas(ask):
    rng = np.random.default_rng(11)
    for _ in range(5):
        question = draw_question(rng, ask)
        assert question.message.content
        if question.schema is not None:
            validate(question.answer, question.schema)
