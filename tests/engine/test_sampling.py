"""Sampling settings, stop texts and max_tokens: from the constructor, a call or `bind`, and invalid ones."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import numpy as np
import pytest
import torch
from langchain_core.messages import HumanMessage
from PIL import Image

from langchain_vipllava import ChatVipLlava, GenerationError, PromptError, VipLlavaError
from tests.support.engine import engine_request

WARM = {"temperature": 1.0, "seed": 7}


def test_same_seed_same_answer(llm):
    assert llm.invoke("Hi", **WARM).text == llm.invoke("Hi", **WARM).text
    assert len({llm.invoke("Hi", temperature=1.0, seed=seed).text for seed in range(6)}) == 6


def test_without_a_seed_answers_vary(llm):
    assert len({llm.invoke("Hi", temperature=1.0).text for _ in range(5)}) > 1


def test_greedy_ignores_the_seed(llm):
    assert llm.invoke("Hi", seed=1).text == llm.invoke("Hi", seed=2, temperature=0, top_p=0.5, top_k=3).text


def test_seeded_answers_are_the_same_alone_and_batched(llm):
    image = {"type": "image", "image": Image.new("RGB", (50, 90), "teal")}
    questions = ["Hi", "What do you see in the image, and why?", [HumanMessage([image, "Look."])]] * 2
    seeded = [llm.bind(temperature=1.0, seed=index) for index in range(len(questions))]
    seeded[1] = llm  # one greedy row
    alone = [chat.invoke(question).text for chat, question in zip(seeded, questions, strict=True)]
    entered, opened, rows = threading.Event(), threading.Event(), []

    def hold(module, inputs, output):
        rows.append(inputs[0].shape[0] if inputs[0].ndim == 2 else 0)  # a token for each row
        entered.set()
        assert opened.wait(60)

    async def together():
        first = asyncio.ensure_future(llm.ainvoke("Hold the line."))
        assert await asyncio.to_thread(entered.wait, 60)
        tasks = [asyncio.ensure_future(c.ainvoke(q)) for c, q in zip(seeded, questions, strict=True)]
        while llm.backend.runner.stats().waiting < len(tasks):
            await asyncio.sleep(0)
        opened.set()
        answers = await asyncio.gather(*tasks)
        await first
        return [answer.text for answer in answers]

    hook = llm.backend.runner.model.get_input_embeddings().register_forward_hook(hold)
    try:
        assert asyncio.run(together()) == alone
    finally:
        opened.set()
        hook.remove()
    assert max(rows) >= len(questions)


def test_samples_follow_the_distribution_of_the_model(llm):
    """First tokens of many seeds against the softmax of the logits, with top_k, top_p and temperatures."""
    runner, messages = llm.backend.runner, [HumanMessage("Hi")]
    encoded = runner.encoder.encode(engine_request(llm, messages, None, {}))
    with torch.inference_mode():
        logits = runner.model(input_ids=torch.tensor([encoded.ids])).logits[0, -1].double()

    def sample(count=60, **settings):
        requests = [
            engine_request(llm, messages, None, {"max_tokens": 1, "temperature": 1.0, **settings, "seed": seed})
            for seed in range(count)
        ]
        return Counter(handle.future.result(60).token_ids for handle in map(runner.submit, requests))

    def tokens(counter):
        return {ids[0] if ids else runner.encoder.tokenizer.eos_token_id for ids in counter}

    best = logits.topk(3).indices.tolist()
    assert tokens(sample(top_k=1)) == {best[0]}
    assert tokens(sample(top_k=3)) == set(best)
    assert tokens(sample(count=20, top_p=1e-6)) == {best[0]}
    assert tokens(sample(count=20, temperature=0.001)) == {best[0]}
    gap = float(logits[best[0]] - logits[best[1]])
    counts = sample(count=400, top_k=2, temperature=gap)  # a gap of one logit: the second token has probability 0.269
    assert counts[(best[1],)] / 400 == pytest.approx(0.269, abs=0.05)
    nucleus = logits.softmax(-1).sort(descending=True)
    kept = int((nucleus.values.cumsum(-1) < 0.2).sum()) + 1
    assert tokens(sample(top_p=0.2)) <= set(nucleus.indices[:kept].tolist())


def test_a_tiny_temperature_is_greedy(llm):
    for temperature in (1e-5, 1e-30, 5e-324):
        assert llm.invoke("Hi", temperature=temperature, seed=1).text == llm.invoke("Hi").text


def test_numpy_numbers_are_accepted(llm):
    assert (
        llm.invoke("Hi", temperature=np.float32(1), seed=np.int64(7), top_p=np.float64(1)).text
        == llm.invoke("Hi", **WARM).text
    )


SETTINGS = [
    {"temperature": 1.0, "seed": 3},
    {"temperature": 1.0, "seed": 3, "top_k": 2},
    {"temperature": 1.0, "seed": 3, "top_p": 0.3},
    {"max_tokens": 3},
    {"stop": ["e", "#"]},
    {"prompt_format": "llava_v1"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=[" ".join(one) for one in SETTINGS])
def test_constructor_call_and_bind_mean_the_same(tiny_checkpoint, settings):
    plain = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=12)
    made = ChatVipLlava(model=str(tiny_checkpoint), **{"max_tokens": 12, **settings})
    answers = {made.invoke("Hi").text, plain.invoke("Hi", **settings).text, plain.bind(**settings).invoke("Hi").text}
    assert len(answers) == 1
    assert answers != {plain.invoke("Hi").text}
    assert "".join(chunk.text for chunk in plain.stream("Hi", **settings)) in answers


def test_a_call_overrides_the_constructor(tiny_checkpoint):
    made = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=2, temperature=1.0, seed=1, stop=["e"])
    plain = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=12)
    assert made.invoke("Hi", temperature=0, max_tokens=12, stop=[]).text == plain.invoke("Hi").text
    assert made.invoke("Hi", max_tokens=5).usage_metadata["output_tokens"] <= 5


def test_stop_takes_one_text_or_a_list(tiny_checkpoint):
    def with_stop(stop):
        return ChatVipLlava(model=str(tiny_checkpoint), max_tokens=12, stop=stop).invoke("Hi").text

    assert with_stop("e") == with_stop(["e"]) == with_stop(["zebra", "e"])


def test_max_tokens_none_is_the_default(tiny_checkpoint):
    chat = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=None)
    assert chat.invoke("Hi").usage_metadata["output_tokens"] <= 256


INVALID = [
    ("temperature", -0.1),
    ("temperature", float("nan")),
    ("temperature", float("inf")),
    ("top_p", 0),
    ("top_p", 1.01),
    ("top_p", float("nan")),
    ("top_k", 0),
    ("top_k", -3),
    ("seed", 2**64),
    ("max_tokens", 0),
    ("max_tokens", -1),
    ("stop", [""]),
    ("stop", ["a", ""]),
]
WRONG_TYPE = [
    ("temperature", "hot"),
    ("temperature", True),
    ("top_p", "0.9"),
    ("top_k", 1.5),
    ("seed", "x"),
    ("seed", 1.5),
    ("max_tokens", "3"),
    ("max_tokens", 2.5),
    ("stop", [1]),
    ("stop", 5),
]


@pytest.mark.parametrize(("name", "value"), INVALID + WRONG_TYPE)
def test_invalid_settings_of_a_call_say_what_is_expected(llm, name, value):
    for call in (llm.invoke, llm.bind(**{name: value}).invoke, lambda text, **kw: list(llm.stream(text, **kw))):
        with pytest.raises(GenerationError, match=rf"{name}=.*expected"):
            call("Hi", **{name: value})
    with pytest.raises(GenerationError, match=name):
        asyncio.run(llm.ainvoke("Hi", **{name: value}))
    assert llm.invoke("Hi").text


@pytest.mark.parametrize(("name", "value"), INVALID)
def test_invalid_settings_are_rejected_at_construction(name, value):
    with pytest.raises(GenerationError, match=rf"{name}=.*expected"):
        ChatVipLlava(model="/nowhere", **{name: value})


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"temprature": 0.5}, GenerationError),
        ({"repetition_penalty": 1.2}, GenerationError),
        ({"image_fit": "stretch"}, GenerationError),
        ({"multi_image": "all"}, PromptError),
        ({"prompt_format": "chatml"}, PromptError),
    ],
    ids=["typo", "repetition_penalty", "image_fit", "multi_image", "prompt_format"],
)
def test_unknown_names_are_rejected(llm, settings, error):
    with pytest.raises(error, match="expected"):
        llm.invoke("Hi", **settings)
    with pytest.raises((VipLlavaError, ValueError)):
        ChatVipLlava(model="/nowhere", **settings)
