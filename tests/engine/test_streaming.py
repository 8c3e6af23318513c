"""Streaming: pieces join to the answer, stop texts never leak, a stream may be closed early."""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import reduce
from itertools import pairwise
from operator import add

import pytest
import torch
from langchain_core.messages import AIMessageChunk, HumanMessage

from langchain_vipllava import ChatVipLlava
from langchain_vipllava.chat.messages import read_messages
from langchain_vipllava.prompt.formats import FORMATS
from langchain_vipllava.protocol.answer import Answer
from tests.support.checkpoints import make_model, make_processor
from tests.support.engine import engine_request, open_image

SPELLED = "Yes. 中🙂é, red circle: no"
"""The answer of the spelling model: characters of one to four bytes, no token twice."""


def spelling_model(text, **settings):
    """A ViP-LLaVA with weights that answer with a given text, token by token.

    Attention and MLPs add nothing, so a token's own embedding decides what follows it.
    """
    processor = make_processor()
    model = make_model(processor)
    tokenizer = processor.tokenizer
    chain = tokenizer("USER: Spell.ASSISTANT:" + text)["input_ids"]
    start = tokenizer("USER: Spell.ASSISTANT:")["input_ids"][-1]
    chain = [*chain[chain.index(start) :], tokenizer.eos_token_id]
    assert len(set(chain)) == len(chain), f"a token comes twice in {text!r}"
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("self_attn.o_proj.weight", "mlp.down_proj.weight")) and "language_model" in name:
                parameter.zero_()
        embeddings = model.get_input_embeddings().weight
        embeddings.copy_(torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(0)))
        model.lm_head.weight.zero_()
        for token, following in pairwise(chain):
            model.lm_head.weight[following] = embeddings[token]
    return ChatVipLlava.from_model(model, processor, **settings)


@pytest.fixture(scope="module")
def speller():
    return spelling_model(SPELLED)


def pieces_of(chunks):
    return [chunk.text for chunk in chunks if chunk.text]


class StepGate:
    """Lets the model take `free` steps, then blocks it until `open` is called; counts all steps."""

    def __init__(self, runner, free):
        self.steps, self._free = 0, free
        self.held, self._opened = threading.Event(), threading.Event()
        self._hook = runner.model.get_input_embeddings().register_forward_hook(self._step)

    def _step(self, module, inputs, output):
        self.steps += 1
        if self.steps > self._free:
            self.held.set()
            assert self._opened.wait(60)

    def open(self):
        self._opened.set()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._opened.set()
        self._hook.remove()


def wait_for_idle():
    for thread in threading.enumerate():
        if thread.name == "vipllava-engine":
            thread.join(60)
            assert not thread.is_alive()


def test_the_model_spells(speller):
    answer = speller.invoke("Spell.")
    assert answer.text == SPELLED
    assert answer.response_metadata["finish_reason"] == "stop"


def test_pieces_join_to_the_answer_and_hold_whole_characters(speller):
    pieces = pieces_of(speller.stream("Spell."))
    assert "".join(pieces) == SPELLED
    assert len(pieces) > 8
    assert "🙂" in pieces
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


def test_pieces_join_to_the_answer_of_a_random_model(llm, marked):
    for question in ("What is {0}?", "Where?", "ünï 中文?"):
        message = marked.message(question)
        for tokens in (1, 2, 7, 40):
            joined = "".join(pieces_of(llm.stream([message], max_tokens=tokens)))
            assert joined == llm.invoke([message], max_tokens=tokens).text


def test_an_answer_of_any_length_streams_as_it_is_returned(speller):
    """`max_tokens` may cut inside a character."""
    for tokens in range(1, 25):
        answer = speller.invoke("Spell.", max_tokens=tokens).text
        assert "".join(pieces_of(speller.stream("Spell.", max_tokens=tokens))) == answer
        assert answer == answer.strip()


async def test_astream_yields_the_same(speller):
    chunks = [chunk async for chunk in speller.astream("Spell.")]
    assert pieces_of(chunks) == pieces_of(speller.stream("Spell."))


def test_usage_comes_once_in_the_last_chunk(speller):
    chunks = list(speller.stream("Spell."))
    assert [chunk.usage_metadata is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    total = sum(chunks[1:], chunks[0])
    answer = speller.invoke("Spell.")
    assert isinstance(total, AIMessageChunk)
    assert total.text == answer.text
    assert total.usage_metadata == answer.usage_metadata
    assert total.response_metadata.pop("timings").keys() == answer.response_metadata.pop("timings").keys()
    assert total.response_metadata == answer.response_metadata
    assert chunks[-1].chunk_position == "last"
    assert chunks[-1].response_metadata["model_name"] == speller.model


STOPS = [
    (["red"], "Yes. 中🙂é,"),
    (["circle: n"], "Yes. 中🙂é, red"),
    (["s. 中🙂é, r"], "Ye"),
    (["🙂"], "Yes. 中"),
    (["Y"], ""),
    (["red square", "é, redder", "🙂 e", "no!"], SPELLED),
    (["circle", "é, red"], "Yes. 中🙂"),
    (["red circle", "circle", "é, red square"], "Yes. 中🙂é,"),
    (["ed", "re"], "Yes. 中🙂é,"),
    ([" "], "Yes."),
    (["o"], SPELLED[:-1]),
]


@pytest.mark.parametrize(("stop", "expected"), STOPS, ids=[str(stop) for stop, _ in STOPS])
def test_no_part_of_a_stop_text_leaks(speller, stop, expected):
    answer = speller.invoke("Spell.", stop=stop)
    pieces = pieces_of(speller.stream("Spell.", stop=stop))
    assert (answer.text, "".join(pieces)) == (expected, expected)
    assert answer.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize("tokens", range(1, 25))
def test_an_incomplete_stop_text_at_the_end_is_text(speller, tokens):
    whole = speller.invoke("Spell.", max_tokens=tokens).text
    answer = speller.invoke("Spell.", max_tokens=tokens, stop=["é, red circle: no, never"]).text
    assert answer == whole


def test_half_a_character_at_the_end_can_be_a_stop_text(speller):
    half = "\N{REPLACEMENT CHARACTER}"
    assert speller.invoke("Spell.", max_tokens=4).text == f"Yes. {half}{half}"
    stopped = speller.invoke("Spell.", max_tokens=4, stop=[half])
    assert (stopped.text, stopped.response_metadata["finish_reason"]) == ("Yes.", "stop")


def test_a_stop_text_stops_the_model(speller):
    stopped = speller.invoke("Spell.", stop=["中"])
    assert stopped.usage_metadata["output_tokens"] < speller.invoke("Spell.").usage_metadata["output_tokens"]


def test_the_stop_text_of_the_prompt_format_is_kept_with_the_users(llm):
    spoken = "One ### Two"
    chat = spelling_model(spoken)
    assert chat.invoke("Spell.").text == spoken
    # this format ends with another token: spell from there
    human = spelling_model_after("###Assistant:", spoken)
    assert human.invoke("Spell.", prompt_format="human_assistant").text == "One"
    assert human.invoke("Spell.", prompt_format="human_assistant", stop=["n"]).text == "O"


@pytest.mark.parametrize("spoken", ["One ### Two", "One###"])
def test_a_conversation_continues_with_the_ids_in_front_of_a_stop_text(spoken):
    """Those of the stop text are not of the answer, nor is the space in front of it."""
    chat = spelling_model_after("###Assistant:", spoken).bind(prompt_format="human_assistant")
    encoder = chat.bound.backend.runner.encoder
    answer = chat.invoke("Spell.")
    ids = answer.response_metadata["token_ids"]
    assert answer.text == "One"
    assert encoder.texts.decode(ids).strip() == "One"
    assert len(ids) < answer.usage_metadata["output_tokens"]
    messages = [HumanMessage("Spell."), answer, HumanMessage("Why?")]
    prompt = FORMATS["human_assistant"].render(read_messages(messages, open_image))
    assert [segment.ids for segment in prompt.segments if segment.ids] == [tuple(ids)]
    assert encoder.texts._decodes_to(tuple(ids), " One")
    streamed = reduce(add, chat.stream("Spell."))
    assert streamed.response_metadata["token_ids"] == ids


def spelling_model_after(label, text):
    """As `spelling_model`, for a format that ends with another label."""
    chat = spelling_model(text)
    model, tokenizer = chat.backend.runner.model, chat.backend.runner.processor.tokenizer
    old, new = (tokenizer(f"x{end}")["input_ids"][-1] for end in ("ASSISTANT:", label))
    with torch.no_grad():
        embeddings = model.get_input_embeddings().weight
        embeddings[new] = embeddings[old]
    return chat


def test_closing_a_stream_stops_the_model(llm):
    runner = llm.backend.runner
    with StepGate(runner, free=6) as gate:
        stream = llm.stream("Tell me a story.", max_tokens=300)
        next(stream)
        assert gate.held.wait(60)
        stream.close()
        gate.open()
        wait_for_idle()
        assert gate.steps <= 8
    assert llm.invoke("Hi").text == llm.invoke("Hi").text


async def test_closing_an_async_stream_stops_the_model(llm):
    with StepGate(llm.backend.runner, free=6) as gate:
        stream = llm.astream("Tell me a story.", max_tokens=300)
        await anext(stream)
        assert await asyncio.to_thread(gate.held.wait, 60)
        await stream.aclose()
        gate.open()
        await asyncio.to_thread(wait_for_idle)
        assert gate.steps <= 8
    assert (await llm.ainvoke("Hi")).text == llm.invoke("Hi").text


async def test_cancelling_ainvoke_stops_the_model_and_the_next_call_works(llm):
    with StepGate(llm.backend.runner, free=3) as gate:
        task = asyncio.ensure_future(llm.ainvoke("Tell me a story.", max_tokens=300))
        assert await asyncio.to_thread(gate.held.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open()
        await asyncio.to_thread(wait_for_idle)
        assert gate.steps <= 5
    assert (await asyncio.wait_for(llm.ainvoke("Hi"), 60)).text == llm.invoke("Hi").text


async def test_cancelling_astream_stops_the_model_and_the_next_call_works(llm):
    async def consume():
        return [chunk async for chunk in llm.astream("Tell me a story.", max_tokens=300)]

    with StepGate(llm.backend.runner, free=3) as gate:
        task = asyncio.ensure_future(consume())
        assert await asyncio.to_thread(gate.held.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open()
        await asyncio.to_thread(wait_for_idle)
        assert gate.steps <= 5
    assert await asyncio.wait_for(llm.ainvoke("Hi"), 60)


async def test_cancelling_one_of_many_does_not_affect_the_others(llm):
    questions = [f"Question {index}?" for index in range(5)]
    alone = [llm.invoke(question).text for question in questions]
    with StepGate(llm.backend.runner, free=0) as gate:
        first = asyncio.ensure_future(llm.ainvoke("Hold the line."))
        assert await asyncio.to_thread(gate.held.wait, 60)
        tasks = [asyncio.ensure_future(llm.ainvoke(question)) for question in questions]
        doomed = asyncio.ensure_future(llm.ainvoke("Cancel me before I start.", max_tokens=300))
        await asyncio.sleep(0)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        gate.open()
        assert [answer.text for answer in await asyncio.gather(*tasks)] == alone
        await first


def test_a_request_cancelled_before_it_starts_takes_no_step(llm):
    request = engine_request(llm, [HumanMessage("Never mind.")], None, {"max_tokens": 300})
    with StepGate(llm.backend.runner, free=0) as gate:
        first = llm.backend.runner.submit(engine_request(llm, [HumanMessage("Hold.")], None, {"max_tokens": 1}))
        assert gate.held.wait(60)
        handle = llm.backend.runner.submit(request)
        handle.cancel()
        gate.open()
        result = handle.future.result(60)
        first.future.result(60)
        assert (result.token_ids, result.text, result.finish_reason) == ((), "", "cancelled")
        assert gate.steps == 1


def test_cancelling_the_future_from_outside_does_not_end_the_engine(llm):
    """As asyncio does with the future that a cancelled task awaits."""
    request = engine_request(llm, [HumanMessage("Hi")], None, {"max_tokens": 3})
    handle = llm.backend.runner.submit(request)
    assert handle.future.cancel() is False
    assert isinstance(handle.future.result(60), Answer)
    assert llm.invoke("Hi").text


def test_an_event_loop_may_close_before_the_model_stops(llm, caplog):
    async def first_piece():
        stream = llm.astream("Tell me a story.", max_tokens=300)
        await anext(stream)
        await stream.aclose()

    with StepGate(llm.backend.runner, free=6) as gate, caplog.at_level(logging.ERROR):
        asyncio.run(first_piece())
        gate.open()
        wait_for_idle()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert llm.invoke("Hi").text


def test_a_stream_that_is_never_read_runs_nothing(llm):
    with StepGate(llm.backend.runner, free=1000) as gate:
        stream = llm.stream("Hi")
        del stream
        wait_for_idle()
        assert gate.steps == 0


def test_streaming_raises_at_the_first_piece(llm):
    with pytest.raises(Exception, match="empty question"):
        next(llm.stream(""))
    assert "".join(pieces_of(llm.stream("Hi"))) == llm.invoke("Hi").text


async def test_streamed_events_carry_every_piece(speller):
    events = [event async for event in speller.astream_events("Spell.", version="v2")]
    streamed = [event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream"]
    assert "".join(streamed) == SPELLED


async def test_a_timeout_does_not_count_the_time_of_the_caller(speller, monkeypatch):
    loop, seen = asyncio.get_running_loop(), []
    honest = loop.time
    hasty = speller.model_copy(update={"timeout": 600.0})
    async for chunk in hasty.astream("Spell."):
        if not seen:
            await speller.ainvoke("Spell.")  # by then the first answer is complete as well
            monkeypatch.setattr(loop, "time", lambda: honest() + 1000)
            for _ in range(5):
                await asyncio.sleep(0)
        seen.append(chunk.text)
    assert "".join(seen) == SPELLED
