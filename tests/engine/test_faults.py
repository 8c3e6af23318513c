"""Faults: memory is given up, the batch halved, one request fails with its own error; nobody else's answer is lost.

What cannot be had here is injected at one place each: memory of a device that is used up, a failing image tower, a
panic of a Rust extension.
"""

from __future__ import annotations

import threading

import pytest
import torch

from langchain_vipllava import GenerationError
from langchain_vipllava.engine import engine as engine_module
from langchain_vipllava.engine.constraint import Constraint
from langchain_vipllava.engine.detokenizer import IncrementalDetokenizer
from langchain_vipllava.engine.failures import is_out_of_memory
from langchain_vipllava.engine.grammar import Grammar
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.prompt.conversation import Conversation, Turn
from tests.support.engine import generate
from tests.support.plain_generate import WORDS, request


class PanicException(BaseException):
    """What Rust extensions raise for a panic; no Exception."""


@pytest.fixture
def runner(parts):
    return ModelRunner(*parts)


@pytest.fixture
def talks(images):
    return [Conversation((Turn(word, (images[i % 4],)),)) for i, word in enumerate(WORDS)]


def held_back(monkeypatch, language_model, forward):
    """Run `forward` in place of the language model, but not before the returned event is set."""
    all_there = threading.Event()

    def wait(*args, **kwargs):
        assert all_there.wait(60)
        return forward(*args, **kwargs)

    monkeypatch.setattr(language_model, "forward", wait)
    return all_there


ERRORS = {
    "of the device": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "of the host": MemoryError(),
    "of torch's CPU allocator": RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: 8589934592 bytes"
    ),
    "of cuBLAS": RuntimeError("CUDA error: out of memory when calling cublasCreate"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_memory_is_given_up_first_then_the_batch_is_halved(runner, parts, plain, talks, monkeypatch, name):
    """Out of memory is injected: for more than two rows, and while features of images are cached."""
    language_model = parts[0].model.language_model
    original, rows_seen, released = language_model.forward, [], []

    def small(*args, **kwargs):
        rows = kwargs["inputs_embeds"].shape[0]
        rows_seen.append(rows)
        if rows > 2:
            raise ERRORS[name]
        return original(*args, **kwargs)

    expected = [plain.ids(talk, 4) for talk in talks]
    monkeypatch.setattr(engine_module, "release_device_memory", lambda: released.append(runner.stats().feature_bytes))
    all_there = held_back(monkeypatch, language_model, small)
    handles = [runner.submit(request(talk, max_tokens=4)) for talk in talks]
    all_there.set()
    assert [list(handle.future.result(60).token_ids) for handle in handles] == expected
    assert max(rows_seen) > 2
    assert released
    assert set(released) == {0}  # the caches were cleared before the devices were asked


def test_one_request_that_always_runs_out_of_memory_fails_alone_and_the_next_works(
    runner, parts, plain, talks, monkeypatch
):
    """Out of memory is injected: for every batch with a long row."""
    language_model = parts[0].model.language_model
    original = language_model.forward
    long = Conversation((Turn("why " * 80, talks[0].images),))

    def small(*args, **kwargs):
        if kwargs["position_ids"].max() > 150:
            raise torch.OutOfMemoryError("no memory for a long prompt")
        return original(*args, **kwargs)

    expected = [plain.ids(talk, 4) for talk in talks]
    all_there = held_back(monkeypatch, language_model, small)
    handles = [runner.submit(request(talk, max_tokens=4)) for talk in [*talks[:4], long, *talks[4:]]]
    all_there.set()
    failed = handles.pop(4)
    with pytest.raises(GenerationError, match=r"out of memory with a prompt of \d+ tokens.*shorter texts"):
        failed.future.result(60)
    assert [list(handle.future.result(60).token_ids) for handle in handles] == expected
    assert list(generate(runner, request(talks[0], max_tokens=4)).token_ids) == expected[0]


@pytest.mark.parametrize(
    "error", [RuntimeError("broken"), MemoryError(), PanicException("index out of bounds")], ids=repr
)
def test_a_failing_image_tower_fails_only_the_request_with_that_image(runner, parts, plain, talks, monkeypatch, error):
    model = parts[0]
    poison = runner.encoder.encode(request(talks[0])).images[0].pixels
    original = model.get_image_features
    entered, all_there = threading.Event(), threading.Event()

    def tower(pixel_values, **kwargs):
        entered.set()
        assert all_there.wait(60)
        if any(torch.equal(pixels, poison) for pixels in pixel_values):
            raise error
        return original(pixel_values=pixel_values, **kwargs)

    expected = [plain.ids(talk, 4) for talk in talks]
    monkeypatch.setattr(model, "get_image_features", tower)
    handles = [runner.submit(request(talk, max_tokens=4)) for talk in talks]
    all_there.set()
    for index, handle in enumerate(handles):
        if index % 4 == 0:
            with pytest.raises(GenerationError, match="out of memory" if isinstance(error, MemoryError) else "failed"):
                handle.future.result(60)
        else:
            assert list(handle.future.result(60).token_ids) == expected[index]
    monkeypatch.undo()
    assert list(generate(runner, request(talks[0], max_tokens=4)).token_ids) == expected[0]


@pytest.mark.parametrize(
    "place",
    [(Constraint, "mask"), (Constraint, "accept"), (IncrementalDetokenizer, "finish")],
    ids=lambda place: place[1],
)
@pytest.mark.parametrize("error", [ValueError("no"), PanicException("index out of bounds")], ids=repr)
def test_a_failing_constraint_or_text_fails_only_its_request(runner, plain, talks, monkeypatch, place, error):
    number = Grammar.from_schema({"type": "integer", "minimum": 0, "maximum": 999})
    expected = [plain.ids(talk, 30) for talk in talks[:3]]
    kind, method = place
    original = getattr(kind, method)

    def broken(self, *args, **kwargs):
        if kind is Constraint or self._max_tokens == 5:
            raise error
        return original(self, *args, **kwargs)

    monkeypatch.setattr(kind, method, broken)
    others = [runner.submit(request(talk, max_tokens=30)) for talk in talks[:3]]
    at_fault = runner.submit(request(talks[3], max_tokens=5, grammar=number))
    with pytest.raises(GenerationError, match=type(error).__name__):
        at_fault.future.result(60)
    assert [list(handle.future.result(60).token_ids) for handle in others] == expected
    monkeypatch.undo()
    assert generate(runner, request(talks[3], max_tokens=5, grammar=number)).text.isdigit()


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(3), PanicException("no")], ids=repr)
def test_a_callback_that_raises_ends_only_its_own_answer(runner, plain, talks, error):
    def listen(piece):
        raise error

    expected = [plain.ids(talk, 20) for talk in talks[:3]]
    others = [runner.submit(request(talk, max_tokens=20)) for talk in talks[:3]]
    cancelled = runner.submit(request(talks[3], max_tokens=400), listen).future.result(60)
    assert cancelled.finish_reason == "cancelled"
    assert [list(handle.future.result(60).token_ids) for handle in others] == expected


def test_a_panic_during_prefill_loses_no_request(runner, plain, talks, monkeypatch):
    """The group was in no queue: its callers waited indefinitely."""
    expected = [plain.ids(talk, 4) for talk in talks]
    original, panicked = engine_module.Engine._prefill, []

    def panic(self, group):
        if not panicked:
            panicked.append(len(group))
            raise PanicException("index out of bounds")
        original(self, group)

    monkeypatch.setattr(engine_module.Engine, "_prefill", panic)
    handles = [runner.submit(request(talk, max_tokens=4)) for talk in talks]
    results = []
    for handle in handles:
        try:
            results.append(list(handle.future.result(60).token_ids))
        except GenerationError:
            results.append(None)
    assert panicked
    assert [result for result in results if result] == [
        e for e, result in zip(expected, results, strict=True) if result
    ]
    assert results.count(None) <= (panicked == [1])  # one that was alone gets the error


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
    assert not is_out_of_memory(ValueError("out of memory"))
