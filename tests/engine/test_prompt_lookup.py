"""Tokens that are guessed from what was said, and checked in one pass: the same answers in fewer passes."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from transformers import VipLlavaForConditionalGeneration

from langchain_vipllava import ChatVipLlava, CheckpointError
from langchain_vipllava.engine import compiled_decode, kv_cache
from langchain_vipllava.engine.cuda_graph import CudaGraph
from langchain_vipllava.engine.encoding import EncodedPrompt
from langchain_vipllava.engine.grammar import Grammar
from langchain_vipllava.engine.prompt_lookup import PromptLookup
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol.sampling import Sampling
from tests.engine.test_engine import follow_random_schedules
from tests.support.checkpoints import make_model, make_processor
from tests.support.plain_generate import WORDS, request

LONG = " ".join(WORDS * 4)


@pytest.fixture(params=[False, True], ids=["modules", "recorded"])
def guessing(request, parts, monkeypatch):
    """The second one runs compiled code as Python code, and has the wide step."""
    monkeypatch.setattr(compiled_decode, "_BACKEND", "eager")
    return ModelRunner(*parts, compile_decode=request.param, prompt_lookup_num_tokens=6)


def count_passes(runner, monkeypatch):
    """Return the list that gets the number of tokens of each pass."""
    passes, found = runner._engine._passes, []
    layers, compiled = passes._layer_by_layer, passes._compiled

    def watched(embeddings, *args, **how):
        found.append(embeddings.shape[1])
        return layers(embeddings, *args, **how)

    monkeypatch.setattr(passes, "_layer_by_layer", watched)
    if compiled is not None:
        run = compiled._run
        monkeypatch.setattr(compiled, "_run", lambda *args: found.append(args[-1]) or run(*args))
    return found


def answers(runner, talks, tokens, **settings):
    handles = [runner.submit(request(talk, max_tokens=tokens, **settings)) for talk in talks]
    found = [handle.future.result(120) for handle in handles]
    return [(list(answer.token_ids), answer.text, answer.finish_reason, answer.logprobs) for answer in found]


def test_random_schedules_return_the_tokens_of_plain_generate(guessing, plain, images):
    follow_random_schedules(guessing, plain, images, seed=5, schedules=12)


def test_an_answer_that_repeats_itself_takes_fewer_passes(guessing, plain, images, monkeypatch):
    """A model of random weights soon says the same again and again."""
    talk = Conversation((Turn(LONG, (images[0],)),))
    passes = count_passes(guessing, monkeypatch)
    [(ids, *_)] = answers(guessing, [talk], 120)
    assert ids == plain.ids(talk, 120)
    assert len(passes) < 70


@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize(
    "settings", [{"sampling": Sampling(0.7, seed=3)}, {"top_logprobs": 2}], ids=["sampled", "logprobs"]
)
def test_guesses_change_nothing_of_what_is_sampled_or_recorded(parts, guessing, images, settings, together):
    talks = [Conversation((Turn(f"{LONG} {n}", (images[0],)),)) for n in range(together)]
    for (ids, *rest, places), (expected, *other, others) in zip(
        answers(guessing, talks, 40, **settings), answers(ModelRunner(*parts), talks, 40, **settings), strict=True
    ):
        assert (ids, rest) == (expected, other)
        if places is not None:
            assert len(places) == len(ids)
            for place, one in zip(places, others, strict=True):
                assert (place.token, [c.token for c in place.top]) == (one.token, [c.token for c in one.top])
                assert place.logprob == pytest.approx(one.logprob, abs=1e-3)


def test_an_answer_with_a_schema_stays_the_same(parts, guessing, images):
    schema = {"type": "array", "items": {"enum": ["red", "lime", "what"]}, "minItems": 9, "maxItems": 9}
    talks = [Conversation((Turn(f"{LONG} {n}", (images[0],)),)) for n in range(2)]
    grammar = Grammar.from_schema(schema)
    assert answers(guessing, talks, 200, grammar=grammar) == answers(ModelRunner(*parts), talks, 200, grammar=grammar)


@pytest.mark.parametrize("stop_at", [5, 11, 17])
def test_a_stop_text_ends_the_answer_inside_of_a_guess(parts, guessing, images, stop_at):
    talk = Conversation((Turn(LONG, (images[0],)),))
    plain = ModelRunner(*parts)
    [(ids, *_)] = answers(plain, [talk], 60)
    stop = plain.encoder.tokenizer.decode(ids[stop_at : stop_at + 2]).strip()
    assert answers(guessing, [talk], 60, stop=(stop,)) == answers(plain, [talk], 60, stop=(stop,))
    follow_up = Conversation((Turn(LONG, (images[0],), stop), Turn("why")))
    assert answers(guessing, [follow_up], 20) == answers(plain, [follow_up], 20)


def test_an_answer_that_ends_on_a_wrong_guess_leaves_no_guess_in_the_cache(parts, plain, monkeypatch):
    """Its columns hold the guess. Beside it, another answer goes on with right guesses."""
    talks = [Conversation((Turn(question),)) for question in ("what is red why", "what is red lime")]
    told = [plain.ids(talk, 30) for talk in talks]
    runner = ModelRunner(*parts, prompt_lookup_num_tokens=6)
    decode = runner.encoder.tokenizer.decode
    last = next(
        n
        for n in range(8, 30)
        if told[0][n] not in told[0][:n]
        and (text := decode(told[0][n : n + 1]).strip())
        and text not in decode(told[0][:n])
        and text not in decode(told[1])  # or it would end the other answer too
    )
    guessed = [[*told[0][:last], told[0][0]], told[1]]
    known = {runner.encoder.encode(request(talk)).ids: ids for talk, ids in zip(talks, guessed, strict=True)}

    def guess(lookup, answer, limit):
        return known.get(tuple(lookup._prompt), [])[len(answer) :][: min(6, limit)]

    monkeypatch.setattr(PromptLookup, "guess", guess)
    stop = decode(told[0][last : last + 1]).strip()
    handles = [runner.submit(request(talk, max_tokens=30, stop=(stop,))) for talk in talks]
    answered = [list(handle.future.result(60).token_ids) for handle in handles]
    assert [answered[0][:last], answered[1]] == [told[0][:last], told[1]]
    begun = runner.encoder.encode(request(talks[0]))
    said = (*told[0][: last + 1], *begun.ids)
    follow_up = EncodedPrompt((*begun.ids, *said))
    fresh = ModelRunner(*parts)
    found = []
    for one in (runner, fresh):
        monkeypatch.setattr(one.encoder, "encode", lambda _: follow_up)
        found.append(one.submit(request(talks[0], max_tokens=3, top_logprobs=0)).future.result(60))
    assert found[0].timings.reused_tokens >= len(begun.ids) + last
    assert [place.logprob for place in found[0].logprobs] == pytest.approx(
        [place.logprob for place in found[1].logprobs], abs=1e-3
    )


def test_a_short_follow_up_is_one_step_of_several_tokens(parts, plain, images, monkeypatch):
    """Where decoding is recorded, launching the layers one by one would take longer than all of a step."""
    monkeypatch.setattr(compiled_decode, "_BACKEND", "eager")
    runner = ModelRunner(*parts, compile_decode=True)
    passes = count_passes(runner, monkeypatch)
    turns = [Turn("what is it", (images[0],))]
    for question in ("why", "is it lime", LONG, "why"):
        [(ids, text, *_)] = answers(runner, [Conversation(tuple(turns))], 4)
        assert ids == plain.ids(Conversation(tuple(turns)), 4)
        turns = [*turns[:-1], Turn(turns[-1].question, turns[-1].images, text), Turn(question)]
    wide = compiled_decode.WIDE_TOKENS
    assert [n for n in passes if n > 1][1:3] == [wide, wide]
    assert [n for n in passes if n > 1][3] > wide


def test_a_wide_step_that_cannot_be_recorded_runs_eager(parts, plain, images, monkeypatch):
    step = compiled_decode.CompiledDecode._step

    def broken(self, inputs, *args):
        if inputs.ids.shape[1] > 1:
            raise RuntimeError("cannot record this")
        return step(self, inputs, *args)

    monkeypatch.setattr(compiled_decode, "_BACKEND", "eager")
    monkeypatch.setattr(compiled_decode.CompiledDecode, "_step", broken)
    runner = ModelRunner(*parts, compile_decode=True, prompt_lookup_num_tokens=4)
    talk = Conversation((Turn(LONG, (images[0],)),))
    for _ in range(2):
        assert answers(runner, [talk], 30)[0][0] == plain.ids(talk, 30)
    assert runner.decode_path == "compiled: compile_decode=True"


def test_a_row_that_is_alone_again_takes_the_step_of_several_tokens(parts, plain, images, monkeypatch):
    """The KV buffers keep the rows that were there."""
    monkeypatch.setattr(compiled_decode, "_BACKEND", "eager")
    runner = ModelRunner(*parts, compile_decode=True)
    talks = [Conversation((Turn(f"{LONG} {n}", (images[0],)),)) for n in range(3)]
    answers(runner, talks, 4)
    assert runner._engine._kv_cache.capacity[0] > 1
    follow_up = Conversation((Turn(talks[1].turns[0].question, (images[0],), "red"), Turn("why")))
    passes = count_passes(runner, monkeypatch)
    assert answers(runner, [follow_up], 4)[0][0] == plain.ids(follow_up, 4)
    assert passes[0] == compiled_decode.WIDE_TOKENS


def test_a_recorded_pass_bounds_guesses(parts, plain, images, monkeypatch):
    monkeypatch.setattr(compiled_decode, "_BACKEND", "eager")
    runner = ModelRunner(*parts, compile_decode=True, prompt_lookup_num_tokens=64)
    talk = Conversation((Turn(LONG, (images[0],)),))
    passes = count_passes(runner, monkeypatch)
    assert answers(runner, [talk], 150)[0][0] == plain.ids(talk, 150)
    assert set(passes[1:]) == {1, compiled_decode.WIDE_TOKENS}


def test_rows_that_cannot_guess_run_ahead(parts, plain, images, monkeypatch):
    """Where the host reads tokens while the device computes the next ones, several rows make no guesses."""
    monkeypatch.setattr(compiled_decode, "_BACKEND", "eager")
    runner = ModelRunner(*parts, compile_decode=True, prompt_lookup_num_tokens=4)
    passes, rows = runner._engine._passes, []
    launch = passes.append_best
    monkeypatch.setattr(passes, "append_best", lambda *args: rows.append(len(args[0])) or launch(*args))
    talks = [Conversation((Turn(f"{LONG} {n}", (images[0],)),)) for n in range(3)]
    assert [ids for ids, *_ in answers(runner, talks, 30)] == [plain.ids(talk, 30) for talk in talks]
    assert max(rows) == 3


def test_memory_for_one_token_at_a_time_is_enough(guessing, plain, images, monkeypatch):
    """Out of memory is simulated: for several tokens behind a prompt."""
    passes = guessing._engine._passes
    layers, step = passes._layer_by_layer, compiled_decode.CompiledDecode._step

    def small(embeddings, positions, cache, rows, **how):
        if embeddings.shape[1] > 1 and int(positions[0, 0]):
            raise torch.OutOfMemoryError("no memory for several tokens")
        return layers(embeddings, positions, cache, rows, **how)

    def narrow(decode, inputs, *args):
        if inputs.ids.shape[1] > 1:
            raise torch.OutOfMemoryError("no memory for several tokens")
        return step(decode, inputs, *args)

    monkeypatch.setattr(passes, "_layer_by_layer", small)
    monkeypatch.setattr(compiled_decode.CompiledDecode, "_step", narrow)
    talk = Conversation((Turn(LONG, (images[0],)),))
    assert answers(guessing, [talk], 60)[0][0] == plain.ids(talk, 60)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_padding_changes_no_rotation(kind, monkeypatch):
    """Such rotations of all tokens depend on the last position of a pass."""
    monkeypatch.setattr(compiled_decode, "_BACKEND", "eager")
    processor = make_processor()
    config = make_model(processor).config
    longrope = {"short_factor": [1.0] * 8, "long_factor": [3.0] * 8, "original_max_position_embeddings": 64}
    config.text_config.rope_parameters = {
        "rope_type": kind, "rope_theta": 10000.0, "factor": 4.0, **(longrope if kind == "longrope" else {}),
    }  # fmt: skip
    config.text_config.max_position_embeddings = 64
    torch.manual_seed(0)
    model = VipLlavaForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        parameter.data.mul_(4 if parameter.ndim > 1 else 1)
    talk = Conversation((Turn(" ".join(["red"] * 38)),))
    follow_up = Conversation((Turn(talk.turns[0].question, (), "lime"), Turn("why why")))
    found = []
    for compiled in (False, True):
        runner = ModelRunner(model, processor, compile_decode=compiled)
        answers(runner, [talk], 2)
        found.append(answers(runner, [follow_up], 2, top_logprobs=0)[0][-1])
    assert [place.logprob for place in found[1]] == pytest.approx([place.logprob for place in found[0]], abs=1e-3)


def test_a_recorded_step_is_dropped_before_the_next_one_is_recorded(parts, images, monkeypatch):
    """On a GPU, each takes memory beside the other."""
    monkeypatch.setattr(compiled_decode, "_BACKEND", "eager")
    monkeypatch.setattr(kv_cache, "COMPILED_COLUMN_MULTIPLE", 8)
    graphs, left = [], []

    class Watched(CudaGraph):
        def __init__(self, *args, **how):
            left.append(sum(graph() is not None for graph in graphs))
            super().__init__(*args, **how)
            graphs.append(weakref.ref(self))

    monkeypatch.setattr(compiled_decode, "CudaGraph", Watched)
    runner = ModelRunner(*parts, compile_decode=True)
    answers(runner, [Conversation((Turn(LONG, (images[0],)),))], 120)
    assert len(left) > 2
    assert not any(left)


IMAGE = -7


def test_a_guess_is_what_followed_last_time():
    lookup = PromptLookup([1, 2, 3, 4, 5, 1, 2, 3, 9, 8, 7, IMAGE, IMAGE, 6], most=3, never=IMAGE)
    assert lookup.guess([1, 2, 3], limit=9) == [9, 8, 7]
    assert lookup.guess([1, 2, 3, 0], limit=9) == []
    assert lookup.guess([1, 2, 3, 0, 4, 5], limit=2) == [1, 2]
    assert lookup.guess([1, 2, 3, 0, 4, 5, 8, 7], limit=9) == []  # an image follows


def test_a_guess_of_what_repeats_goes_on_repeating():
    lookup = PromptLookup([1, 2, 3, 1, 2], most=7, never=IMAGE)
    assert lookup.guess([3, 1, 2], limit=9) == [3, 1, 2, 3, 1, 2, 3]


def test_wrong_guesses_get_shorter_and_right_ones_longer():
    lookup = PromptLookup([1, 2] * 9, most=8, never=IMAGE)
    assert len(lookup.guess([], limit=99)) == 8
    lookup.learn(2, wrong=True)
    assert len(lookup.guess([], limit=99)) == 2
    lookup.learn(0, wrong=True)
    assert len(lookup.guess([], limit=99)) == 1
    for length in (2, 4, 8, 8):
        lookup.learn(len(lookup.guess([], limit=99)), wrong=False)
        assert len(lookup.guess([], limit=99)) == length


def test_guesses_agree_with_a_slow_search():
    """Against a search of all earlier places, on random texts of few words."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        ids = rng.integers(0, 4, 40).tolist()
        cut = int(rng.integers(0, 40))
        lookup = PromptLookup(ids[:cut], most=5, never=IMAGE)
        for end in range(max(cut, 1), 41):
            guess = lookup.guess(ids[cut:end], limit=99)
            expected = next(
                (place for size in (3, 2) for place in range(end - 1, size - 1, -1)
                 if end >= size and ids[place - size : place] == ids[end - size : end]),
                None,
            )  # fmt: skip
            known = ids[:end]
            if expected is None:
                assert guess == []
            else:
                for index in range(5):
                    known.append(known[expected + index])
                assert guess == known[end:]


@pytest.mark.parametrize("value", [-1, 65, 2.0, True, "4"])
def test_an_impossible_number_is_refused_with_what_was_expected(value):
    with pytest.raises(CheckpointError, match=r"prompt_lookup_num_tokens=.*; expected 0 to 64 tokens, or None"):
        ChatVipLlava(model="bundled", prompt_lookup_num_tokens=value)
