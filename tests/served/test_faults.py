"""What goes wrong with servers: the caller gets the answer all the same, or an error that says what to do."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_vipllava import (
    AnswerTimeoutError,
    BusyError,
    ChatVipLlava,
    CheckpointError,
    GenerationError,
    PromptError,
    PromptTooLongError,
    ServerError,
)
from langchain_vipllava.backends.served_options import ServerTimeouts
from langchain_vipllava.errors import ContextOverflowError
from tests.served.conftest import chat, picture
from tests.served.test_answers import about, assert_equal
from tests.support.model_server import CHAT, GENERATE, ModelServer, breaks_off, fails, sends, stalls

QUESTION = [HumanMessage("What is a circle?")]
STATUSES = (408, 429, 500, 502, 503, 504)


@pytest.fixture
def asked():
    return [about(picture("rectangle", "blue"), "Describe the image in detail.")]


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("status", STATUSES)
def test_a_failure_that_may_pass_is_tried_again(llm, local, server, status):
    server.faults.extend([fails(status), fails(status)])
    assert_equal(llm.invoke(QUESTION), local.invoke(QUESTION))
    assert len(server.seen) == 3


@pytest.mark.parametrize(("status", "kind"), [(429, BusyError), (503, BusyError), (500, ServerError)])
def test_a_failure_that_does_not_pass_is_an_error_of_its_kind(server, status, kind):
    server.faults.extend([fails(status, "queue is full")] * 5)
    with pytest.raises(kind, match=rf"HTTP {status}: 'queue is full' \(3 tries\)") as caught:
        chat(server).invoke(QUESTION)
    assert f"http://127.0.0.1:{server.port}" in str(caught.value)
    assert len(server.seen) == 3


def test_max_retries_0_tries_once(server):
    server.faults.extend([fails(500)])
    with pytest.raises(ServerError):
        chat(server, max_retries=0).invoke(QUESTION)
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [400, 422, 501])
def test_a_refusal_is_not_tried_again(llm, server, status):
    server.faults.append(fails(status, "no such parameter"))
    with pytest.raises(ServerError, match="no such parameter"):
        llm.invoke(QUESTION)
    assert len(server.seen) == 1


def test_a_prompt_that_the_server_finds_too_long_is_one(llm, server):
    server.faults.append(fails(400, "This model's maximum context length is 640 tokens."))
    with pytest.raises(PromptTooLongError, match="maximum context length") as caught:
        llm.invoke(QUESTION)
    assert isinstance(caught.value, ContextOverflowError)


def test_a_prompt_that_is_too_long_is_not_sent(llm, local, server):
    messages = [HumanMessage("word " * 2000)]
    with pytest.raises(PromptTooLongError) as served:
        llm.invoke(messages)
    with pytest.raises(PromptTooLongError) as ours:
        local.invoke(messages)
    assert str(served.value) == str(ours.value)
    assert server.seen == []


def test_the_longest_answer_ends_with_the_context(llm, local):
    messages = [HumanMessage("word " * 200)]
    served, ours = (each.invoke(messages, max_tokens=10_000, temperature=2, seed=1) for each in (llm, local))
    assert served.response_metadata["finish_reason"] in ("length", "stop")
    assert served.usage_metadata["input_tokens"] == ours.usage_metadata["input_tokens"]


@pytest.mark.parametrize("model", ["shapes", "llava-hf/vip-llava-7b-hf"])
def test_an_unknown_model_is_named_with_those_there_are(server, model):
    with pytest.raises(CheckpointError, match=f"no model '{model}'.*'bundled'"):
        chat(server, model=model).invoke(QUESTION)


def test_an_api_key_is_sent_and_never_shown(runner, local):
    with ModelServer(runner, api_key="sk-1234567890") as server:
        assert_equal(chat(server, api_key="sk-1234567890").invoke(QUESTION), local.invoke(QUESTION))
        server.faults.append(fails(400, "your key sk-1234567890 is fine, the rest is not"))
        with pytest.raises(ServerError) as caught:
            chat(server, api_key="sk-1234567890").invoke(QUESTION)
        assert "sk-1234567890" not in str(caught.value)
        for key in (None, "wrong"):
            with pytest.raises(ServerError, match="refuses the API key"):
                chat(server, api_key=key).invoke(QUESTION)


def test_the_key_comes_from_the_environment(runner, local, monkeypatch):
    monkeypatch.setenv("VIPLLAVA_API_KEY", "sk-from-environment")
    with ModelServer(runner, api_key="sk-from-environment") as server:
        llm = ChatVipLlava(base_url=server.base_url, model="bundled", max_tokens=24)
        assert_equal(llm.invoke(QUESTION), local.invoke(QUESTION))


def test_no_server_at_all_is_an_error_that_says_where():
    port = unused_port()
    llm = ChatVipLlava(base_url=f"http://127.0.0.1:{port}", model="bundled", max_retries=0)
    with pytest.raises(ServerError, match=f"http://127.0.0.1:{port} cannot be reached"):
        llm.invoke(QUESTION)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_server_that_dies_in_the_middle_is_asked_again(llm, local, server, asked, after):
    server.faults.append(breaks_off(after))
    assert_equal(llm.invoke(asked), local.invoke(asked))
    assert len(server.seen) == 2


def test_a_stream_goes_on_where_the_server_died(llm, local, server, asked):
    server.faults.append(breaks_off(3))
    assert [c.text for c in llm.stream(asked)] == [c.text for c in local.stream(asked)]
    first, second = (seen.body["token_ids"] for seen in server.seen)
    assert second[: len(first)] == first
    assert len(second) == len(first) + 3


def test_a_constrained_stream_is_written_again_and_compared(llm, local, server, asked):
    schema = {
        "title": "thing",
        "type": "object",
        "properties": {"color": {"enum": ["red", "blue"]}},
        "required": ["color"],
    }
    settings = {"response_format": {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema}}}
    server.faults.append(breaks_off(4))
    served, ours = ([c.text for c in each.stream(asked, **settings)] for each in (llm, local))
    assert served == ours
    first, second = (seen.body["token_ids"] for seen in server.seen)
    assert first == second


def test_an_answer_that_comes_back_different_is_an_error(llm, server):
    token = {"choices": [{"token_ids": [434], "finish_reason": None}]}
    other = {"choices": [{"token_ids": [500], "finish_reason": None}]}
    server.faults.extend([sends(f"data: {json.dumps(token)}\n\n"), sends(f"data: {json.dumps(other)}\n\n")])
    with pytest.raises(ServerError, match="writes another"):
        list(llm.stream(QUESTION, temperature=1, seed=3))


def test_an_engine_that_dies_says_so_in_the_stream(llm, local, server):
    error = {"error": {"message": "EngineCore died", "type": "InternalServerError", "code": 500}}
    server.faults.append(sends(f"data: {json.dumps(error)}\n\n", "data: [DONE]\n\n"))
    assert_equal(llm.invoke(QUESTION), local.invoke(QUESTION))
    server.faults.extend([sends(f"data: {json.dumps(error)}\n\n", "data: [DONE]\n\n")] * 3)
    with pytest.raises(ServerError, match="EngineCore died"):
        llm.invoke(QUESTION)


HOSTILE = {
    "nothing": "",
    "no JSON": "data: {hello}\n\n",
    "a list": "data: [1, 2]\n\n",
    "no choices": "data: {}\n\n",
    "choices of text": 'data: {"choices": "many"}\n\n',
    "ids of text": 'data: {"choices": [{"token_ids": ["a"]}]}\n\n',
    "ids below 0": 'data: {"choices": [{"token_ids": [-1]}]}\n\n',
    "ids beyond the vocabulary": 'data: {"choices": [{"token_ids": [99999]}]}\n\n',
    "an end without a beginning": "data: [DONE]\n\n",
    "an unknown end": 'data: {"choices": [{"token_ids": [434], "finish_reason": "abort"}]}\n\n',
    "deep JSON": "data: " + "[" * 100_000 + "\n\n",
    "a number of many digits": 'data: {"choices": [], "usage": {"prompt_tokens": ' + "9" * 5000 + "}}\n\n",
    "an endless line": "data: " + "x" * (2 * 2**20),
    "endless comments": ": hello\n" * (2**18),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_answers_are_short_errors(server, text):
    server.faults.extend([sends(text)] * 2)
    with pytest.raises(ServerError) as caught:
        chat(server, max_retries=1).invoke(QUESTION)
    assert len(str(caught.value)) < 400


def test_hostile_error_pages_are_short_errors(llm, server):
    page = "<html>\x1b[31m" + "no " * 100_000
    server.faults.append(fails(400, page))
    with pytest.raises(ServerError) as caught:
        llm.invoke(QUESTION)
    assert len(str(caught.value)) < 400
    assert "\x1b" not in str(caught.value)


def test_redirects_are_not_followed(llm, server):
    server.faults.append(fails(307, "elsewhere", Location="http://127.0.0.1:1/"))
    with pytest.raises(ServerError, match="redirects"):
        llm.invoke(QUESTION)


def test_an_answer_outside_of_the_schema_is_an_error(llm, server):
    token = {"choices": [{"token_ids": [434], "finish_reason": None}]}
    server.faults.append(sends(f"data: {json.dumps(token)}\n\n"))
    with pytest.raises(ServerError, match="guidance"):
        llm.with_structured_output({"title": "t", "type": "object", "properties": {}}).invoke(QUESTION)


def test_another_count_of_prompt_tokens_is_an_error(llm, server):
    end = {"choices": [{"token_ids": [434, 2], "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 600, "completion_tokens": 2}}
    server.faults.append(sends(*(f"data: {json.dumps(each)}\n\n" for each in (end, usage)), "data: [DONE]\n\n"))
    with pytest.raises(CheckpointError, match="600 tokens"):
        llm.invoke(QUESTION)


def test_another_tokenizer_is_an_error(server, tiny_checkpoint):
    with pytest.raises(CheckpointError, match="another tokenizer"):
        chat(server, tokenizer=str(tiny_checkpoint)).invoke(QUESTION)


def test_a_server_that_sends_nothing_is_given_up(server):
    llm = chat(server, max_retries=1, timeouts=ServerTimeouts(first=5, between=1, pause=0))
    server.faults.extend([stalls(2), stalls(2)])
    with pytest.raises(AnswerTimeoutError, match="sent nothing for 1 seconds"):
        llm.invoke(QUESTION)
    assert [server.cancelled.get(timeout=60) for _ in range(2)] == [GENERATE] * 2


def test_a_first_token_that_is_slow_is_given_up(server, local):
    llm = chat(server, timeouts=ServerTimeouts(first=5, between=60, pause=0))
    server.faults.append(stalls(0))
    assert_equal(llm.invoke(QUESTION), local.invoke(QUESTION))
    assert server.cancelled.get(timeout=60) == GENERATE


@pytest.mark.parametrize("streamed", [False, True])
def test_the_timeout_of_an_answer_stops_the_server(server, streamed):
    chat(server).invoke(QUESTION)  # now, what else is asked of a server is known
    llm = chat(server, timeout=4)
    server.faults.append(stalls(1))
    with pytest.raises(AnswerTimeoutError, match="timeout=4"):
        _ = list(llm.stream(QUESTION)) if streamed else llm.invoke(QUESTION)
    assert server.cancelled.get(timeout=60) == GENERATE


def test_a_stream_that_is_closed_stops_the_server(llm, server, asked):
    server.faults.append(stalls(2))
    stream = llm.stream(asked)
    assert next(stream).text
    stream.close()
    assert server.cancelled.get(timeout=60) == GENERATE


async def test_a_cancelled_task_stops_the_server(llm, server, asked):
    server.faults.append(stalls(1))
    task = asyncio.create_task(llm.ainvoke(asked))
    while not server.seen:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(server.cancelled.get, timeout=60) == GENERATE


def test_the_chat_route_refuses_what_its_template_would_read_differently(llm, server):
    server.scale_out = False
    for text in ("What is <image>?", "It ends: </s>"):
        with pytest.raises(PromptError, match="scale-out"):
            llm.invoke([HumanMessage(text)])
        with pytest.raises(PromptError, match="scale-out"):
            llm.invoke([HumanMessage("Hello."), AIMessage(text), HumanMessage("Why?")])
    assert all(seen.path != CHAT for seen in server.seen)


def test_a_template_that_makes_another_prompt_is_an_error(llm, server, monkeypatch):
    server.scale_out = False
    monkeypatch.setattr("tests.support.model_server._Handler._chat_ids", lambda self, body: ([1, 434, 434], []))
    with pytest.raises(CheckpointError, match="template"):
        llm.invoke(QUESTION)


def test_a_temperature_that_vllm_refuses_is_refused_before(llm, server):
    with pytest.raises(GenerationError, match="temperature=3"):
        llm.invoke(QUESTION, temperature=3)
    assert server.seen == []


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"base_url": "gpu-host:8000"}, "base_url"),
        ({"base_url": "ftp://gpu-host"}, "base_url"),
        ({"base_url": "http://me:secret@gpu-host"}, "api_key"),
        ({"base_url": []}, "base_url"),
        ({"base_url": 8000}, "base_url"),
        ({"base_url": "http://gpu-host", "device": "cpu"}, "device"),
        ({"base_url": "http://gpu-host", "max_retries": -1}, "max_retries"),
        ({"base_url": "http://gpu-host", "api_key": "two\nlines"}, "api_key"),
        ({"model": "bundled", "tokenizer": "bundled"}, "tokenizer"),
    ],
)
def test_impossible_arguments_are_refused_at_once(settings, word):
    with pytest.raises(
        GenerationError if word not in ("device", "tokenizer") else CheckpointError, match=word
    ) as caught:
        ChatVipLlava(**settings)
    assert "secret" not in str(caught.value)
