"""Log-probabilities in OpenAI's layout: equal to a plain forward pass, streamed and not, constrained and not."""

from __future__ import annotations

import asyncio
import json
import math
from functools import reduce
from operator import add
from typing import Literal

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumpd, dumps, load, loads
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel

from langchain_vipllava import ChatVipLlava, GenerationError, VipLlavaError
from langchain_vipllava.engine.text_encoding import TextEncoder
from langchain_vipllava.engine.token_texts import TokenTexts
from langchain_vipllava.protocol import Answer, AnswerPiece, Choice, TokenLogprob
from tests.support.checkpoints import make_tokenizer
from tests.support.echo import EchoBackend
from tests.support.marked_scene import marked_scene
from tests.support.plain_logprobs import TOLERANCE, PlainLogprobs
from tests.support.versions import CORE_OBJECTS


def token_texts(tokenizer):
    """Return the texts of a tokenizer of transformers."""
    return TokenTexts(TextEncoder(tokenizer.backend_tokenizer.to_str(), image_tokens=1))


class Thing(BaseModel):
    color: Literal["red", "white", "blue"]
    is_round: bool


RESPONSE_FORMAT = {"type": "json_schema", "json_schema": {"name": "thing", "schema": Thing.model_json_schema()}}


@pytest.fixture(scope="module")
def plain(tiny_checkpoint):
    return PlainLogprobs(str(tiny_checkpoint))


@pytest.fixture
def recording(tiny_checkpoint):
    return ChatVipLlava(model=str(tiny_checkpoint), max_tokens=12, logprobs=True, top_logprobs=3)


@pytest.fixture(scope="module")
def bundled():
    return ChatVipLlava(model="bundled", logprobs=True, top_logprobs=2)


@pytest.fixture(scope="module")
def question():
    return marked_scene(1).message("What is the object {0}?")


def content_of(message) -> list[dict]:
    return message.response_metadata["logprobs"]["content"]


def text_of(content) -> str:
    return b"".join(bytes(place["bytes"] or ()) for place in content).decode()


def assert_equal(content, expected):
    """Two lists of places with the same tokens, and numbers that differ by no more than the order of sums does."""
    assert [place["token"] for place in content] == [place["token"] for place in expected]
    for place, other in zip(content, expected, strict=True):
        assert place["logprob"] == pytest.approx(other["logprob"], abs=TOLERANCE)
        assert [top["token"] for top in place["top_logprobs"]] == [top["token"] for top in other["top_logprobs"]]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 1.5, "seed": 3, "top_k": 50},
        {"response_format": RESPONSE_FORMAT, "max_tokens": 120},
        {"response_format": RESPONSE_FORMAT, "max_tokens": 120, "temperature": 1.0, "seed": 1},
        {"prompt_format": "human_assistant"},
    ],
    ids=["greedy", "sampled", "constrained", "constrained and sampled", "another format"],
)
def test_they_are_the_models_own_softmax(recording, plain, marked, settings):
    messages = [HumanMessage("Hello."), AIMessage("Hi."), marked.message("What is the object {0}?")]
    for _ in range(2):  # the second time, the whole prompt is cached
        answer = recording.invoke(messages, **settings)
        places = plain.of(recording, messages, answer, **settings)
        content, ids = content_of(answer), answer.response_metadata["token_ids"]
        assert len(content) == len(ids) == answer.usage_metadata["output_tokens"] > 0
        names = token_texts(plain.processor.tokenizer)
        for place, expected, token in zip(content, places, ids, strict=True):
            assert place["logprob"] == pytest.approx(float(expected[token]), abs=TOLERANCE)
            values, best = expected.topk(3)
            assert [top["logprob"] for top in place["top_logprobs"]] == pytest.approx(values.tolist(), abs=TOLERANCE)
            assert place["token"] == names.of(token)[0]
            if min(-values.diff()) > 2 * TOLERANCE:
                assert [top["token"] for top in place["top_logprobs"]] == [names.of(i)[0] for i in best.tolist()]


def test_the_bundled_checkpoint_says_how_sure_it_is(bundled, question):
    answer = bundled.invoke([question])
    assert answer.text == "A white square."
    assert [place["token"] for place in content_of(answer)] == [" A", " white", " square", "."]
    assert all(place["top_logprobs"][0]["token"] == place["token"] for place in content_of(answer))
    assert content_of(answer)[1]["bytes"] == list(b" white")
    assert all(math.exp(place["logprob"]) > 0.5 for place in content_of(answer))


def test_a_greedy_answer_is_the_same_with_and_without_them(llm, recording, marked):
    question = [marked.message("What is the object {0}?")]
    without = llm.invoke(question)
    assert recording.invoke(question).text == without.text
    assert "logprobs" not in without.response_metadata
    assert "confidence" not in without.response_metadata


@pytest.mark.parametrize(
    "settings",
    [{}, {"response_format": RESPONSE_FORMAT, "max_tokens": 120}, {"temperature": 1.0, "seed": 4}],
    ids=["free", "constrained", "sampled"],
)
def test_chunks_carry_their_own_tokens_and_merge_to_the_list_of_the_whole(bundled, question, settings):
    whole = bundled.invoke([question], **settings)
    chunks = list(bundled.stream([question], **settings))
    assert "".join(text_of(content_of(chunk)) for chunk in chunks) == text_of(content_of(whole))
    for chunk in chunks[:-1]:
        assert chunk.text.strip() in text_of(content_of(chunk))
    merged = reduce(add, chunks)
    assert isinstance(merged, AIMessageChunk)
    assert_equal(content_of(merged), content_of(whole))
    assert [part["path"] for part in merged.response_metadata["confidence"]] == [
        part["path"] for part in whole.response_metadata["confidence"]
    ]


def test_chunks_of_two_answers_merge_as_langchain_merges(bundled, question):
    merged = reduce(add, [*bundled.stream([question]), *bundled.stream([question])])
    assert merged.text == "A white square." * 2
    assert [place["token"] for place in content_of(merged)] == [" A", " white", " square", "."] * 2


def test_ainvoke_astream_batch_and_abatch_return_the_same(bundled, question):
    expected = content_of(bundled.invoke([question]))

    async def run():
        streamed = [chunk async for chunk in bundled.astream([question])]
        return [await bundled.ainvoke([question]), reduce(add, streamed), *await bundled.abatch([[question]] * 3)]

    for answer in [*asyncio.run(run()), *bundled.batch([[question]] * 3)]:
        assert_equal(content_of(answer), expected)


def test_tokens_of_a_stop_text_are_left_out(bundled, question):
    for stop, tokens in ((["square"], [" A", " white", " square"]), ([" square"], [" A", " white"]), (["A"], [])):
        answer = bundled.invoke([question], stop=stop)
        assert [place["token"] for place in content_of(answer)] == tokens
        assert_equal(content_of(reduce(add, bundled.stream([question], stop=stop))), content_of(answer))
        assert text_of(content_of(answer)).strip().startswith(answer.text)


def test_tokens_join_to_the_text_of_any_answer(recording):
    for seed in range(20):
        answer = recording.invoke("Hi", temperature=2.0, seed=seed)
        whole = b"".join(bytes(place["bytes"] or ()) for place in content_of(answer))
        assert whole.decode("utf-8", "replace").strip() == answer.text or "\ufffd" in answer.text
        merged = reduce(add, recording.stream("Hi", temperature=2.0, seed=seed))
        assert_equal(content_of(merged), content_of(answer))


def test_calls_of_tools_carry_them_too(bundled, question):
    def look(side: Literal["left", "right"]) -> str:
        """Look at a side."""
        return side

    for settings in ({"tool_choice": "any"}, {}):
        chain = bundled.bind_tools([look], **settings)
        answer = chain.invoke([question])
        merged = reduce(add, chain.stream([question]))
        assert_equal(content_of(merged), content_of(answer))
        if answer.tool_calls:
            call = json.loads(text_of(content_of(answer)))[0]
            assert (call["name"], call["arguments"]) == ("look", answer.tool_calls[0]["args"])


def test_tokens_that_are_no_text_by_themselves_have_bytes():
    texts = token_texts(make_tokenizer())
    tokenizer = make_tokenizer()
    assert texts.of(tokenizer.convert_tokens_to_ids("<0xE2>")) == ("\\xe2", b"\xe2")
    assert texts.of(tokenizer.convert_tokens_to_ids("<0xFF>")) == ("\\xff", b"\xff")
    assert texts.of(tokenizer.convert_tokens_to_ids("<0x41>")) == ("A", b"A")
    assert texts.of(tokenizer.convert_tokens_to_ids("<image>")) == ("<image>", None)
    assert texts.of(100_000) == ("", None)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"logprobs": 5}, "logprobs=5; expected True or False"),
        ({"logprobs": "yes"}, "logprobs='yes'"),
        ({"top_logprobs": 21}, "top_logprobs=21; expected a whole number, 0 to 20"),
        ({"top_logprobs": -1}, "top_logprobs=-1"),
        ({"top_logprobs": True}, "top_logprobs=True"),
        ({"top_logprobs": 2.5}, "top_logprobs=2.5"),
        ({"logprobs": False, "top_logprobs": 3}, "top_logprobs=3 beside logprobs=False"),
    ],
)
def test_bad_values_are_refused_by_name(llm, settings, words):
    with pytest.raises(GenerationError) as caught:
        llm.invoke("Hi", **settings)
    assert words in str(caught.value)
    with pytest.raises(VipLlavaError, match=next(iter(settings))):
        ChatVipLlava(model="bundled", **settings)


@pytest.mark.parametrize(
    ("fields", "settings", "alternatives"),
    [
        ({}, {"logprobs": True}, 0),
        ({}, {"top_logprobs": 2}, 2),
        ({"logprobs": True}, {"top_logprobs": 4}, 4),
        ({"top_logprobs": 4}, {}, 4),
        ({"top_logprobs": 4}, {"logprobs": False}, None),
        ({"logprobs": True}, {"logprobs": False}, None),
        ({"logprobs": False}, {"top_logprobs": 1}, 1),
        ({"logprobs": False}, {}, None),
    ],
)
def test_a_call_overrides_the_model(tiny_checkpoint, fields, settings, alternatives):
    answer = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=3, **fields).bind(**settings).invoke("Hi")
    if alternatives is None:
        assert "logprobs" not in answer.response_metadata
    else:
        assert {len(place["top_logprobs"]) for place in content_of(answer)} == {alternatives}


def test_dumps_checkpointers_caches_and_callbacks_keep_them(tiny_checkpoint):
    cache, ended = InMemoryCache(), []

    class Listener(BaseCallbackHandler):
        def on_llm_end(self, response, **kwargs):
            ended.append(response.generations[0][0].message)

    llm = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=4, logprobs=True, top_logprobs=1, cache=cache)
    answer = llm.invoke("Hi", {"callbacks": [Listener()]})
    metadata = answer.response_metadata
    assert ended[0].response_metadata["logprobs"] == metadata["logprobs"]
    assert llm.invoke("Hi").response_metadata["logprobs"] == metadata["logprobs"]  # from the cache
    assert "logprobs" not in llm.invoke("Hi", logprobs=False).response_metadata  # another entry of it
    for copy in (
        loads(dumps(answer), **CORE_OBJECTS),
        load(dumpd(answer), **CORE_OBJECTS),
        JsonPlusSerializer().loads_typed(JsonPlusSerializer().dumps_typed(answer)),
    ):
        assert copy.response_metadata == metadata
    assert json.loads(json.dumps(metadata)) == metadata


def test_include_raw_keeps_them(bundled, question):
    result = bundled.with_structured_output(Thing, include_raw=True).invoke([question])
    assert Thing.model_validate_json(text_of(content_of(result["raw"]))) == result["parsed"]


def test_another_backend_returns_the_same_layout():
    """As one that asks a server would: plain data, without knowing what a schema admits."""

    class Served(EchoBackend):
        def stream(self, request, *, timeout=None):
            places = tuple(
                TokenLogprob(text, -0.5, text.encode(), (Choice(text, -0.5, text.encode()), Choice("No", -1.5, b"No")))
                for text in ("Red", ".")
            )
            assert request.top_logprobs == 2
            yield AnswerPiece("Red", places[:1])
            yield AnswerPiece(".", places[1:])
            yield Answer("Red.", 1, 2, "stop", logprobs=places)

    llm = ChatVipLlava(backend=Served(), top_logprobs=2)
    expected = {
        "token": "Red",
        "logprob": -0.5,
        "bytes": [82, 101, 100],
        "top_logprobs": [
            {"token": "Red", "logprob": -0.5, "bytes": [82, 101, 100]},
            {"token": "No", "logprob": -1.5, "bytes": [78, 111]},
        ],
    }
    assert content_of(llm.invoke("Hi"))[0] == expected
    chunks = list(llm.stream("Hi"))
    assert [len(content_of(chunk)) for chunk in chunks if "logprobs" in chunk.response_metadata] == [1, 1, 0]
    assert reduce(add, chunks).response_metadata["logprobs"] == llm.invoke("Hi").response_metadata["logprobs"]
    assert "confidence" not in llm.invoke("Hi").response_metadata
