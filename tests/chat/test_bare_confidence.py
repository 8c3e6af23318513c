"""Confidence of an answer that is one JSON value: the probability of the value over every way to write it in tokens."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import reduce
from operator import add

import pytest
from langchain_core.messages import HumanMessage

from langchain_vipllava import ChatVipLlava, confidence
from langchain_vipllava.engine.forward_passes import ForwardPasses
from langchain_vipllava.engine.probes import Probe
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol import ChatRequest, OutputSpec
from langchain_vipllava.protocol.confidence import confidences
from tests.support.brute_force import BruteForce
from tests.support.checkpoints import make_model, make_processor
from tests.support.marked_scene import marked_scene

QUESTION = [HumanMessage("Is it red?")]
SCHEMAS = [
    {"type": "boolean"},
    {"enum": ["red", "white", "blue", "green"]},
    {"enum": [1, 12, "a", None, True]},
    {"type": "integer", "minimum": 0, "maximum": 30},
    {"type": "number", "minimum": 0, "maximum": 3, "multipleOf": 0.5},
    {"type": "null"},
    {"enum": ["a", "ab"]},
]
CLOSE = 2e-3
"""Ways below 1e-3 are estimated, and two of them may be left."""


def settings_of(schema, **others):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}, **others}


def tiny_model(seed: int = 0, temperature: float | None = None, **how) -> ChatVipLlava:
    processor = make_processor()
    model = make_model(processor, seed=seed)
    if temperature is not None:
        model.config.confidence_temperature = temperature
    return ChatVipLlava.from_model(model, processor, logprobs=True, max_tokens=60, **how)


@pytest.fixture(scope="module")
def tiny():
    return tiny_model()


@pytest.fixture(scope="module")
def bundled():
    return ChatVipLlava(model="bundled", logprobs=True)


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_sum_over_all_tokenizations(seed, schema):
    llm = tiny_model(seed)
    for number in range(3):
        settings = settings_of(schema, temperature=float(number), seed=number)
        answer = llm.invoke(QUESTION, **settings)
        truth = BruteForce(llm).probability(QUESTION, answer.text, **settings)
        assert confidence(answer)["$"] == pytest.approx(truth, abs=CLOSE), answer.text


@pytest.mark.parametrize("schema_in_prompt", [True, False])
@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_of_trained_weights_too(bundled, schema, schema_in_prompt):
    messages = [marked_scene().message("Is the object {0} red?")]
    settings = settings_of(schema, schema_in_prompt=schema_in_prompt)
    answer = bundled.invoke(messages, **settings)
    truth = BruteForce(bundled, least=1e-5)
    expected = truth.probability(messages, answer.text, **settings)
    assert truth.left_out < 1e-3
    assert confidence(answer)["$"] == pytest.approx(expected, abs=CLOSE)


def test_with_the_temperature_of_the_checkpoint():
    llm = tiny_model(temperature=2.5)
    settings = settings_of({"enum": ["red", "blue", "green"]})
    answer = llm.invoke(QUESTION, **settings)
    warm, own = (BruteForce(llm).probability(QUESTION, answer.text, divisor, **settings) for divisor in (2.5, 1.0))
    assert confidence(answer)["$"] == pytest.approx(warm, abs=CLOSE)
    assert abs(own - warm) > 0.02


def test_all_values_together_are_certain(tiny):
    values = ["red", "white", "blue", "green"]
    found = {}
    for seed in range(60):
        answer = tiny.invoke(QUESTION, seed=seed, temperature=2.0, **settings_of({"enum": values}))
        found[answer.text] = confidence(answer)["$"]
    assert len(found) == len(values)
    assert math.fsum(found.values()) == pytest.approx(1, abs=4 * CLOSE)


def test_however_it_was_written_a_value_has_one_confidence(tiny):
    found = {}
    for seed in range(30):
        answer = tiny.invoke(QUESTION, seed=seed, temperature=2.0, **settings_of({"type": "boolean"}))
        ids = tuple(answer.response_metadata["token_ids"])
        found.setdefault(answer.text, {})[ids] = confidence(answer)["$"]
    assert all(len(ways) > 1 for ways in found.values())
    for ways in found.values():
        assert max(ways.values()) - min(ways.values()) < CLOSE


def test_beside_other_requests_and_in_a_stream(tiny):
    schemas = SCHEMAS[:4] * 3
    alone = [confidence(tiny.invoke(QUESTION, **settings_of(schema))) for schema in schemas[:4]]
    inputs = [tiny.bind(**settings_of(schema)) for schema in schemas]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda chain: confidence(chain.invoke(QUESTION)), inputs))
    streamed = [confidence(reduce(add, chain.stream(QUESTION))) for chain in inputs[:4]]
    for index, found in enumerate([*together, *streamed]):
        assert found["$"] == pytest.approx(alone[index % 4]["$"], abs=CLOSE)


def test_nothing_else_counts_what_is_measured():
    llm = tiny_model()
    answer = llm.invoke(QUESTION, **settings_of({"type": "boolean"}))
    stats = llm.backend.stats()
    assert (stats.requests, stats.running, stats.waiting, stats.reused_tokens) == (1, 0, 0, 0)
    assert stats.prompt_tokens == answer.usage_metadata["input_tokens"]
    assert len(answer.response_metadata["logprobs"]["content"]) == answer.usage_metadata["output_tokens"]


def probes_of(monkeypatch) -> list[Probe]:
    made: list[Probe] = []
    init = Probe.__init__

    def record(self, *args, **kwargs):
        init(self, *args, **kwargs)
        made.append(self)

    monkeypatch.setattr(Probe, "__init__", record)
    return made


@pytest.mark.parametrize(
    "settings",
    [
        {"logprobs": False, **settings_of({"type": "boolean"})},
        settings_of({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}),
        settings_of({"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 1}),
        settings_of({"type": "boolean"}, max_tokens=1),
        settings_of({"enum": ["x" * 200]}, max_tokens=400),
        {},
    ],
    ids=["not asked", "object", "list", "cut off", "long", "free text"],
)
def test_nothing_is_measured_that_nobody_reads(tiny, monkeypatch, settings):
    made = probes_of(monkeypatch)
    assert tiny.invoke(QUESTION, **settings).response_metadata["finish_reason"]
    assert made == []


def test_a_prompt_that_is_not_cached_is_not_computed_again(monkeypatch):
    made = probes_of(monkeypatch)
    answer = tiny_model(cache_bytes=0).invoke(QUESTION, **settings_of({"type": "boolean"}))
    assert made == []
    assert 0 < confidence(answer)["$"] < 1


def test_an_answer_comes_also_if_the_measurement_fails(tiny, monkeypatch):
    expected = tiny.invoke(QUESTION, **settings_of({"type": "boolean"}))
    made = probes_of(monkeypatch)
    embed = ForwardPasses.embed

    def fail(*args, **kwargs):
        if made:
            raise RuntimeError("broken")
        return embed(*args, **kwargs)

    monkeypatch.setattr(ForwardPasses, "embed", fail)
    monkeypatch.setattr(ForwardPasses, "wide", lambda *args: None)
    answer = tiny.invoke(QUESTION, **settings_of({"type": "boolean"}))
    assert made
    assert answer.text == expected.text
    assert 0 < confidence(answer)["$"] < 1


def test_a_cancelled_answer_waits_for_nothing(tiny, monkeypatch):
    """The caller goes while ways are measured: the engine has nothing left to do."""
    made = probes_of(monkeypatch)
    add_pending = Probe.deliver
    seen = []

    def cancel(self):
        seen.append(self.handle.cancelled)
        self.handle.cancel()
        add_pending(self)

    monkeypatch.setattr(Probe, "deliver", cancel)
    answer = tiny.invoke(QUESTION, **settings_of({"type": "boolean"}))
    assert made
    assert answer.text in ("true", "false")
    assert (tiny.backend.stats().running, tiny.backend.stats().waiting) == (0, 0)


def test_a_backend_may_know_the_probability_of_a_whole_answer(tiny):
    request = OutputSpec(schema={"type": "boolean"})
    answer = tiny.backend.generate(ChatRequest(Conversation((Turn("Hi"),)), request, top_logprobs=0))
    assert answer.probability is not None
    assert confidences(answer, request)["$"] == answer.probability
    assert confidences(replace(answer, probability=0.125), request)["$"] == 0.125
