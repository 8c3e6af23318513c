"""Answers that match a JSON schema, whatever the model would answer without it."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from enum import Enum
from types import SimpleNamespace
from typing import Annotated, Literal

import jsonschema
import numpy as np
import pytest
import torch
from llguidance import LLMatcher, LLTokenizer
from PIL import Image
from pydantic import BaseModel, Field, create_model

from langchain_vipllava import ChatVipLlava, GenerationError
from langchain_vipllava.engine import request_clock
from langchain_vipllava.engine.constraint import Constraint, ConstraintFactory
from langchain_vipllava.engine.grammar import Grammar
from langchain_vipllava.engine.request import GenerationRequest, Sampling
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.prompt.formats import FORMATS
from langchain_vipllava.protocol import ChatRequest
from langchain_vipllava.schemas.narrow_schema import narrow_schema
from tests.support.engine import generate


class Shade(Enum):
    LIGHT = "light"
    DARK = "dark"


@pytest.fixture(scope="module")
def runner() -> ModelRunner:
    """The bundled checkpoint."""
    from langchain_vipllava.engine.runner import get_runner
    from langchain_vipllava.protocol.load_options import LoadOptions

    return get_runner(LoadOptions("bundled"))


def ask(
    grammar: Grammar, question: str = "What is it?", max_tokens: int = 200, seed: int | None = None
) -> GenerationRequest:
    image = EncodedImage.from_pixels(Image.new("RGB", (160, 160), (40, 160, 60)))
    prompt = FORMATS["user_assistant"].render(Conversation((Turn(question, (image,)),)))
    sampling = Sampling() if seed is None else Sampling(temperature=1.5, seed=seed)
    return GenerationRequest(prompt, (image,), max_tokens=max_tokens, grammar=grammar, sampling=sampling)


def a_type(rng: np.random.Generator, depth: int = 0) -> object:
    """A random field type of a pydantic model: plain, bounded, optional, nested or a union."""
    low = int(rng.integers(-50, 50))
    kinds = [
        str, int, float, bool, Shade, str | None, int | str, Literal["yes", "no", 7],
        Annotated[int, Field(ge=low, le=low + int(rng.integers(0, 1000)))],
        Annotated[int, Field(gt=low)],
        Annotated[float, Field(ge=0, lt=1)],
        Annotated[str, Field(min_length=2, max_length=5)],
        Annotated[str, Field(pattern=r"^[a-z]{2}-\d{3}$")],
    ]  # fmt: skip
    if depth < 2:
        inner = a_type(rng, depth + 1)
        kinds += [
            list[inner], Annotated[list[inner], Field(min_length=1, max_length=3)], dict[str, inner], tuple[inner, int],
            inner | None, a_model(rng, depth + 1), a_model(rng, depth + 1),
        ]  # fmt: skip
    return kinds[int(rng.integers(len(kinds)))]


def a_model(rng: np.random.Generator, depth: int = 0) -> type[BaseModel]:
    fields = {}
    for index in range(int(rng.integers(1, 5 - depth))):
        kind = a_type(rng, depth)
        fields[f"field_{index}"] = (kind, ...) if rng.random() < 0.6 else (kind | None, None)
    return create_model(f"Model{int(rng.integers(10**6))}", **fields)


def test_answers_match_200_random_schemas(runner):
    rng = np.random.default_rng(0)
    models = [a_model(rng) for _ in range(200)]
    grammars = [Grammar.from_schema(narrow_schema(model.model_json_schema())) for model in models]
    handles = [runner.submit(ask(grammar, seed=None if index % 2 else index)) for index, grammar in enumerate(grammars)]
    for model, handle in zip(models, handles, strict=True):
        answer = handle.future.result(120)
        assert answer.finish_reason == "stop", (model.model_json_schema(), answer.text)
        jsonschema.validate(json.loads(answer.text), model.model_json_schema())
        model.model_validate_json(answer.text)


@pytest.mark.parametrize(
    ("bounds", "rejected", "accepted"),
    [
        ({"exclusiveMaximum": 1, "minimum": 0}, ["1", "0.99999999999999999999"], ["0", "0.9", "0.999", "0.1234567891"]),
        ({"exclusiveMinimum": 1, "maximum": 2}, ["1.0", "1.00000000000000000001"], ["1.1", "1.00001", "2"]),
        ({"exclusiveMinimum": -1e7}, ["-9999999.9999999999999"], ["-9999999.9", "0.5", "12345678"]),
        ({"exclusiveMinimum": 0}, ["0", "-1"], ["0.1", "0.0000000001", "99"]),
        ({"exclusiveMaximum": 1, "multipleOf": 0.25}, ["0.3", "1"], ["0.75"]),
        ({"maximum": 1}, ["1.1"], ["0.99999999999999999999", "1"]),
    ],
    ids=["below 1", "above 1", "above -1e7", "above 0", "below 1 in quarters", "at most 1"],
)
def test_a_decimal_within_an_exclusive_bound_parses_within_it(runner, bounds, rejected, accepted):
    grammar = Grammar.from_schema({"type": "array", "items": {"type": "number", **bounds}})
    tokenizer = runner._constraints._guide
    for text in (*rejected, *accepted):
        ids = tokenizer.tokenize_str(f"[{text}]")
        fits = LLMatcher(tokenizer, grammar.text).validate_tokens(ids) == len(ids)
        assert fits == (text in accepted), text


@pytest.mark.parametrize(
    ("schema", "beginning"), [({"type": "boolean"}, "▁t"), ({"enum": ["red"]}, "▁"), ({"type": "object"}, "▁")], ids=str
)
def test_an_answer_may_begin_with_the_space_that_follows_assistant_in_training(runner, schema, beginning):
    constraint = runner._constraints.start(Grammar.from_schema(schema), 20)
    logits = torch.zeros(runner.model.config.text_config.vocab_size)
    token = runner.encoder.tokenizer.convert_tokens_to_ids(beginning)
    assert constraint.mask(logits)[token] == 0
    constraint.accept(token)
    assert torch.isneginf(constraint.mask(logits)[token])  # one space, not any number


def test_the_space_is_not_part_of_the_answer(runner):
    for schema in ({"type": "boolean"}, {"enum": ["red", "blue"]}, {"type": "integer", "minimum": 0, "maximum": 9}):
        answer = generate(runner, ask(Grammar.from_schema(schema)))
        assert answer.text == answer.text.strip() == json.dumps(json.loads(answer.text))


@pytest.mark.parametrize("number", [1, 0.01, 7, 3600, 16_384, 10**9, 0.0001])
def test_multiples_of_usual_numbers_are_not_refused(number):
    assert f'"multipleOf": {number}' in Grammar.from_schema({"type": "number", "multipleOf": number}).text


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, "uniqueItems"),
        ({"type": "object", "properties": {"a": {"not": {"type": "string"}}}}, "not"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"type": "string", "format": "no-such-format"}, "no-such-format"),
        ({"type": "strin"}, "strin"),
        ({"type": "object", "properties": {"a": {1, 2}}}, "not a JSON schema"),
    ],
    ids=["uniqueItems", "not", "oneOf", "unknown format", "unknown type", "not JSON"],
)
def test_a_schema_that_cannot_be_enforced_is_rejected_before_generation(schema, words):
    with pytest.raises(GenerationError, match=words):
        Grammar.from_schema(schema)


def test_an_answer_matches_a_union_with_a_discriminator(runner):
    class Circle(BaseModel):
        kind: Literal["circle"]
        radius: Annotated[int, Field(ge=1, le=9)]

    class Square(BaseModel):
        kind: Literal["square"]
        side: bool

    class Drawing(BaseModel):
        shape: Annotated[Circle | Square, Field(discriminator="kind")]

    answer = generate(runner, ask(Grammar.from_schema(Drawing.model_json_schema())))
    Drawing.model_validate_json(answer.text)


def test_a_schema_holds_in_a_batch_with_free_answers(runner):
    grammar = Grammar.from_schema({"enum": ["first", "second"]})
    free = GenerationRequest(FORMATS["user_assistant"].render(Conversation((Turn("Hello."),))), max_tokens=20)
    alone = generate(runner, free).token_ids
    handles = [runner.submit(request) for request in (free, ask(grammar), free, ask(grammar, seed=3), free)]
    results = [handle.future.result(60) for handle in handles]
    assert {json.loads(results[index].text) for index in (1, 3)} <= {"first", "second"}
    assert [results[index].token_ids for index in (0, 2, 4)] == [alone] * 3


def test_an_answer_too_short_for_its_schema_finishes_by_length(runner):
    long = {"type": "string", "minLength": 50}
    answer = generate(runner, ask(Grammar.from_schema(long), max_tokens=10))
    assert (answer.finish_reason, len(answer.token_ids)) == ("length", 10)


def test_an_unbounded_string_is_closed_within_max_tokens(runner):
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "number"}},
        "required": ["a", "b"],
    }
    for seed in range(5):
        answer = generate(runner, ask(Grammar.from_schema(schema), max_tokens=40, seed=seed))
        assert answer.finish_reason == "stop", answer.text
        jsonschema.validate(json.loads(answer.text), schema)


def test_an_answer_matches_one_of_several_schemas_or_is_text(runner):
    numbers = {"type": "array", "items": {"type": "integer"}, "maxItems": 3}
    either = Grammar.from_alternatives([numbers], or_text=True)
    answers = [generate(runner, ask(either, max_tokens=60, seed=seed)).text for seed in range(12)]
    for answer in answers:
        if answer.startswith("["):
            jsonschema.validate(json.loads(answer), numbers)
    only = Grammar.from_alternatives([numbers, {"type": "boolean"}], or_text=False)
    for seed in range(6):
        value = json.loads(generate(runner, ask(only, max_tokens=60, seed=seed)).text)
        assert isinstance(value, bool) or jsonschema.validate(value, numbers) is None


def test_the_time_of_a_constrained_answer_begins_before_its_grammar_is_built(tiny_checkpoint, monkeypatch):
    """On a clock of this test's own, which ticks whenever somebody looks at it: nothing is timed."""
    clock = SimpleNamespace(ticks=0.0)

    def tick():
        clock.ticks += 1
        return clock.ticks

    start = ConstraintFactory.start

    def slow(self, *arguments):
        clock.ticks += 500
        return start(self, *arguments)

    chat = ChatVipLlava(model=str(tiny_checkpoint))
    monkeypatch.setattr(request_clock, "time", SimpleNamespace(perf_counter=tick))
    monkeypatch.setattr(ConstraintFactory, "start", slow)
    schema = {"title": "A", "type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    reply = chat.with_structured_output(schema, include_raw=True).invoke("Hi")["raw"]
    timings = reply.response_metadata["timings"]
    assert timings["grammar_us"] == 502_000_000  # beside the 500, an interval each for compiling and starting
    assert timings["first_token_us"] > timings["queued_us"] > timings["grammar_us"]
    free = chat.invoke("Hi").response_metadata["timings"]
    assert free["grammar_us"] == 2_000_000


def test_the_time_of_a_request_begins_where_it_is_made(tiny_checkpoint, monkeypatch):
    """It may wait for a thread that encodes it, as `agenerate` hands it over. Loading does not count."""
    clock = SimpleNamespace(ticks=0.0)

    def tick():
        clock.ticks += 1
        return clock.ticks

    backend = ChatVipLlava(model=str(tiny_checkpoint)).backend
    runner = backend.runner

    def loaded(self):
        clock.ticks += 10_000
        return runner

    monkeypatch.setattr(request_clock, "time", SimpleNamespace(perf_counter=tick))
    monkeypatch.setattr(type(backend), "runner", property(loaded))
    submission = backend.submission(ChatRequest(Conversation((Turn("Hi"),)), max_tokens=2), None)
    clock.ticks += 700
    submission.run()
    timings = submission.future.result(60).timings
    assert 700 < timings.queued < 800
    assert timings.first_token > timings.queued


@pytest.mark.parametrize("together", [1, 4])
def test_forced_tokens_are_taken_in_one_pass_and_change_no_answer(runner, together, monkeypatch):
    """The same tokens in fewer passes: alone and beside others, greedy and sampled, cut and whole."""
    rng = np.random.default_rng(together)
    asked = []
    for number in range(12):
        grammar = Grammar.from_schema(a_model(rng).model_json_schema())
        tokens, seed = int(rng.choice([7, 40, 200])), (None if number % 2 else number)
        asked.append([ask(grammar, f"What is it? {row}", tokens, seed) for row in range(together)])

    def answers():
        found = []
        for group in asked:
            handles = [runner.submit(one) for one in group]
            found += [handle.future.result(120) for handle in handles]
        return [(answer.token_ids, answer.text, answer.finish_reason) for answer in found]

    passes, places = [], []
    passed, head = runner._engine._passes, runner.model.lm_head
    forward, compute_logits = passed._layer_by_layer, head.forward
    monkeypatch.setattr(passed, "_layer_by_layer", lambda *args, **how: passes.append(1) or forward(*args, **how))
    monkeypatch.setattr(head, "forward", lambda x: places.append(x[..., 0].numel()) or compute_logits(x))
    jumped, with_jumps = answers(), len(passes)
    passes.clear()
    monkeypatch.setattr(Constraint, "forced", lambda self: [])
    assert answers() == jumped
    assert with_jumps < (0.7 if together == 1 else 0.95) * len(passes)
    assert max(places) <= together  # logits after all forced tokens of all rows would take time and memory


def test_a_stop_text_in_forced_tokens_ends_the_answer_there(runner):
    schema = {"type": "object", "properties": {"color_of_it": {"type": "integer"}}, "required": ["color_of_it"]}
    answer = generate(runner, replace(ask(Grammar.from_schema(schema)), stop=("_of",)))
    assert (answer.text, answer.finish_reason) == ('{"color', "stop")
    assert generate(runner, ask(Grammar.from_schema(schema))).text.startswith('{"color_of_it":')


@pytest.mark.parametrize("step", ["0.07", "0.0007", "0.035", "4.618"])
def test_a_step_that_no_float_holds_is_counted_exactly(step):
    text = Grammar.from_schema({"type": "number", "multipleOf": float(step), "minimum": 0, "maximum": 100}).text
    for steps in (1, 3, 7, 11, 13):
        value = Decimal(step) * steps
        for number, fits in ((value, True), (value + Decimal("1e-4"), Decimal("1e-4") % Decimal(step) == 0)):
            matcher = LLMatcher(LLTokenizer("byte"), text, log_level=0)
            taken = matcher.consume_tokens(list(f"{number:f}".encode())) and matcher.is_accepting()
            assert taken == fits, number


def test_a_step_that_is_not_counted_in_is_refused():
    with pytest.raises(GenerationError, match=r"no float near it is exact enough \(0.23\)"):
        Grammar.from_schema({"type": "number", "multipleOf": 0.23})
