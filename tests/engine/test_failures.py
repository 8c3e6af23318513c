"""Failures, cancellations and memory: what the engine keeps, frees and tries again."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from langchain_vipllava import GenerationError
from langchain_vipllava.engine import compiled_decode as decode
from langchain_vipllava.engine import engine as engine_module
from langchain_vipllava.engine import scheduler
from langchain_vipllava.engine.prefix_cache import PrefixCache
from langchain_vipllava.engine.request import Sampling
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.engine.sampler import TokenSampler
from langchain_vipllava.engine.sequence import Sequence
from langchain_vipllava.prompt.conversation import Conversation, Turn
from tests.support.engine import generate
from tests.support.plain_generate import WORDS, random_question, request


def test_out_of_memory_in_a_batch_runs_its_answers_one_by_one(parts, plain, images, monkeypatch):
    """Out of memory is simulated, as a real one needs a GPU: the model refuses more than one row."""
    model, processor = parts
    runner = ModelRunner(model, processor)
    language_model = model.model.language_model
    forward = language_model.forward

    def small(*args, **kwargs):
        if kwargs["inputs_embeds"].shape[0] > 1:
            raise torch.OutOfMemoryError("no memory for more than one row")
        return forward(*args, **kwargs)

    monkeypatch.setattr(language_model, "forward", small)
    talks = [Conversation((Turn(word, (images[i % 4],)),)) for i, word in enumerate(WORDS)]
    handles = [runner.submit(request(talk, max_tokens=3)) for talk in talks]
    for handle, talk in zip(handles, talks, strict=True):
        assert list(handle.future.result(60).token_ids) == plain.ids(talk, 3)


def test_out_of_memory_of_one_answer_is_retried_with_empty_caches(parts, plain, images, monkeypatch):
    """Out of memory is simulated: the model refuses to run while keys and values are cached, and later always."""
    model, processor = parts
    runner = ModelRunner(model, processor)
    language_model = model.model.language_model
    forward, calls, full = language_model.forward, [], []

    def small(*args, **kwargs):
        calls.append(runner._engine.prefix_cache.bytes)
        if calls[-1] or len(calls) < 2 or full:
            raise torch.OutOfMemoryError("no memory next to the cache")
        return forward(*args, **kwargs)

    talks = [Conversation((Turn(word, (images[i],)),)) for i, word in enumerate(WORDS[:2])]
    generate(runner, request(talks[0], max_tokens=3))
    expected = plain.ids(talks[1], 1)
    monkeypatch.setattr(language_model, "forward", small)
    assert list(generate(runner, request(talks[1], max_tokens=1)).token_ids) == expected
    full.append(True)
    with pytest.raises(GenerationError, match="out of memory"):
        generate(runner, request(talks[0], max_tokens=2))


def test_out_of_memory_of_two_rows_and_then_of_one_is_retried(parts, plain, images, monkeypatch):
    """Out of memory is simulated: with two rows, then with one."""
    model, processor = parts
    runner = ModelRunner(model, processor)
    language_model = model.model.language_model
    forward, refused, entered, both = language_model.forward, [], threading.Event(), threading.Event()

    def small(*args, **kwargs):
        entered.set()
        assert both.wait(60)
        rows, new = kwargs["inputs_embeds"].shape[:2]
        if new == 1 and refused.count(rows) < 1:
            refused.append(rows)
            raise torch.OutOfMemoryError("no memory")
        return forward(*args, **kwargs)

    talks = [Conversation((Turn(word, (images[0],)),)) for word in WORDS[:2]]
    expected = [plain.ids(talk, 5) for talk in talks]
    monkeypatch.setattr(language_model, "forward", small)
    runner.submit(request(Conversation((Turn("why"),)), max_tokens=1))  # keeps the model busy until both are submitted
    assert entered.wait(60)
    handles = [runner.submit(request(talk, max_tokens=5)) for talk in talks]
    both.set()
    results = [handle.future.result(60) for handle in handles]
    assert [list(result.token_ids) for result in results] == expected
    assert refused == [2, 1]


def test_the_number_of_rows_recovers_after_a_failure(parts, plain, images, monkeypatch):
    monkeypatch.setattr(scheduler, "_STEPS_PER_ROW", 2)
    model, processor = parts
    runner = ModelRunner(model, processor)
    language_model = model.model.language_model
    forward, rows_seen, all_there = language_model.forward, [], threading.Event()

    def once(*args, **kwargs):
        assert all_there.wait(60)
        rows, new = kwargs["inputs_embeds"].shape[:2]
        if new == 1 and rows == 8 and None not in rows_seen:
            rows_seen.append(None)
            raise RuntimeError("one failure")
        rows_seen.append(rows)
        return forward(*args, **kwargs)

    talks = [Conversation((Turn(word, (images[0],)),)) for word in WORDS[:8]]
    expected = [plain.ids(talk, 40) for talk in talks]
    monkeypatch.setattr(language_model, "forward", once)
    handles = [runner.submit(request(talk, max_tokens=40)) for talk in talks]
    all_there.set()
    assert [list(handle.future.result(60).token_ids) for handle in handles] == expected
    after = rows_seen[rows_seen.index(None) + 1 :]
    assert max(after[:3]) <= 4
    assert max(after) == 8


def test_a_failed_step_does_not_count_towards_recovery(monkeypatch):
    monkeypatch.setattr(scheduler, "_STEPS_PER_ROW", 2)
    steps = scheduler.Scheduler(PrefixCache(0))
    sequences = [Mock(spec=Sequence) for _ in range(8)]

    def step(*, fails: bool) -> int:
        steps.begin_step()
        if fails:
            steps.recover(sequences, max_rows=4)
        steps.end_step()
        return steps.max_rows

    assert [step(fails=failure) for failure in (True, False, False, False, False)] == [4, 4, 5, 5, 6]
    steps.clear()
    assert step(fails=False) == scheduler.MAX_ROWS


def test_a_stored_error_holds_no_tensors(parts, images, monkeypatch):
    model, processor = parts
    runner = ModelRunner(model, processor, cache_bytes=0)
    talk = Conversation((Turn("why", (images[0],)),))
    generate(runner, request(talk, max_tokens=3))
    runner.stop()
    before = _tensor_bytes()

    def broken(*args, **kwargs):
        try:
            raise ValueError("broken deep inside")
        except ValueError as error:
            raise RuntimeError("broken") from error

    monkeypatch.setattr(model.model.language_model, "forward", broken)
    with pytest.raises(GenerationError, match="RuntimeError: broken") as caught:
        generate(runner, request(talk, max_tokens=3))
    runner.stop()
    assert _tensor_bytes() <= before
    assert isinstance(caught.value.__cause__.__cause__, ValueError)
    assert "broken deep inside" in caught.value.__cause__.__notes__[0]
    engine = weakref.ref(runner._engine)
    kept = caught.value.with_traceback(None)  # the traceback of this test holds the runner
    del runner, caught
    gc.collect()
    assert engine() is None
    assert "RuntimeError: broken" in str(kept)


def test_a_failing_answer_does_not_affect_the_others(parts, plain, images, monkeypatch):
    """The failure is simulated: choosing a token fails, which only the sampled answer does."""
    runner = ModelRunner(*parts)
    talks = [Conversation((Turn(word, (images[0],)),)) for word in WORDS[:3]]
    generate(runner, request(talks[0], max_tokens=1))

    def broken(self, scores):
        raise ValueError("no token will do")

    monkeypatch.setattr(TokenSampler, "choose", broken)
    at_fault = runner.submit(request(talks[1], max_tokens=20, sampling=Sampling(temperature=1.0)))
    others = [runner.submit(request(talk, max_tokens=20)) for talk in (talks[0], talks[2])]
    with pytest.raises(GenerationError, match="no token will do"):
        at_fault.future.result(60)
    for handle, talk in zip(others, (talks[0], talks[2]), strict=True):
        result = handle.future.result(60)
        assert list(result.token_ids) == plain.ids(talk, 20)
        assert result.timings.reused_tokens >= runner.encoder.image_tokens
    assert runner.stats().cache_bytes > 0
    again = generate(runner, request(talks[1], max_tokens=20))
    assert list(again.token_ids) == plain.ids(talks[1], 20)
    assert again.timings.reused_tokens >= runner.encoder.image_tokens


def test_500_requests_with_cancellations_leak_nothing(parts, images):
    runner = ModelRunner(*parts, cache_bytes=200_000)
    rng = np.random.default_rng(1)
    held = []
    for _ in range(50):
        handles = [
            runner.submit(request(Conversation((Turn(random_question(rng), (images[i % 4],)),)), max_tokens=6))
            for i in range(10)
        ]
        for handle in handles:
            if rng.random() < 0.5:
                handle.cancel()
        for handle in handles:
            handle.future.result(60)
        runner.stop()  # the last answer is delivered before its buffers are freed
        held.append(_tensor_bytes())
    assert not [thread for thread in threading.enumerate() if thread.name == "vipllava-engine"]
    stats = runner.stats()
    assert (stats.running, stats.waiting) == (0, 0)
    assert stats.cache_bytes <= 200_000
    assert max(held[25:]) <= max(held[5:25]) + 200_000
    del handles, handle
    assert not _live(Sequence)


@pytest.mark.parametrize("compiled", [False, True])
def test_memory_of_many_answers_is_freed(parts, images, compiled, monkeypatch):
    monkeypatch.setattr(decode, "_BACKEND", "eager")
    runner = ModelRunner(*parts, cache_bytes=0, compile_decode=compiled)
    talks = [Conversation((Turn(word, (images[0],)),)) for word in WORDS]
    generate(runner, request(talks[0], max_tokens=3))
    before = _tensor_bytes()
    for handle in [runner.submit(request(talk, max_tokens=9)) for talk in talks]:
        handle.future.result(60)
    runner.stop()
    assert _tensor_bytes() <= before


def _tensor_bytes() -> int:
    fake = torch._subclasses.FakeTensor  # fake tensors of the compiler have no memory
    return sum(tensor.nbytes for tensor in _live(torch.Tensor) if not isinstance(tensor, fake))


def _live(kind: type) -> list[object]:
    gc.collect()
    return [thing for thing in gc.get_objects() if issubclass(type(thing), kind)]


def test_an_unexpected_failure_ends_the_answers_but_not_the_engine(parts, plain, images, monkeypatch):
    runner = ModelRunner(*parts)
    talk = Conversation((Turn("why", (images[0],)),))
    monkeypatch.setattr(runner._engine.prefix_cache, "cached_tokens", lambda key: len(key) / 0)
    handles = [runner.submit(request(talk, max_tokens=3)) for _ in range(2)]
    for handle in handles:
        with pytest.raises(GenerationError, match="division by zero") as caught:
            handle.future.result(60)
        (note,) = caught.value.__cause__.__notes__  # the traceback, once for every caller
        assert "lambda" in note
    monkeypatch.undo()
    assert list(generate(runner, request(talk, max_tokens=3)).token_ids) == plain.ids(talk, 3)


def test_an_answer_survives_if_its_prefix_cannot_be_cached(parts, plain, images, monkeypatch):
    runner = ModelRunner(*parts)
    talk = Conversation((Turn("why", (images[0],)),))

    def full(self, row, start):
        raise torch.OutOfMemoryError("no memory for a copy")

    monkeypatch.setattr(engine_module.BatchKVCache, "copy_row", full)
    assert list(generate(runner, request(talk, max_tokens=3)).token_ids) == plain.ids(talk, 3)


def test_a_program_exits_cleanly_during_an_answer(tiny_checkpoint):
    program = (
        "import sys\n"
        "from langchain_vipllava import ChatVipLlava\n"
        "chat = ChatVipLlava(model=sys.argv[1], max_tokens=400)\n"
        "streams = [chat.stream('Hi') for _ in range(3)]\n"
        "print([next(stream).text for stream in streams])\n"
        "sys.exit(7)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(tiny_checkpoint)], capture_output=True, timeout=120, check=False
    )
    assert run.returncode == 7, run.stderr.decode()


def test_a_thread_that_cannot_start_fails_only_its_request(parts, monkeypatch):
    """A process that cannot start a thread is simulated."""
    runner = ModelRunner(*parts)

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(GenerationError, match="can't start new thread"):
            generate(runner, request(Conversation((Turn("why"),)), max_tokens=3))
        runner.stop()
    assert runner.stats().waiting == 0
    assert generate(runner, request(Conversation((Turn("why"),)), max_tokens=3)).token_ids


def test_a_panic_in_a_step_fails_its_requests_and_the_next_is_answered(parts, monkeypatch):
    """Rust extensions raise their panics as a BaseException; one is simulated."""

    class PanicException(BaseException):
        pass

    def panic(self):
        raise PanicException("index out of bounds")

    runner = ModelRunner(*parts)
    with monkeypatch.context() as broken:
        broken.setattr(type(runner._engine), "step", panic)
        with pytest.raises(GenerationError, match="PanicException: index out of bounds"):
            generate(runner, request(Conversation((Turn("why"),)), max_tokens=3))
    assert generate(runner, request(Conversation((Turn("why"),)), max_tokens=3)).token_ids
