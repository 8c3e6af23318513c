"""Bounds of a request and of the requests in flight: what is beyond is refused at once, and nobody waits for it."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from langchain_vipllava import (
    BusyError,
    ChatVipLlava,
    GenerationError,
    PromptTooLongError,
    RequestLimits,
    VipLlavaError,
    trim_turns,
)
from langchain_vipllava.backends.local import LocalBackend
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol.admission import Admission, admission_of
from langchain_vipllava.protocol.chat_request import ChatRequest
from langchain_vipllava.protocol.output_spec import OutputSpec
from tests.support.echo import EchoBackend

MEGABYTES = "what is it? " * 900_000
"""10 MB of text."""

IN_A_TENTH = 0.1
"""Seconds in which issue 17 asks for a refusal."""


def nested(levels):
    schema = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def doubled(levels):
    """A schema whose parts are few objects in Python, and 2**levels when written."""
    schema = {"type": "integer"}
    for _ in range(levels):
        schema = {"anyOf": [schema, schema]}
    return schema


def endless():
    schema = {"type": "array"}
    schema["items"] = schema
    return schema


def tool(number=0, **parts):
    return {"type": "function", "function": {"name": f"tool{number}", "description": "A tool.", **parts}}


MANY_TOOLS = [tool()] * 100_000


def response_format(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


@pytest.fixture(scope="module")
def warm(tiny_checkpoint):
    """A chat model that is loaded, and has answered."""
    llm = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=3)
    llm.invoke("Hi")
    return llm


TOO_MUCH = {
    "a question": lambda llm: llm.invoke(MEGABYTES),
    "an old question": lambda llm: llm.invoke([HumanMessage(MEGABYTES), AIMessage("A star."), HumanMessage("Why?")]),
    "an old answer": lambda llm: llm.invoke([HumanMessage("What?"), AIMessage(MEGABYTES), HumanMessage("Why?")]),
    "text blocks": lambda llm: llm.invoke([HumanMessage([{"type": "text", "text": "what? " * 50_000}] * 30)]),
    "a system text": lambda llm: llm.invoke([SystemMessage(MEGABYTES), HumanMessage("Why?")]),
    "counting": lambda llm: llm.get_num_tokens_from_messages([HumanMessage(MEGABYTES)]),
    "counting a text": lambda llm: llm.get_num_tokens(MEGABYTES),
    "token ids": lambda llm: llm.get_token_ids(MEGABYTES),
    "a stream": lambda llm: list(llm.stream(MEGABYTES)),
    "the prompt": lambda llm: llm.render_prompt(MEGABYTES),
    "the backend": lambda llm: llm.backend.generate(ChatRequest(Conversation((Turn(MEGABYTES),)))),
    "counting by the backend": lambda llm: llm.backend.count_tokens(ChatRequest(Conversation((Turn(MEGABYTES),)))),
    "tokens of the backend": lambda llm: llm.backend.tokenize(MEGABYTES),
    "what the context cannot hold": lambda llm: llm.invoke("what? " * 20_000),
}

UNENFORCEABLE = {
    "a million stop texts": lambda llm: llm.invoke("Hi", stop=[str(number) for number in range(10**6)]),
    "a stop text of 10 MB": lambda llm: llm.invoke("Hi", stop=[MEGABYTES]),
    "a million stop texts of a request": lambda llm: llm.backend.generate(
        ChatRequest(Conversation((Turn("Hi"),)), stop=("x",) * 10**6)
    ),
    "100,000 tools": lambda llm: llm.bind_tools(MANY_TOOLS),
    "100,000 tools of a call": lambda llm: llm.invoke("Hi", tools=MANY_TOOLS),
    "a tool's description of 10 MB": lambda llm: llm.bind_tools([tool(description=MEGABYTES)]),
    "a tool's parameters, 5,000 deep": lambda llm: llm.bind_tools(
        [tool(parameters={"type": "object", "properties": {"x": nested(5000)}})]
    ),
    "a schema 5,000 deep": lambda llm: llm.with_structured_output({"title": "a", **nested(5000)}),
    "a schema 5,000 deep, as a function": lambda llm: llm.with_structured_output(
        {"title": "a", "description": "a", **nested(5000)}, method="function_calling"
    ),
    "a schema 5,000 deep, of a call": lambda llm: llm.invoke("Hi", response_format=response_format(nested(5000))),
    "a schema 5,000 deep, of a request": lambda llm: llm.backend.check_output(OutputSpec(schema=nested(5000))),
    "a schema of 10 MB": lambda llm: llm.with_structured_output({"title": "a", "enum": [MEGABYTES]}),
    "a schema of a million values": lambda llm: llm.with_structured_output({"title": "a", "enum": [*range(10**6)]}),
    "a schema of 2**60 parts": lambda llm: llm.with_structured_output({"title": "a", **doubled(30)}),
    "a schema in itself": lambda llm: llm.with_structured_output({"title": "a", **endless()}),
    "multiples of a large prime": lambda llm: structured(llm, {"type": "integer", "multipleOf": 999_983}),
    "multiples of many numbers": lambda llm: structured(
        llm, {"type": "array", "prefixItems": [{"type": "integer", "multipleOf": 9000 + n} for n in range(500)]}
    ),
    "multiples of two numbers": lambda llm: structured(
        llm, {"type": "integer", "allOf": [{"multipleOf": 9973}, {"multipleOf": 9967}]}
    ),
    "multiples of a number and of a reference's": lambda llm: structured(
        llm, {"$ref": "#/$defs/n", "multipleOf": 991, "$defs": {"n": {"type": "integer", "multipleOf": 997}}}
    ),
    "multiples of a number and of an alternative's": lambda llm: structured(
        llm, {"type": "integer", "multipleOf": 997, "anyOf": [{"multipleOf": 991}, {"multipleOf": 983}]}
    ),
    "a number of 100,000 digits": lambda llm: llm.with_structured_output(
        {"title": "a", "const": 10**100_000 * 10**200_000}
    ),
}


def structured(llm, schema):
    return llm.with_structured_output({"title": "a", **schema})


def seconds_of_a_refusal(call, llm, kind):
    started = time.perf_counter()
    with pytest.raises(kind) as caught:
        call(llm)
    assert len(str(caught.value)) <= 2000
    return time.perf_counter() - started


@pytest.mark.parametrize("name", TOO_MUCH)
def test_too_much_text_is_refused_in_a_tenth_of_a_second(warm, name):
    assert min(seconds_of_a_refusal(TOO_MUCH[name], warm, PromptTooLongError) for _ in range(2)) < IN_A_TENTH


@pytest.mark.parametrize("name", UNENFORCEABLE)
def test_stop_texts_tools_and_schemas_beyond_the_bounds_are_refused_at_once(warm, name):
    assert min(seconds_of_a_refusal(UNENFORCEABLE[name], warm, GenerationError) for _ in range(2)) < 10 * IN_A_TENTH


def test_another_caller_does_not_wait_for_text_that_is_refused_or_counted(warm):
    """Long but legal text is counted meanwhile, over and over."""
    alone = warm.invoke("Hi").text
    long = "what is it? " * 80_000
    stop = threading.Event()

    def count():
        while not stop.is_set():
            assert warm.get_num_tokens(long) > 80_000

    with ThreadPoolExecutor(2) as pool:
        counting = [pool.submit(count) for _ in range(2)]
        try:
            waits = []
            for _ in range(5):
                started = time.perf_counter()
                assert warm.invoke("Hi").text == alone
                waits.append(time.perf_counter() - started)
        finally:
            stop.set()
        assert [future.result() for future in counting] == [None, None]
    started = time.perf_counter()
    warm.get_num_tokens(long)
    assert min(waits) < 10 * (time.perf_counter() - started)


def test_texts_within_the_bounds_are_not_refused(warm):
    exact = ChatVipLlava(model=warm.model, max_tokens=3, limits=RequestLimits(max_text_bytes=9, max_stop_bytes=4))
    assert exact.invoke("Wie spät").text == warm.invoke("Wie spät").text
    assert exact.invoke("Hi", stop=["ä", "ö"])
    with pytest.raises(PromptTooLongError, match=r"10 or more bytes of text.*max_text_bytes=9"):
        exact.invoke("Wie spät?")
    with pytest.raises(GenerationError, match=r"5 or more bytes.*max_stop_bytes=4"):
        exact.invoke("Hi", stop=["ä", "öx"])


def test_the_longest_text_that_fits_is_not_refused_by_its_characters(warm):
    """Of a token with as many characters as any, as many as the context can hold."""
    encoder = warm.backend.runner.encoder
    pieces = sorted(encoder.tokenizer.get_vocab(), key=len, reverse=True)
    texts = (piece.replace("▁", " ") for piece in pieces if piece.startswith("▁"))
    text = next(text for text in texts if len(encoder.token_ids(text * 20)) <= 21)
    most = encoder.context_length - 20
    assert warm.invoke(text * most).usage_metadata["input_tokens"] > most
    with pytest.raises(PromptTooLongError, match=r"tokens.*too many"):
        warm.invoke(text * encoder.context_length)
    with pytest.raises(PromptTooLongError, match="characters, too many"):
        warm.invoke(text * (encoder.context_length * len(pieces[0]) // len(text) + 1))


def test_a_conversation_beyond_the_bound_is_trimmed(warm):
    long = ChatVipLlava(model=warm.model, max_tokens=3, limits=RequestLimits(max_text_bytes=3000))
    talk = [message for _ in range(40) for message in (HumanMessage("what is it? " * 8), AIMessage("A star."))]
    kept = trim_turns([*talk, HumanMessage("Why?")], long)
    assert kept[-1].content == "Why?"
    assert 3 <= len(kept) < 41
    assert long.invoke(kept)


def test_limits_say_what_is_expected():
    for bad in ({"max_in_flight": 0}, {"max_tools": -1}, {"max_text_bytes": 1.5}, {"max_images": True}):
        (name,) = bad
        with pytest.raises(GenerationError, match=rf"{name}=.*expected a whole number"):
            RequestLimits(**bad)


def test_models_with_different_limits_share_one_loaded_model(warm):
    other = ChatVipLlava(model=warm.model, limits=RequestLimits(max_in_flight=2))
    assert other.backend.runner is warm.backend.runner
    assert other.backend.admission is warm.backend.admission


def test_a_backend_of_another_kind_is_bounded_too():
    llm = ChatVipLlava(backend=EchoBackend(), limits=RequestLimits(max_text_bytes=100, max_stop_texts=1))
    assert llm.invoke("Hello.").text == "Hello."
    with pytest.raises(PromptTooLongError):
        llm.invoke("Hello. " * 20)
    with pytest.raises(GenerationError, match="2 stop texts; expected at most max_stop_texts=1"):
        llm.invoke("Hello.", stop=["x", "y"])


class Gate:
    """Holds the model back until it is opened."""

    def __init__(self, llm, monkeypatch):
        self.entered, self.opened = threading.Event(), threading.Event()
        language_model = llm.backend.runner.model.model.language_model
        forward = language_model.forward

        def wait(*args, **kwargs):
            self.entered.set()
            assert self.opened.wait(60)
            return forward(*args, **kwargs)

        monkeypatch.setattr(language_model, "forward", wait)


@pytest.fixture
def gate(warm, monkeypatch):
    gate = Gate(warm, monkeypatch)
    yield gate
    gate.opened.set()
    warm.backend.runner.stop()
    assert in_flight(warm) == 0


def in_flight(llm):
    return llm.backend.admission.in_flight + admission_of(("calls", llm.backend.cache_key)).in_flight


def test_ten_thousand_calls_at_once_are_refused_but_for_the_bound(warm, gate):
    few = ChatVipLlava(model=warm.model, max_tokens=3, limits=RequestLimits(max_in_flight=5))
    expected = "Hi"

    async def ask():
        calls = [asyncio.ensure_future(few.ainvoke(expected)) for _ in range(10_000)]
        while sum(call.done() for call in calls) < 9_995:
            await asyncio.sleep(0)
        assert not gate.opened.is_set()  # the refused ones did not wait for the others
        gate.opened.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(ask())
    refused = [answer for answer in answers if isinstance(answer, BusyError)]
    assert len(refused) == 9_995
    assert "max_in_flight=5" in str(refused[0])
    assert "with_retry(retry_if_exception_type=(BusyError,))" in str(refused[0])
    assert "max_concurrency" in str(refused[0])
    assert {answer.text for answer in answers if not isinstance(answer, BusyError)} == {warm.invoke(expected).text}
    warm.backend.runner.stop()
    assert in_flight(warm) == 0


def test_a_batch_within_the_bound_is_answered_and_one_beyond_it_by_max_concurrency_or_retries(warm):
    few = ChatVipLlava(model=warm.model, max_tokens=3, limits=RequestLimits(max_in_flight=8))
    expected = warm.invoke("Hi").text
    assert [answer.text for answer in asyncio.run(few.abatch(["Hi"] * 8))] == [expected] * 8
    limited = asyncio.run(few.abatch(["Hi"] * 50, config={"max_concurrency": 8}))
    assert [answer.text for answer in limited] == [expected] * 50
    retrying = few.with_retry(
        retry_if_exception_type=(BusyError,), stop_after_attempt=50, wait_exponential_jitter=False
    )
    assert [answer.text for answer in asyncio.run(retrying.abatch(["Hi"] * 20))] == [expected] * 20
    assert in_flight(warm) == 0


def test_threads_beyond_the_bound_are_refused(warm, gate):
    two = ChatVipLlava(model=warm.model, max_tokens=3, limits=RequestLimits(max_in_flight=2))
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(two.invoke, "Hi") for _ in range(2)]
        assert gate.entered.wait(60)
        while in_flight(warm) < 4:
            time.sleep(0)  # lets the second thread take its slot
        for call in (two.invoke, two.backend.generate):
            with pytest.raises(BusyError):
                call("Hi" if call == two.invoke else ChatRequest(Conversation((Turn("Hi"),))))
        with pytest.raises(BusyError):
            next(iter(two.stream("Hi")))
        gate.opened.set()
        assert len({future.result().text for future in held}) == 1
    assert two.invoke("Hi")


def raises(error):
    def broken(*args, **kwargs):
        raise error

    return broken


STAGES = {
    "reading": "langchain_vipllava.chat.model.read_messages",
    "compiling": "langchain_vipllava.backends.local.compile_request",
    "loading": "langchain_vipllava.engine.runner.get_runner",
    "tokenizing": "langchain_vipllava.engine.encoding.PromptEncoder.encode_text",
    "submitting": "langchain_vipllava.engine.worker.EngineWorker.submit",
    "prefill": "langchain_vipllava.engine.engine.Engine._prefill",
    "sampling": "langchain_vipllava.engine.sampler.TokenSampler.choose",
    "the step": "langchain_vipllava.engine.engine.Engine.step",
}


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), MemoryError(), KeyboardInterrupt(), GenerationError("no")], ids=repr
)
@pytest.mark.parametrize("stage", STAGES)
def test_a_request_that_fails_anywhere_gives_its_slot_back(warm, monkeypatch, stage, error):
    runner = warm.backend.runner
    with monkeypatch.context() as broken:
        broken.setattr(STAGES[stage], raises(error))
        for call in (lambda: warm.invoke("Hi", temperature=1.0), lambda: list(warm.stream("Hi", temperature=1.0))):
            with pytest.raises((VipLlavaError, type(error))):
                call()
        if not isinstance(error, KeyboardInterrupt):  # it would end the event loop
            with pytest.raises((VipLlavaError, type(error))):
                asyncio.run(warm.ainvoke("Hi", temperature=1.0))
        runner.stop()
    assert in_flight(warm) == 0
    assert warm.invoke("Hi").text


def test_a_cancelled_call_gives_its_slot_back(warm, gate):
    async def ask():
        calls = [asyncio.ensure_future(warm.ainvoke("Hi")) for _ in range(40)]
        assert await asyncio.to_thread(gate.entered.wait, 60)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert all(call.cancelled() for call in calls)

    asyncio.run(ask())
    gate.opened.set()
    warm.backend.runner.stop()
    assert in_flight(warm) == 0


def test_a_stream_that_is_closed_or_dropped_gives_its_slot_back(warm):
    closed = warm.stream("Hi", max_tokens=100)
    next(closed)
    assert in_flight(warm) == 2
    closed.close()
    dropped = warm.stream("Hi", max_tokens=100)
    next(dropped)
    del dropped
    warm.backend.runner.stop()
    assert in_flight(warm) == 0


def test_a_slot_that_is_lost_comes_back():
    admission = Admission()
    slots = [admission.enter(2), admission.enter(2)]
    with pytest.raises(BusyError):
        admission.enter(2)
    slots.pop()  # as an interrupt between `enter` and `with` does
    with admission.enter(2) as third:
        third.release()
        assert admission.in_flight == 1
        assert admission.enter(2)
    assert admission.in_flight == 1
    admission.clear()
    assert admission.in_flight == 0


def test_no_more_than_the_bound_enter_from_many_threads():
    admission, most = Admission(), 7
    inside = []

    def enter(_):
        try:
            with admission.enter(most):
                inside.append(admission.in_flight)
                return 1
        except BusyError:
            return 0

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(enter, range(5000))) > most
    assert max(inside) <= most + 16  # those that are about to be refused are counted for a moment
    assert admission.in_flight == 0


@pytest.mark.parametrize("call", ["invoke", "ainvoke", "stream", "astream"])
def test_a_timeout_counts_loading_and_encoding(tiny_checkpoint, monkeypatch, call):
    """A slow load is simulated: it ends only once the time is over."""
    backend = LocalBackend.load(model=str(tiny_checkpoint), revision=f"timeout-{call}")
    llm = ChatVipLlava(model=str(tiny_checkpoint), revision=f"timeout-{call}", timeout=0.05, max_tokens=3)
    over = threading.Event()
    original = LocalBackend.runner.fget

    def slow(self):
        assert over.wait(0.2) or call in ("invoke", "stream")
        return original(self)

    monkeypatch.setattr(LocalBackend, "runner", property(slow))
    try:
        with pytest.raises(GenerationError, match=r"within timeout=0\.05 seconds"):
            asyncio.run(ask_async(llm, call, over)) if call.startswith("a") else list(getattr(llm, call)("Hi"))
    finally:
        over.set()
    monkeypatch.undo()
    backend.runner.stop()
    assert backend.admission.in_flight == 0


async def ask_async(llm, call, over):
    try:
        return [chunk async for chunk in llm.astream("Hi")] if call == "astream" else await llm.ainvoke("Hi")
    finally:
        over.set()
