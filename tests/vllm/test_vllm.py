"""The bundled checkpoint served by vLLM, beside the engine in this process: equal answers. `make test-vllm`."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import httpx
import psutil
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from langchain_vipllava import ChatVipLlava, Region, load_image, mark
from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.backends.local import LocalBackend
from langchain_vipllava.backends.served import ServedBackend
from langchain_vipllava.protocol.answer import Answer
from langchain_vipllava.protocol.load_options import LoadOptions
from langchain_vipllava.protocol.sampling import Sampling
from langchain_vipllava.serving.export import export_checkpoint
from langchain_vipllava.serving.prompt_cases import chat_messages, data_url
from langchain_vipllava.serving.server_probe import ServerProbe
from langchain_vipllava.serving.server_report import examine_server
from tests.support.checkpoints import make_model, make_processor
from tests.support.command_line import COMMAND
from tests.support.stand_in_vllm import is_alive
from tests.vllm.conversations import converse, first_request, ids_of, next_request, turns_of

CONVERSATIONS = 66
CALLERS = 8
LOGPROB_TOLERANCE = 1e-4
CACHED = 0.6
"""Share of the prompt tokens of second turns that the prefix cache has to have."""


@pytest.fixture(scope="module")
def served(server, folder):
    return ServedBackend(server.url, "shapes", tokenizer=str(folder), max_retries=0)


@pytest.fixture(scope="module")
def expected(local):
    """The answers of the engine in this process, by the number of the conversation."""
    return cache(lambda number: converse(local.generate, number))


@pytest.fixture(scope="module")
def marked():
    regions = [Region(box=(59, 378, 164, 483)), Region(box=(206, 30, 426, 250))]
    return mark(load_image(SCENE), regions, kind=["rectangle", "ellipse"])


def test_the_doctor_finds_everything_right(server):
    report = examine_server(ServerProbe(server.url))
    assert report.runs
    assert len(report.checks) == 6
    assert [check.name for check in report.checks if not check.ok] == []
    assert report.version == "0.32.0"


def test_conversations_have_the_token_ids_of_this_process(served, expected):
    with ThreadPoolExecutor(CALLERS) as pool:
        answers = list(pool.map(lambda number: converse(served.generate, number), range(CONVERSATIONS)))
        list(pool.map(expected, range(CONVERSATIONS)))
    assert len(answers) >= 60
    assert sum(map(len, answers)) > 2 * 60 - 6
    for number in range(CONVERSATIONS):
        assert ids_of(answers[number]) == ids_of(expected(number)), number
        assert [one.text for one in answers[number]] == [one.text for one in expected(number)]
        assert [one.input_tokens for one in answers[number]] == [one.input_tokens for one in expected(number)]
        assert [one.finish_reason for one in answers[number]] == [one.finish_reason for one in expected(number)]
    assert (
        len({one.text for number in range(CONVERSATIONS) for one in expected(number)}) > 15
    )  # they say different things


def test_a_plain_client_of_the_chat_route_reads_the_same_tokens(server, expected, local):
    """Any OpenAI client: raw images that are not square, messages, a format by name. It sends answers as text."""
    compared = 0
    for number in range(0, CONVERSATIONS, 2):
        request = first_request(number)
        for turn in range(turns_of(number)):
            if turn:
                answer = replace(expected(number)[turn - 1], token_ids=None)
                request = next_request(request, answer, number)
            conversation = request.conversation
            body = {
                "model": "shapes",
                "messages": chat_messages(conversation, [data_url(image) for image in conversation.images]),
                "chat_template_kwargs": {"prompt_format": request.prompt_format},
                "temperature": 0,
                "max_tokens": request.max_tokens,
                "stop": list(request.all_stop_texts),
                "return_token_ids": True,
            }
            reply = httpx.post(f"{server.url}/chat/completions", json=body, timeout=300)
            assert reply.status_code == 200, reply.text
            assert tuple(reply.json()["prompt_token_ids"]) == local.runner.encoder.encode_text(request.render())
            said = reply.json()["choices"][0]["message"]["content"]
            assert said.strip() == local.generate(request).text
            compared += 1
    assert compared > 50


def test_log_probabilities_are_those_of_this_process(served, local):
    compared, largest = 0, 0.0
    for number in range(12):
        request = replace(first_request(number), top_logprobs=5)
        ours, theirs = local.generate(request), served.generate(request)
        assert ours.token_ids == theirs.token_ids
        for mine, other in zip(ours.logprobs, theirs.logprobs, strict=True):
            assert mine.token == other.token
            tops = {one.token: one.logprob for one in mine.top}
            for alternative in other.top:
                if alternative.token in tops:  # the fifth and the sixth may be equal
                    largest = max(largest, abs(tops[alternative.token] - alternative.logprob))
                    compared += 1
    assert compared > 100
    assert largest < LOGPROB_TOLERANCE


class Thing(BaseModel):
    color: str = Field(max_length=12)
    count: int = Field(ge=0, le=9)


class Both(BaseModel):
    first: Thing
    kinds: list[str] = Field(max_length=2)
    sure: bool


@tool
def report(color: str, count: int) -> str:
    """Report a color and a count."""
    return f"{color} {count}"


@pytest.fixture(scope="module")
def models(server, folder):
    """The chat model in this process, and the same one served: one argument differs."""
    settings = {"max_tokens": 64, "temperature": 0.0}
    return (
        ChatVipLlava(model="bundled", dtype="float32", device="cpu", **settings),
        ChatVipLlava(base_url=server.url, tokenizer=str(folder), **settings),
    )


@pytest.mark.parametrize("schema", [Thing, Both, bool, list[int]], ids=str)
def test_structured_output_is_that_of_this_process(models, marked, schema):
    answers = [
        llm.with_structured_output(schema, include_raw=True).invoke([marked.message("What is the object {0}?")])
        for llm in models
    ]
    assert answers[0]["parsing_error"] is None
    assert answers[1]["parsed"] == answers[0]["parsed"]
    assert answers[1]["raw"].text == answers[0]["raw"].text


def test_tools_are_called_as_in_this_process(models, marked):
    calls = [
        llm.bind_tools([report], tool_choice="any").invoke([marked.message("Report the object {1}.")]).tool_calls
        for llm in models
    ]
    assert calls[0]
    assert [(one["name"], one["args"]) for one in calls[1]] == [(one["name"], one["args"]) for one in calls[0]]


def test_answers_per_region_are_those_of_this_process(models, marked):
    answers = []
    for llm in models:
        schema = marked.answers_schema()
        answers.append(llm.with_structured_output(schema).invoke([marked.message("What is the object {0}?")]))
    assert answers[0] == answers[1]


def test_a_typed_image_token_and_stop_texts_are_read_as_in_this_process(models, marked):
    for question in ("What does <image> mean for {0}?", "Is </s> the end of {0}?"):
        texts = [llm.invoke([marked.message(question)], stop=["e"]).text for llm in models]
        assert texts[0] == texts[1]


async def test_eight_streams_at_once_say_what_this_process_says(served, local):
    async def stream(number):
        pieces, last = [], None
        async for piece in served.astream(first_request(number)):
            if isinstance(piece, Answer):
                last = piece
            else:
                pieces.append(piece)
        return "".join(pieces), last

    streams = await asyncio.gather(*(stream(number) for number in range(8)))
    for number, (text, last) in enumerate(streams):
        answer = local.generate(first_request(number))
        assert text.strip() == last.text == answer.text
        assert last.token_ids == answer.token_ids


def test_a_seed_repeats_an_answer(served):
    request = replace(first_request(2), sampling=Sampling(temperature=1.5, seed=7))
    answers = {served.generate(request).text for _ in range(3)}
    assert len(answers) == 1


def test_memory_of_a_conversation_goes_on_from_here_to_there(models, marked):
    """A conversation that began in this process continues on the server."""
    here, there = models
    question = marked.message("What is the object {0}?")
    answer = here.invoke([question])
    talk = [question, answer, HumanMessage("What color is it?")]
    assert isinstance(answer, AIMessage)
    assert here.invoke(talk).text == there.invoke(talk).text


def processes_of(port):
    """Return the processes of vLLM that have a port on their command line, with their children."""
    servers = [
        process
        for process in psutil.process_iter(["cmdline"])
        if {"vllm.entrypoints.openai.api_server", str(port)} <= set(process.info["cmdline"] or ())
    ]
    return {process.pid for server in servers for process in (server, *server.children(recursive=True))}


def test_the_command_serves_over_two_processes_and_ends_all_of_them(tmp_path, free_port):
    """`langchain-vipllava serve --tensor-parallel-size 2`: the answers of one process; Ctrl-C leaves nothing behind.

    On random weights with four attention heads: those of the bundled checkpoint, five, cannot be shared by two.
    """
    processor, saved = make_processor(), tmp_path / "saved"
    make_model(processor, hidden=128).save_pretrained(saved)  # vLLM's CPU attention has no heads below 32
    processor.save_pretrained(saved)
    folder = export_checkpoint(LoadOptions(str(saved)), tmp_path / "served").folder
    local = LocalBackend.load(model=str(saved), dtype="float32", device="cpu")
    arguments = ["serve", str(folder), "--tensor-parallel-size", "2", "--port", str(free_port)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, env=variables)
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "Ready after" in line:
                break
        assert "Ready after" in lines[-1], lines
        started = processes_of(free_port)
        assert len(started) >= 4  # a server, an engine, two workers
        served = ServedBackend(f"http://127.0.0.1:{free_port}/v1", tokenizer=str(folder))
        for number in range(12):
            assert ids_of(converse(served.generate, number)) == ids_of(converse(local.generate, number))
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(120)
    assert status == 128 + signal.SIGINT
    assert not [pid for pid in started if is_alive(pid)]


def metric(server, name):
    """Sum a counter of a server over its labels."""
    lines = httpx.get(f"{server.root}/metrics", timeout=60).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name) and not line.startswith("#"))


def test_two_servers_find_second_turns_in_their_caches_and_one_that_dies_loses_nothing(
    server, make_server, folder, local
):
    servers = [server, make_server()]
    served = ServedBackend([one.url for one in servers], "shapes", tokenizer=str(folder))
    numbers = range(1000, 1024)
    firsts = {number: served.generate(first_request(number)) for number in numbers}
    before = [[metric(one, f"vllm:prefix_cache_{what}_total") for what in ("hits", "queries")] for one in servers]
    for number in numbers:
        served.generate(next_request(first_request(number), firsts[number], number))
    after = [[metric(one, f"vllm:prefix_cache_{what}_total") for what in ("hits", "queries")] for one in servers]
    asked = [late[1] - early[1] for late, early in zip(after, before, strict=True)]
    found = sum(late[0] - early[0] for late, early in zip(after, before, strict=True))
    print(f"second turns: {found / sum(asked):.0%} of {sum(asked):.0f} prompt tokens cached, by server {asked}")
    assert found / sum(asked) > CACHED
    assert min(asked) > 0.15 * sum(asked)  # both have some of the conversations

    numbers = range(2000, 2032)
    expected = {number: ids_of(converse(local.generate, number, 3)) for number in numbers}
    begun = threading.Barrier(CALLERS + 1)

    def ask(number):
        if number < 2000 + CALLERS:
            begun.wait(300)
        return ids_of(converse(served.generate, number, 3))

    with ThreadPoolExecutor(CALLERS) as pool:
        answers = {number: pool.submit(ask, number) for number in numbers}
        begun.wait(300)
        answers[2000].result(300)  # in the middle of the others
        os.killpg(servers[1].process.pid, signal.SIGKILL)
        got = {number: future.result(300) for number, future in answers.items()}
    assert got == expected
