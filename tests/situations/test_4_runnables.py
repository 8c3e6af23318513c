"""Streaming, batches, caches, callbacks, settings, cancellation, trimming."""

from __future__ import annotations

import asyncio
import copy
import json

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, trim_messages
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnableParallel, RunnablePassthrough, chain

from langchain_vipllava import (
    AnswerTimeoutError,
    BusyError,
    ChatVipLlava,
    GenerationError,
    PromptTooLongError,
    RequestLimits,
    VipLlavaError,
    trim_turns,
)
from langchain_vipllava.errors import ContextOverflowError  # langchain-core's own, where it has one
from tests.situations.registry import situation, situations

RUN = "Streaming, batches and cancellation"


@situation(RUN, "`stream`, the chunks added", "the answer of `invoke`, with its metadata")
def test_stream(llm, question):
    whole = None
    for chunk in llm.stream([question]):
        whole = chunk if whole is None else whole + chunk
    answer = llm.invoke([question])
    assert (whole.text, whole.usage_metadata) == (answer.text, answer.usage_metadata)
    assert whole.response_metadata["finish_reason"] == "stop"


@situation(RUN, "two streams in one `@chain`, their chunks added", "both texts")
def test_two_streams(llm, question):
    @chain
    def both(messages):
        yield from llm.stream(messages)
        yield from llm.stream(messages)

    assert both.invoke([question]).text == llm.invoke([question]).text * 2


@situation(RUN, "`astream_events`", "an event per token, and the whole answer at the end")
async def test_events(llm, question):
    events = [event async for event in llm.astream_events([question], version="v2")]
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[-1]) == ("on_chat_model_start", "on_chat_model_end")
    text = "".join(event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream")
    assert text == events[-1]["data"]["output"].text == llm.invoke([question]).text


@situation(RUN, "a loop breaks out of `stream`", "the model stops, and answers the next question")
def test_break(llm, question):
    for _ in llm.stream([question]):
        break
    assert "white square" in llm.invoke([question]).text.lower()


@situation(RUN, "a task that awaits `ainvoke` is cancelled", "the model stops, and answers the next question")
async def test_cancel(llm, question):
    task = asyncio.create_task(llm.ainvoke([question]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "white square" in (await llm.ainvoke([question])).text.lower()


@situation(RUN, "`batch`", "answers in order, as `invoke` gives them one by one")
def test_batch(llm, question):
    inputs = [[question], "Hi.", [question]]
    assert [answer.text for answer in llm.batch(inputs)] == [llm.invoke(one).text for one in inputs]


@situation(RUN, "`batch(return_exceptions=True)`", "an error in the place of its answer")
def test_batch_exceptions(llm):
    good, bad = llm.batch(["Hi.", [HumanMessage("")]], return_exceptions=True)
    assert isinstance(good, AIMessage)
    assert isinstance(bad, VipLlavaError)


@situation(RUN, "`abatch_as_completed`", "every index, once")
async def test_as_completed(llm):
    got = [index async for index, _ in llm.abatch_as_completed(["A", "B", "C"])]
    assert sorted(got) == [0, 1, 2]


@situation(RUN, "`asyncio.gather` of eight calls", "equal answers")
async def test_gather(llm, question):
    answers = await asyncio.gather(*[llm.ainvoke([question]) for _ in range(8)])
    assert len({answer.text for answer in answers}) == 1


@situation(RUN, "`timeout=` passes", "AnswerTimeoutError, LangChain's ModelTimeoutError where it has one")
def test_timeout():
    with pytest.raises(AnswerTimeoutError, match="timeout"):
        ChatVipLlava(model="bundled", timeout=1e-6).invoke("Hi.")


COMPOSE = "Runnables, caches and callbacks"


@situation(COMPOSE, "`with_fallbacks`", "the next model answers")
def test_fallbacks(llm, question):
    tiny = ChatVipLlava(model="bundled", timeout=1e-6)
    assert tiny.with_fallbacks([llm]).invoke([question]).text == llm.invoke([question]).text


@situation(
    COMPOSE, "`with_retry(retry_if_exception_type=(BusyError,))`", "tries again when too many calls are in flight"
)
def test_retry(llm):
    tries = []

    def ask(text):
        tries.append(text)
        if len(tries) < 2:
            raise BusyError("busy")
        return llm.invoke(text)

    answer = RunnableLambda(ask).with_retry(retry_if_exception_type=(BusyError,), wait_exponential_jitter=False)
    assert answer.invoke("Hi.").text == llm.invoke("Hi.").text
    assert len(tries) == 2


@situation(COMPOSE, "`RunnableParallel` of two questions", "both answers")
def test_parallel(llm, square):
    ask = RunnableParallel(what=llm, again=RunnablePassthrough() | llm)
    got = ask.invoke([square.message("What is the object {0}?")])
    assert got["what"].text == got["again"].text


@situation(COMPOSE, "`cache=InMemoryCache()`", "the second answer comes from the cache")
def test_cache(question):
    cache = InMemoryCache()
    cached = ChatVipLlava(model="bundled", cache=cache)
    first, second = cached.invoke([question]), cached.invoke([question])
    assert (len(cache._cache), first.text) == (1, second.text)


@situation(COMPOSE, "another image with the same question and a cache", "another answer in the cache")
def test_cache_by_image(square):
    cache = InMemoryCache()
    cached = ChatVipLlava(model="bundled", cache=cache)
    for picture in (square.image, square.image.rotate(90)):
        cached.invoke([HumanMessage([{"type": "image", "image": picture}, {"type": "text", "text": "What?"}])])
    assert len(cache._cache) == 2


class Recorder(BaseCallbackHandler):
    def __init__(self):
        self.seen = []

    def on_chat_model_start(self, serialized, messages, **kwargs):
        self.seen.append("start")

    def on_llm_new_token(self, token, **kwargs):
        self.seen.append("token")

    def on_llm_end(self, response, **kwargs):
        self.seen.append("end")

    def on_llm_error(self, error, **kwargs):
        self.seen.append(type(error).__name__)


@situation(COMPOSE, "a callback handler, while streaming", "start, tokens, end")
def test_callbacks(llm, question):
    recorder = Recorder()
    list(llm.stream([question], config={"callbacks": [recorder]}))
    assert (recorder.seen[0], recorder.seen[-1]) == ("start", "end")
    assert recorder.seen.count("token") > 2


@situation(COMPOSE, "a callback handler, and the call fails", "`on_llm_error` gets the error")
def test_error_callback(llm):
    recorder = Recorder()
    with pytest.raises(VipLlavaError):
        llm.invoke([HumanMessage("")], config={"callbacks": [recorder]})
    assert recorder.seen == ["start", "PromptError"]


@situation(COMPOSE, "`UsageMetadataCallbackHandler`", "tokens by model")
def test_usage(llm, question):
    usage = UsageMetadataCallbackHandler()
    answer = llm.invoke([question], config={"callbacks": [usage]})
    assert usage.usage_metadata["bundled"]["total_tokens"] == answer.usage_metadata["total_tokens"]


@situation(COMPOSE, "tracing: `ls_` metadata of a run", "provider, model, temperature, max_tokens")
def test_tracing(llm):
    told = llm._get_ls_params()
    assert (told["ls_provider"], told["ls_model_name"], told["ls_max_tokens"]) == ("vipllava", "bundled", 80)


@situation(COMPOSE, "`dumpd(llm)`", "JSON without secrets or weights")
def test_dumpd():
    text = json.dumps(dumpd(ChatVipLlava(model="bundled", api_key="hidden")))
    assert "hidden" not in text


@situation(COMPOSE, "`copy.deepcopy(llm)`", "shares the loaded checkpoint")
def test_deepcopy(llm):
    assert copy.deepcopy(llm).backend == llm.backend


SETTINGS = "Settings, trimming and counting"


@situation(SETTINGS, "`llm.bind(stop=[...])`", "the answer ends before it")
def test_stop(llm, question):
    assert "square" not in llm.bind(stop=["square"]).invoke([question]).text


@situation(SETTINGS, "`configurable_fields(max_tokens=...)`", "holds for the call")
def test_configurable(llm, question):
    either = llm.configurable_fields(max_tokens=ConfigurableField(id="max_tokens"))
    answer = either.invoke([question], config={"configurable": {"max_tokens": 1}})
    assert answer.usage_metadata["output_tokens"] == 1


@situation(SETTINGS, "a seed at temperature 1", "the same answer again")
def test_seed(llm, question):
    one, other = (llm.invoke([question], temperature=1.0, seed=7).text for _ in range(2))
    assert one == other


@situations(
    SETTINGS,
    ("`max_new_tokens=`", "the error says `max_tokens`", "max_new_tokens", "max_tokens"),
    ("`model_kwargs=`", "the error says where its entries go", "model_kwargs", "arguments of their own"),
    ("`load_in_4bit=`", "the error says `quantization='4bit'`", "load_in_4bit", "quantization='4bit'"),
)
def test_foreign_settings(case):
    name, words = case
    with pytest.raises(VipLlavaError, match=words):
        ChatVipLlava(model="bundled", **{name: True})


@situation(SETTINGS, "an unknown argument of a call", "GenerationError lists the known ones")
def test_unknown_setting(llm):
    with pytest.raises(GenerationError, match="temperature"):
        llm.invoke("Hi.", frequency_penalty=1)


@situation(SETTINGS, "`get_num_tokens_from_messages`", "the exact number of the prompt, with images")
def test_counting(llm, question):
    assert llm.get_num_tokens_from_messages([question]) == llm.invoke([question]).usage_metadata["input_tokens"]


@situation(
    SETTINGS, "tuples, dicts or a text to `get_num_tokens_from_messages` and `trim_turns`", "are read as by `invoke`"
)
def test_counting_of_tuples(llm):
    forms = ("Hi.", [("user", "Hi.")], [{"role": "user", "content": "Hi."}])
    assert len({llm.get_num_tokens_from_messages(form) for form in (*forms, [HumanMessage("Hi.")])}) == 1
    assert all(trim_turns(form, llm) == [HumanMessage("Hi.")] for form in forms)


@situation(SETTINGS, "`trim_messages(token_counter=llm)`", "keeps the last turns that fit")
def test_trim_messages(llm):
    turns = [one for i in range(9) for one in (HumanMessage(f"Question {i}?"), AIMessage(f"Answer {i}."))]
    messages = [SystemMessage("Be brief."), *turns, HumanMessage("Last?")]
    kept = trim_messages(
        messages, max_tokens=60, token_counter=llm, strategy="last", include_system=True, start_on="human"
    )
    assert (kept[0].text, kept[-1].text) == ("Be brief.", "Last?")
    assert len(kept) < len(messages)
    assert llm.get_num_tokens_from_messages(kept) <= 60


@situation(SETTINGS, "`trim_messages(token_counter=count_tokens_approximately)`", "an estimate without the model")
def test_trim_approximately():
    messages = [HumanMessage("word " * 50), AIMessage("word " * 50), HumanMessage("Last?")]
    kept = trim_messages(messages, max_tokens=40, token_counter=count_tokens_approximately, strategy="last")
    assert [message.text for message in kept] == ["Last?"]


@situation(SETTINGS, "`trim_turns(messages, llm)`", "keeps the turn with the image")
def test_trim_turns(llm, question):
    turns = [one for i in range(60) for one in (AIMessage(f"Answer {i}."), HumanMessage(f"Question {i}?"))]
    kept = trim_turns([question, *turns], llm)
    assert kept[0] is question
    assert len(kept) < 121
    llm.invoke(kept)


@situation(SETTINGS, "a prompt longer than the context", "PromptTooLongError, LangChain's ContextOverflowError")
def test_too_long(llm):
    with pytest.raises(PromptTooLongError) as caught:
        llm.invoke("word " * 3000)
    assert isinstance(caught.value, ContextOverflowError)


@situation(SETTINGS, "more calls at once than `RequestLimits(max_in_flight=...)`", "BusyError at once")
def test_busy():
    llm = ChatVipLlava(model="bundled", limits=RequestLimits(max_in_flight=1))
    stream = llm.stream("Hi.")
    next(stream)
    with pytest.raises(BusyError):
        llm.invoke("Hi.")
    stream.close()
