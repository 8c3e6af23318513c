"""Several servers: a conversation keeps to one, and moves on when that one is down."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.messages import HumanMessage

from langchain_vipllava import ServerError
from langchain_vipllava.backends.served_options import ServerTimeouts
from langchain_vipllava.backends.server_address import ServerAddress, preferred, read_addresses
from tests.served.conftest import chat, picture
from tests.served.test_answers import about, assert_equal
from tests.served.test_faults import unused_port
from tests.support.model_server import ModelServer, breaks_off

WORDS = ["red", "blue", "green", "round", "square", "big", "small", "left", "right", "top"]


@pytest.fixture
def servers(runner):
    with ModelServer(runner) as first, ModelServer(runner) as second:
        yield first, second


def test_a_conversation_keeps_to_one_server(servers, local):
    llm = chat(*servers)
    used = Counter()
    for word in WORDS:
        messages = [about(picture(), f"Is it {word}?")]
        before = [len(server.seen) for server in servers]
        for question in ("Why?", "What else?", "And now?"):
            messages += [llm.invoke(messages), HumanMessage(question)]
        counts = [len(server.seen) - number for server, number in zip(servers, before, strict=True)]
        assert sorted(counts) == [0, 3]
        used[counts.index(3)] += 1
    assert len(used) == 2  # one chance in 512 for ten conversations; the hash does not change from run to run
    assert_equal(llm.invoke(messages), local.invoke(messages))


def test_a_second_turn_finds_its_prefix_cached(servers):
    llm = chat(*servers)
    messages = [about(picture("rectangle", "green", (300, 200)), "What is it, then?")]
    answer = llm.invoke(messages)
    second = llm.invoke([*messages, answer, HumanMessage("Is it round?")])
    reused = second.response_metadata["timings"]["reused_tokens"]
    assert reused > 0.6 * second.usage_metadata["input_tokens"]


def test_conversations_move_on_when_a_server_is_down(runner, local):
    with ModelServer(runner) as alive:
        llm = chat(alive, max_retries=0)
        dead = f"http://127.0.0.1:{unused_port()}/v1"
        backend = type(llm.backend)([dead, alive.base_url], "bundled", max_retries=0, timeouts=ServerTimeouts(pause=0))
        llm = llm.model_copy(update={"given_backend": backend})
        for word in WORDS:
            question = [HumanMessage(f"What is {word}?")]
            assert_equal(llm.invoke(question), local.invoke(question))


def test_a_dead_server_is_asked_last_for_a_while(servers):
    llm = chat(*servers)
    questions = [[HumanMessage(f"What is {word}?")] for word in WORDS]
    for question in questions:
        llm.invoke(question)
    dead, alive = servers
    assert dead.seen
    dead.die()
    before = len(alive.seen)
    for question in questions:
        llm.invoke(question)
    assert len(alive.seen) - before == len(questions)
    assert list(llm.backend.client._down) == [ServerAddress.read(dead.base_url)]


def test_a_server_that_dies_under_load_loses_nothing(runner, local):
    questions = [[HumanMessage(f"What is {word} and {other}?")] for word in WORDS[:5] for other in WORDS[5:]]
    expected = [local.invoke(question).text for question in questions]
    with ModelServer(runner) as first, ModelServer(runner) as second:
        llm = chat(first, second)
        for question in questions:  # the ports decide which conversation asks which server
            llm.invoke(question)
            if first.seen and second.seen:
                break
        reached = threading.Event()
        first.faults.extend([None, None, breaks_off(1)])

        def ask(number):
            if number == len(questions) // 2:
                first.die()
                reached.set()
            return llm.invoke(questions[number]).text

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, range(len(questions)))) == expected
        assert reached.is_set()
        assert first.seen
        assert second.seen


def test_all_servers_down_is_one_error_that_says_so():
    urls = [f"http://127.0.0.1:{unused_port()}" for _ in range(2)]
    from langchain_vipllava import ChatVipLlava

    with pytest.raises(ServerError, match="cannot be reached"):
        ChatVipLlava(base_url=urls, model="bundled", max_retries=0).invoke("Hello.")


def test_the_order_depends_on_the_conversation_and_moves_little():
    addresses = read_addresses([f"http://gpu-{number}:8000/v1" for number in range(4)])
    keys = [bytes([number]) for number in range(200)]
    firsts = Counter(preferred(addresses, key)[0] for key in keys)
    assert min(firsts.values()) > 25
    moved = [key for key in keys if preferred(addresses, key)[0] != preferred(addresses[:3], key)[0]]
    assert all(preferred(addresses, key)[0] == addresses[3] for key in moved)


@pytest.mark.parametrize("url", ["http://gpu:8000", "http://gpu:8000/", "http://gpu:8000/v1", "http://gpu:8000/v1/"])
def test_an_address_may_end_in_v1(url):
    assert ServerAddress.read(url).root == "http://gpu:8000"
    assert ServerAddress.read("https://gateway/team/v1").root == "https://gateway/team"


def test_only_this_machine_is_loopback():
    """A name from elsewhere must not make the client read a folder that the server names, or go past a proxy."""
    here = ["http://localhost:8000", "http://127.0.0.2", "http://[::1]:8000/v1"]
    there = ["http://localhost.example.org", "http://127.example.org", "http://10.0.0.1"]
    assert [ServerAddress.read(url).is_loopback for url in (*here, *there)] == [True] * 3 + [False] * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_asks_by_itself(server, local):
    llm = chat(server)
    question = [HumanMessage("What is red?")]
    expected = local.invoke(question).text
    assert llm.invoke(question).text == expected
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, llm.invoke(question).text.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read().decode() == expected
    os.waitpid(child, 0)


@pytest.mark.slow
def test_64_callers_and_500_requests(servers, local):
    """None is lost. The figures go to the report of `pytest -s`: how long the slowest take beside a single caller's."""
    llm = chat(*servers, max_tokens=4)
    questions = [[HumanMessage(f"What is {word} and {other}?")] for word in WORDS[:5] for other in WORDS[5:]]
    expected = [answer.text for answer in local.model_copy(update={"max_tokens": 4}).batch(questions)]

    def ask(number):
        start = time.perf_counter()
        answer = llm.invoke(questions[number % len(questions)]).text
        return answer, time.perf_counter() - start

    alone = sorted(seconds for _, seconds in map(ask, range(len(questions))))
    with ThreadPoolExecutor(64) as pool:
        asked = list(pool.map(ask, range(500)))
    assert [answer for answer, _ in asked] == [expected[number % len(questions)] for number in range(500)]
    together = sorted(seconds for _, seconds in asked)
    for name, times in (("1 caller", alone), ("64 callers", together)):
        middle, tail = (times[int(share * (len(times) - 1))] for share in (0.5, 0.99))
        print(f"{name}: half within {middle:.2f} s, 99% within {tail:.2f} s")
