"""At most one thread is inside an engine, and every later answer is right, whatever is raised wherever."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from langchain_vipllava.backends.local import LocalBackend
from langchain_vipllava.engine.engine import Engine
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
