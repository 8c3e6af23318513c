"""`confidence`: the probability of each part of an answer among what its schema admits."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from functools import reduce
from operator import add
from typing import Literal

import pytest
import torch
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import BaseModel, Field

from langchain_vipllava import (
    ChatVipLlava,
    CheckpointError,
    GenerationError,
    confidence,
)
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol import Answer, ChatRequest, Choice, OutputSpec, TokenLogprob
from langchain_vipllava.protocol.confidence import confidences
from tests.support.checkpoints import make_model, make_processor
from tests.support.marked_scene import marked_scene
from tests.support.plain_logprobs import TOLERANCE, PlainLogprobs


class Thing(BaseModel):
    color: Literal["red", "white", "blue", "green"]
    is_round: bool
    corners: int = Field(ge=0, le=12)


class Picture(BaseModel):
    things: list[Thing] = Field(min_length=2, max_length=2)
    note: str


@pytest.fixture(scope="module")
def bundled():
    return ChatVipLlava(model="bundled", logprobs=True, max_tokens=200)


@pytest.fixture(scope="module")
def scene():
    return marked_scene()


@pytest.fixture(scope="module")
def question(scene):
    return scene.message("What is the object {0}?")


def response_format(schema) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_every_field_has_one(bundled, question, method):
    result = bundled.with_structured_output(Thing, method=method, include_raw=True).invoke([question])
    found = confidence(result)
    assert list(found) == ["$", "color", "is_round", "corners"]
    assert all(0 < value <= 1 for value in found.values())
    assert found["is_round"] >= 0.5 - 1e-3  # greedy: the likelier one of two
    assert found["color"] > 0.15
    assert found["$"] == pytest.approx(found["color"] * found["is_round"] * found["corners"], rel=0.02)
    assert confidence(result["raw"]) == found


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_settings_of_a_call_go_with_a_schema(question, method):
    quiet = ChatVipLlava(model="bundled")
    chain = quiet.with_structured_output(Thing, method=method, include_raw=True, logprobs=True, temperature=1.0, seed=3)
    assert list(confidence(chain.invoke([question]))) == ["$", "color", "is_round", "corners"]
    assert chain.invoke([question])["parsed"] == chain.invoke([question])["parsed"]  # the seed
    with pytest.raises(GenerationError, match="top_logprobs=99"):
        quiet.with_structured_output(Thing, top_logprobs=99)
    with pytest.raises(GenerationError, match="no confidence"):
        confidence(quiet.with_structured_output(Thing, include_raw=True).invoke([question]))


def test_every_region_has_one(bundled, scene):
    schema = scene.answers_schema({"enum": ["circle", "square", "star"]})
    chain = bundled.with_structured_output(schema, include_raw=True)
    result = chain.invoke([scene.message("What shapes are the objects {0} and {1}?")])
    found = confidence(result)
    assert list(found) == ["$", *result["parsed"]]
    assert found["$"] == pytest.approx(math.prod(found[key] for key in result["parsed"]), rel=0.02)


def test_it_is_the_plain_models_softmax_over_what_the_schema_admits(bundled, question):
    """Two tokens each write a letter: its own, and that of its byte."""
    settings = {"response_format": response_format({"enum": ["A", "B"]}), "schema_in_prompt": False}
    answer = bundled.invoke([question], **settings)
    places = PlainLogprobs(bundled.backend.runner.model.name_or_path).of(bundled, [question], answer, **settings)
    tokenizer = bundled.backend.runner.processor.tokenizer
    names = ["A", "<0x41>", "B", "<0x42>"]
    tokens = tokenizer.convert_ids_to_tokens(answer.response_metadata["token_ids"])
    place = next(index for index, token in enumerate(tokens) if token in names)
    shares = torch.softmax(places[place][tokenizer.convert_tokens_to_ids(names)], dim=0)
    share = shares[:2].sum() if answer.text == '"A"' else shares[2:].sum()
    assert confidence(answer)["$"] == pytest.approx(float(share), abs=2e-3)


BOOLEAN = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}


def test_of_all_values_they_sum_to_one(bundled, question):
    settings = {"response_format": response_format(BOOLEAN), "temperature": 1.2}
    answers = {}
    for seed in range(40):
        answer = bundled.invoke([question], seed=seed, **settings)
        answers[answer.text] = confidence(answer)["$"]
    assert answers.keys() == {'{"a":true}', '{"a":false}'}
    assert sum(answers.values()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    "schema", [BOOLEAN, {"type": "integer", "minimum": 0, "maximum": 3}, {"enum": ["red", "blue", "green"]}]
)
def test_they_are_how_often_a_value_is_sampled(bundled, question, schema):
    chain = bundled.bind(response_format=response_format(schema), temperature=1.0)
    count, found = Counter(), {}
    for seed in range(150):
        answer = chain.invoke([question], seed=seed)
        count[answer.text] += 1
        found.setdefault(answer.text, confidence(answer)["$"])
    for text, number in count.items():
        share = number / 150
        assert abs(share - found[text]) < 4 * math.sqrt(found[text] * (1 - found[text]) / 150) + 0.01, (text, share)


def test_the_sampling_temperature_does_not_change_them(bundled, question):
    chain = bundled.bind(response_format=response_format(BOOLEAN))
    greedy = chain.invoke([question])
    warm = [chain.invoke([question], temperature=1.2, seed=seed) for seed in range(8)]
    for answer in warm:
        if answer.text == greedy.text:
            assert confidence(answer)["$"] == pytest.approx(confidence(greedy)["$"], abs=0.01)


def test_free_answers_have_one_for_the_whole(bundled, question):
    answer = bundled.invoke([question])
    assert answer.text == "A white square."
    assert list(confidence(answer)) == ["$"]
    product = math.exp(sum(place["logprob"] for place in answer.response_metadata["logprobs"]["content"]))
    assert confidence(answer)["$"] == pytest.approx(product, abs=0.01)
    merged = reduce(add, bundled.stream([question]))
    assert confidence(merged)["$"] == pytest.approx(confidence(answer)["$"], abs=1e-4)


def test_what_means_nothing_has_none(bundled, question):
    assert confidence(bundled.invoke([question], max_tokens=2)) == {}  # cut off
    result = bundled.with_structured_output(Picture, include_raw=True).invoke([question], seed=1, temperature=2.0)
    found = confidence(result)
    assert "things[1].color" in found
    assert "things" in found
    assert "things[0]" in found
    if len(result["parsed"].note) > 40:
        assert "note" not in found
        assert "$" not in found


def test_long_values_of_an_enum_have_one(bundled, question):
    values = ["nothing that I can tell from this image at all, as it is too dark to see", "it is something else"]
    answer = bundled.invoke([question], response_format=response_format({"enum": values}))
    assert confidence(answer)["$"] >= 0.4


def test_arguments_of_calls(bundled, question):
    def look(side: Literal["left", "right"], times: int) -> str:
        """Look at a side."""
        return side

    def leave() -> str:
        """Go away."""
        return ""

    only = bundled.bind_tools([look], tool_choice="any").invoke([question])
    assert list(confidence(only)) == ["$", "side", "times"]
    several = bundled.bind_tools([look, leave], tool_choice="any").invoke([question], temperature=2.0, seed=1)
    arguments = [f"[0].{name}" for name in several.tool_calls[0]["args"]]
    assert list(confidence(several)) == ["$", "[0]", *arguments]


def test_what_brings_json_to_its_end_is_not_taken_for_certainty(bundled):
    """Near `max_tokens` a number has to end, and other digits are still what the schema admits."""
    schema = {"type": "integer", "minimum": 10**7, "maximum": 10**9}
    asked = ChatRequest(
        Conversation((Turn("How many objects are there?"),)),
        OutputSpec(schema=schema),
        max_tokens=14,
        top_logprobs=0,
    )
    answer = bundled.backend.generate(asked)
    assert answer.finish_reason == "stop"
    assert answer.end is not None
    assert {choice.token for choice in answer.end.admitted} >= {"1", "2", "3"}
    assert confidences(answer, asked.output)["$"] <= sum(
        math.exp(choice.logprob) for choice in answer.end.admitted if choice.data is None
    )


def place(*choices: tuple[str, float], end: bool = False) -> TokenLogprob:
    """A place whose first choice was written."""
    made = tuple(
        Choice(text, math.log(share), None if end and text == choices[0][0] else text.encode())
        for text, share in choices
    )
    return TokenLogprob(made[0].token, made[0].logprob, made[0].data, admitted=made)


def confidences_of(schema, *places, end=None, text=None) -> dict[str, float]:
    text = "".join(each.token for each in places) if text is None else text
    answer = Answer(text, 1, len(places), "stop", logprobs=places, end=end)
    return confidences(answer, OutputSpec(schema=schema))


@pytest.mark.parametrize(("tokens", "found"), [(16, ["$"]), (17, [])])
def test_a_free_text_of_more_than_a_phrase_has_none(tokens, found):
    assert (
        list(
            confidences_of(
                None, *[place((" word", 0.9), (" else", 0.1))] * tokens, text="word" + " word" * (tokens - 1)
            )
        )
        == found
    )


def test_other_ways_to_write_a_value_count_for_it():
    """0.5 in one piece, and 0.2 in letters, of which the beginning is that of another value too."""
    places = [place(('"', 1.0)), place(("red", 0.5), ("r", 0.2), ("rose", 0.1), ("blue", 0.2)), place(('"', 1.0))]
    found = confidences_of({"enum": ["red", "rose", "blue"]}, *places)
    assert found["$"] == pytest.approx(0.5 + 0.2 * 0.5 / 0.6)


def test_ways_that_meet_are_summed_exactly():
    places = [place(('"r', 0.6), ('"red', 0.3), ('"b', 0.1)), place(("ed", 0.9), ("ose", 0.1)), place(('"', 1.0))]
    assert confidences_of({"enum": ["red", "rose", "b"]}, *places)["$"] == pytest.approx(0.6 * 0.9 + 0.3)


def test_a_field_does_not_depend_on_how_the_text_before_it_was_written():
    places = [
        place(('{"a', 1.0)),
        place(('":', 0.6), ('":t', 0.1), ('"', 0.25), ('":f', 0.05)),
        place(("true", 0.8), ("false", 0.2)),
        place(("}", 1.0)),
    ]
    assert confidences_of({"type": "object"}, *places)["a"] == pytest.approx(0.8)


def test_a_number_may_be_followed_by_anything_that_ends_it():
    places = [place(('{"a":', 1.0)), place(("1", 0.7), ("2", 0.3)), place(("}", 0.5), (',"b', 0.3), ("0", 0.2))]
    found = confidences_of({"type": "object"}, *places)
    assert found["a"] == pytest.approx(0.7 * 0.8)
    ended = place(("</s>", 0.75), ("0", 0.25), end=True)
    assert confidences_of({"type": "integer"}, place(("7", 0.6), ("8", 0.4)), end=ended)["$"] == pytest.approx(0.45)


@pytest.mark.parametrize(
    "places",
    [
        [place((" ", 0.6), (" true", 0.1), ("true", 0.05), (" false", 0.25)), place(("true", 0.5), ("false", 0.5))],
        [place(("\n", 0.6), (" true", 0.1), ("true", 0.05), ("f", 0.25)), place(("true", 0.5), ("false", 0.5))],
    ],
)
def test_the_space_in_front_may_be_a_token_of_its_own(places):
    assert confidences_of({"type": "boolean"}, *places, text="true")["$"] == pytest.approx(0.6 * 0.5 + 0.15)
    assert confidences_of({"enum": [True, False]}, *places, text="true") == {"$": pytest.approx(0.45)}


def test_paths_name_every_kind_of_key():
    text = '{"r1":true,"a.b":[1,{"":null}],"$":false}'
    assert list(confidences_of({"type": "object"}, place((text, 1.0)))) == [
        "$", "r1", '["a.b"]', '["a.b"][0]', '["a.b"][1]', '["a.b"][1][""]', '["$"]',
    ]  # fmt: skip


def test_a_list_that_is_cut_keeps_what_is_complete():
    cut = [place(("[1,2,", 1.0)), place(("3", 0.5), ("4", 0.5))]
    answer = Answer("[1,2,3", 1, 2, "length", logprobs=tuple(cut))
    assert list(confidences(answer, OutputSpec(schema={"type": "array"}))) == ["[0]", "[1]"]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (AIMessage("Red."), "no confidence; ask with ChatVipLlava"),
        (HumanMessage("Red."), "expected the model's message"),
        ({"parsed": 1}, "include_raw=True"),
        ("Red.", "expected the model's message"),
    ],
)
def test_a_message_without_one_is_refused(message, words):
    with pytest.raises(GenerationError, match=words):
        confidence(message)


def test_two_answers_in_one_message_are_refused(bundled, question):
    both = reduce(add, [*bundled.stream([question]), *bundled.stream([question])])
    with pytest.raises(GenerationError, match="several answers"):
        confidence(both)


def test_a_folder_may_name_the_temperature(tiny_checkpoint, tmp_path):
    shutil.copytree(tiny_checkpoint, tmp_path / "warm")
    config = json.loads((tmp_path / "warm" / "config.json").read_text())
    (tmp_path / "warm" / "config.json").write_text(json.dumps({**config, "confidence_temperature": 5.0}))
    form = {"response_format": response_format({"enum": ["A", "B"]})}
    plain, warm = (
        ChatVipLlava(model=str(folder), top_logprobs=2).invoke("Hi", **form)
        for folder in (tiny_checkpoint, tmp_path / "warm")
    )
    own, others = ([place["logprob"] for place in a.response_metadata["logprobs"]["content"]] for a in (plain, warm))
    assert own == pytest.approx(others, abs=TOLERANCE)
    assert abs(confidence(plain)["$"] - confidence(warm)["$"]) > 0.01


def test_a_checkpoint_may_have_a_temperature_of_its_own():
    processor = make_processor()

    def ask(temperature):
        model = make_model(processor)
        if temperature is not None:
            model.config.confidence_temperature = temperature
        llm = ChatVipLlava.from_model(model, processor, logprobs=True)
        return llm.invoke("Hi", response_format=response_format({"enum": ["A", "B"]}))

    plain, cool, hot = ask(None), ask(1.0), ask(4.0)
    assert confidence(plain) == confidence(cool)
    assert abs(confidence(hot)["$"] - confidence(plain)["$"]) > 0.01
    assert hot.response_metadata["logprobs"] == plain.response_metadata["logprobs"]
    with pytest.raises(CheckpointError, match="confidence_temperature=0"):
        ask(0)
