"""At most one thread is inside an engine, and every later answer is right, whatever is raised wherever."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from langchain_vipllava import GenerationError
from langchain_vipllava.backends.local import LocalBackend
from langchain_vipllava.engine.engine import Engine
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol.chat_request import ChatRequest
from tests.support.interrupts import interrupt_at, places_of
from tests.support.plain_generate import request

TOKENS = 4


@pytest.fixture
def inside(monkeypatch):
    """The number of threads that were inside an engine at once, at every step."""
    step, counts, running = Engine.step, [], []

    def counted(engine):
        running.append(None)
        counts.append(len(running))
        try:
            step(engine)
        finally:
            running.pop()

    monkeypatch.setattr(Engine, "step", counted)
    return counts


@pytest.fixture(scope="module")
def talks(images):
    """With and without images, with shared beginnings and without."""
    return [
        Conversation((Turn("what is the red object", (images[0],)),)),
        Conversation((Turn("what is the red object", (images[0],), "a circle"), Turn("why"))),
        Conversation((Turn("what is the lime object", (images[1],)),)),
        Conversation((Turn("what is left of the red object"),)),
    ]


def ask(backend, talk, max_tokens=TOKENS):
    return list(backend.generate(ChatRequest(talk, max_tokens=max_tokens), timeout=60).token_ids)


def stream(backend, talk):
    *_, answer = backend.stream(ChatRequest(talk, max_tokens=TOKENS), timeout=60)
    return list(answer.token_ids)


def close_stream(backend, talk):
    pieces = backend.stream(ChatRequest(talk, max_tokens=TOKENS), timeout=60)
    next(pieces)
    pieces.close()


def agenerate(backend, talk):
    return asyncio.run(backend.agenerate(ChatRequest(talk, max_tokens=TOKENS), timeout=60))


def astream(backend, talk):
    async def collect():
        return [piece async for piece in backend.astream(ChatRequest(talk, max_tokens=TOKENS), timeout=60)]

    return asyncio.run(collect())


def stop(backend, talk):
    handle = backend.runner.submit(request(talk, max_tokens=TOKENS))
    backend.runner.stop()
    assert handle.future.done()


def stats(backend, talk):
    backend.stats()


def check_company(backend, talks, expected):
    """All questions at once, from as many threads; these also read what the prefix cache holds by now."""
    with ThreadPoolExecutor(len(talks)) as pool:
        assert list(pool.map(lambda talk: ask(backend, talk), talks)) == expected


@pytest.mark.parametrize("call", [ask, stream, close_stream, agenerate, astream, stop, stats])
def test_an_exception_at_any_line_of_a_call_harms_no_later_answer(parts, plain, talks, inside, call):
    backend = LocalBackend.from_model(*parts)
    expected = [plain.ids(talk, TOKENS) for talk in talks]
    check_company(backend, talks, expected)
    places = places_of(lambda: call(backend, talks[0]))
    for count, place in enumerate(places):
        interrupt_at(place, lambda count=count: call(backend, talks[count % len(talks)]))
        alone = (count + 1) % len(talks)
        assert ask(backend, talks[alone]) == expected[alone], place
        if count % 4 == 0:
            check_company(backend, talks, expected)
    assert max(inside) == 1
    backend.runner.stop()
    assert (backend.stats().waiting, backend.stats().running) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("call", [ask, stream])
def test_an_exception_between_any_two_instructions_harms_no_later_answer(parts, plain, talks, inside, call):
    backend = LocalBackend.from_model(*parts)
    expected = [plain.ids(talk, TOKENS) for talk in talks]
    check_company(backend, talks, expected)
    # not in locks.py, where Python runs no signal handler between the instructions that take and release a lock
    places = [place for place in places_of(lambda: call(backend, talks[0]), "opcode") if "locks.py" not in place[0]]
    for count, place in enumerate(places):
        interrupt_at(place, lambda count=count: call(backend, talks[count % len(talks)]), "opcode")
        alone = (count + 1) % len(talks)
        assert ask(backend, talks[alone]) == expected[alone], place
        if count % 20 == 0:
            check_company(backend, talks, expected)
    assert max(inside) == 1


class Gate:
    """Holds the model in a forward pass until it is opened."""

    def __init__(self, runner):
        self._opened, self.entered = threading.Event(), threading.Event()
        self._hook = runner.model.get_input_embeddings().register_forward_pre_hook(self._wait)

    def _wait(self, module, inputs):
        self.entered.set()
        assert self._opened.wait(60)

    def open(self):
        self._opened.set()
        self._hook.remove()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_callback_that_raises_harms_only_its_own_answer(parts, plain, talks, inside, error):
    runner = ModelRunner(*parts)
    expected = [plain.ids(talk, TOKENS) for talk in talks]

    def refuse(_):
        raise error("a callback of the user failed")

    gate = Gate(runner)
    deaf = runner.submit(request(talks[0], max_tokens=100), refuse)
    assert gate.entered.wait(60)
    refusing = runner.submit(request(talks[1], max_tokens=TOKENS))
    refusing.future.add_done_callback(refuse)
    others = [runner.submit(request(talk, max_tokens=TOKENS)) for talk in talks]
    gate.open()
    assert deaf.future.result(60).finish_reason == "cancelled"
    assert list(refusing.future.result(60).token_ids) == expected[1]
    assert [list(handle.future.result(60).token_ids) for handle in others] == expected
    assert list(runner.submit(request(talks[2], max_tokens=TOKENS)).future.result(60).token_ids) == expected[2]
    assert max(inside) == 1


def test_stop_in_a_callback_cancels_and_does_not_wait(parts, plain, talks, inside):
    runner = ModelRunner(*parts)
    gate = Gate(runner)
    stopped = runner.submit(request(talks[0], max_tokens=100), lambda piece: runner.stop())
    assert gate.entered.wait(60)
    short = runner.submit(request(talks[3], max_tokens=1))
    short.future.add_done_callback(lambda _: runner.stop())
    gate.open()
    assert stopped.future.result(60).finish_reason == "cancelled"
    assert short.future.result(60)
    runner.stop()
    answer = runner.submit(request(talks[1], max_tokens=TOKENS)).future.result(60)
    assert list(answer.token_ids) == plain.ids(talks[1], TOKENS)
    assert max(inside) == 1


def test_an_error_that_cannot_be_shown_ends_its_request(parts, plain, talks, monkeypatch):
    class Unspeakable(BaseException):
        def __str__(self):
            raise RuntimeError("no words")

    def fail(engine):
        raise Unspeakable

    runner = ModelRunner(*parts)
    with monkeypatch.context() as broken:
        broken.setattr(Engine, "step", fail)
        with pytest.raises(GenerationError, match="the model failed: Unspeakable"):
            runner.submit(request(talks[0], max_tokens=TOKENS)).future.result(60)
    answer = runner.submit(request(talks[1], max_tokens=TOKENS)).future.result(60)
    assert list(answer.token_ids) == plain.ids(talks[1], TOKENS)


def test_an_interrupted_thread_start_leaves_one_worker(parts, plain, talks, inside, monkeypatch):
    """An exception while `Thread.start` waits left the thread running and its owner without it."""
    backend = LocalBackend.from_model(*parts)
    expected = [plain.ids(talk, TOKENS) for talk in talks]
    start = threading.Thread.start

    def interrupted(thread):
        start(thread)
        if thread.name == "vipllava-engine":
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr(threading.Thread, "start", interrupted)
        ask(backend, talks[0], max_tokens=200)
    check_company(backend, talks, expected)
    assert [ask(backend, talk) for talk in talks] == expected
    assert max(inside) == 1
