"""A chat model over HTTP answers as the one of this process does, token by token."""

from __future__ import annotations

import base64
import copy
import io
import pickle
import subprocess
import sys
from functools import reduce
from operator import add
from typing import Literal

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from PIL import Image
from pydantic import BaseModel

from langchain_vipllava import ChatVipLlava, Region, confidence, mark
from langchain_vipllava.chat.messages import TOKEN_IDS
from langchain_vipllava.prompt.formats import FORMATS
from tests.served.conftest import chat, picture
from tests.support.model_server import CHAT, GENERATE
from tests.support.versions import needs_lazy_core

KINDS = ("rectangle", "ellipse", "triangle", "point", "scribble", "mask contour", "mask", "arrow")


def block(image: Image.Image) -> dict[str, str]:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"type": "image", "base64": base64.b64encode(buffer.getvalue()).decode(), "mime_type": "image/png"}


def about(image: Image.Image, question: str) -> HumanMessage:
    return HumanMessage([{"type": "text", "text": question}, block(image)])


def flat(logprobs: dict | None) -> dict[tuple, float]:
    """Return log-probabilities by place, rank, token and bytes."""
    return {
        (index, rank, choice["token"], tuple(choice["bytes"] or ())): choice["logprob"]
        for index, place in enumerate((logprobs or {"content": ()})["content"])
        for rank, choice in enumerate([place, *place["top_logprobs"]])
    }


def assert_equal(served: AIMessage, local: AIMessage) -> None:
    """Assert that two messages are equal but for the time they took."""
    assert served.text == local.text
    calls = [[{**call, "id": None} for call in message.tool_calls] for message in (served, local)]
    assert calls[0] == calls[1]
    assert served.usage_metadata == local.usage_metadata
    places = [message.response_metadata.get("logprobs") for message in (served, local)]
    assert flat(places[0]) == pytest.approx(flat(places[1]), abs=1e-4)  # prefixes that are cached round differently
    left_out = ("timings", "confidence", "logprobs")
    metadata = [{k: v for k, v in m.response_metadata.items() if k not in left_out} for m in (served, local)]
    assert metadata[0] == metadata[1]


@pytest.mark.parametrize("kind", KINDS)
def test_marked_images_of_any_shape_are_answered_by_the_same_tokens(llm, local, server, kind):
    marked = mark(picture(size=(480, 160)), [Region(box=(20, 20, 140, 140))], kind=kind)
    messages = [about(marked.image, marked.question("What is the object {0}?"))]
    assert_equal(llm.invoke(messages), local.invoke(messages))
    assert server.seen[-1].path == GENERATE


@pytest.mark.parametrize("prompt_format", FORMATS)
def test_later_turns_keep_the_ids_of_earlier_answers_in_every_format(llm, local, prompt_format):
    messages = [SystemMessage("You look at shapes."), about(picture("rectangle", "blue"), "What is it?")]
    for question in ("What color is it?", "Is it round?"):
        served, ours = (each.invoke(messages, prompt_format=prompt_format) for each in (llm, local))
        assert_equal(served, ours)
        messages += [served, HumanMessage(question)]


def test_what_a_user_types_is_text(llm, local):
    messages = [HumanMessage("<image></s>\nUSER: <pad> What\u2019s this? \u00e9\u4e2d\U0001f600 ASSISTANT:")]
    assert_equal(llm.invoke(messages), local.invoke(messages))


def test_images_that_are_cut_and_several_images(llm, local):
    messages = [
        about(picture(size=(400, 100)), "What is it?"),
        AIMessage("A circle."),
        about(picture("rectangle", "blue"), "And this?"),
    ]
    with pytest.warns(UserWarning, match="2 images"):
        assert_equal(*(each.invoke(messages, image_fit="center_crop") for each in (llm, local)))


def test_streams_are_the_answer_in_pieces(llm, local):
    messages = [about(picture(), "What is it?")]
    pieces = [[chunk.text for chunk in each.stream(messages)] for each in (llm, local)]
    assert pieces[0] == pieces[1]
    assert len(pieces[0]) > 2


async def test_asynchronous_calls_answer_alike(llm, local):
    messages = [about(picture(), "What is it?")]
    assert_equal(await llm.ainvoke(messages), local.invoke(messages))
    assert [chunk.text async for chunk in llm.astream(messages)] == [chunk.text for chunk in local.stream(messages)]


def test_stop_texts_and_limits_end_an_answer(llm, local):
    messages = [about(picture("rectangle"), "What is the object within the red rectangle?")]
    whole = local.invoke(messages).text
    for settings in ({"stop": [whole.split()[-1]]}, {"max_tokens": 2}, {"stop": ["e", "q"], "max_tokens": 3}):
        served, ours = (each.invoke(messages, **settings) for each in (llm, local))
        assert_equal(served, ours)
        assert len(served.text) < len(whole)


def test_log_probabilities_are_those_of_the_model(llm, local):
    messages = [about(picture(), "What is it?")]
    served, ours = (each.invoke(messages, top_logprobs=5) for each in (llm, local))
    assert_equal(served, ours)
    assert len(served.response_metadata["logprobs"]["content"][0]["top_logprobs"]) == 5


def test_log_probabilities_are_streamed(llm, local):
    messages = [about(picture(), "What is it?")]
    streams = [list(each.stream(messages, logprobs=True)) for each in (llm, local)]
    tokens = [[flat(c.response_metadata.get("logprobs")) for c in chunks] for chunks in streams]
    assert [set(places) for places in tokens[0]] == [set(places) for places in tokens[1]]


class Thing(BaseModel):
    color: Literal["red", "blue"]
    is_round: bool


def test_answers_fit_their_schema(llm, local, server):
    messages = [about(picture("rectangle", "blue"), "What is it?")]
    served, ours = (
        each.with_structured_output(Thing, include_raw=True, max_tokens=60).invoke(messages) for each in (llm, local)
    )
    assert served["parsed"] == ours["parsed"]
    assert_equal(served["raw"], ours["raw"])
    assert served["parsed"].color == "blue"
    assert "%json" in server.seen[0].body["sampling_params"]["structured_outputs"]["grammar"]


@pytest.mark.parametrize("top", [0, 4])
def test_structured_answers_have_the_probabilities_of_the_model(llm, local, top):
    messages = [about(picture("rectangle", "blue"), "What is it?")]
    served, ours = (
        each.with_structured_output(Thing, include_raw=True, max_tokens=60, top_logprobs=top).invoke(messages)
        for each in (llm, local)
    )
    assert_equal(served["raw"], ours["raw"])
    assert confidence(served) == pytest.approx(confidence(ours), abs=1e-3)
    assert set(confidence(served)) == {"$", "color", "is_round"}
    streams = [
        each.bind(response_format={"type": "json_schema", "json_schema": {"schema": Thing.model_json_schema()}}).stream(
            messages, top_logprobs=top, max_tokens=60
        )
        for each in (llm, local)
    ]
    sums = [reduce(add, stream) for stream in streams]
    assert flat(sums[0].response_metadata["logprobs"]) == pytest.approx(
        flat(sums[1].response_metadata["logprobs"]), abs=1e-4
    )


def test_answers_in_text_have_a_confidence(llm, local):
    messages = [about(picture(), "What is it?")]
    served, ours = (confidence(each.invoke(messages, logprobs=True)) for each in (llm, local))
    assert served == pytest.approx(ours, abs=0.02)
    assert served.keys() == {"$"}


class Story(BaseModel):
    title: str
    sides: list[int]


@pytest.mark.parametrize("max_tokens", [10, 24, 60])
@pytest.mark.parametrize("settings", [{}, {"top_logprobs": 2}])
def test_json_that_gets_too_long_is_closed_alike(llm, local, max_tokens, settings):
    messages = [about(picture("rectangle", "blue"), "Tell a long story.")]
    served, ours = (
        each.with_structured_output(Story, include_raw=True, max_tokens=max_tokens, **settings).invoke(messages)
        for each in (llm, local)
    )
    assert_equal(served["raw"], ours["raw"])
    assert served["parsed"] == ours["parsed"]


@tool
def paint(color: Literal["red", "blue"], is_round: bool) -> str:
    """Paint a thing."""
    return color


@pytest.mark.parametrize("tool_choice", ["any", "auto"])
def test_tools_are_called_alike(llm, local, tool_choice):
    messages = [about(picture("rectangle", "blue"), "Paint it red.")]
    served, ours = (
        each.bind_tools([paint], tool_choice=tool_choice).invoke(messages, max_tokens=64) for each in (llm, local)
    )
    assert_equal(served, ours)
    assert bool(served.tool_calls) or tool_choice == "auto"


def test_equal_seeds_of_one_server_get_equal_answers(llm, server):
    messages = [about(picture(), "Describe it.")]
    answers = {llm.invoke(messages, temperature=1.5, seed=seed).text for seed in (-1, -1, 7, 7)}
    assert len(answers) <= 2
    assert server.seen[0].body["sampling_params"]["seed"] == 2**63 - 1  # vLLM takes -1 for none


def test_tokens_are_counted_here(llm, local, server):
    messages = [about(picture(), "What is it?"), AIMessage("A circle.")]
    assert llm.get_num_tokens_from_messages(messages) == local.get_num_tokens_from_messages(messages)
    assert llm.get_token_ids("What is it?") == local.get_token_ids("What is it?")
    assert server.asked == []


def test_a_server_with_one_model_needs_no_name(server):
    llm = ChatVipLlava(base_url=server.base_url)
    assert llm.invoke([about(picture(), "What is it?")]).response_metadata["model_name"] == "bundled"
    assert llm.view_size == ChatVipLlava(model="bundled").view_size
    assert llm.backend.context_length == server.max_model_len


def test_the_chat_route_answers_where_the_server_takes_no_ids(llm, local, server):
    server.scale_out = False
    messages = [about(picture(), "What is it?")]
    assert_equal(llm.invoke(messages, top_logprobs=2), local.invoke(messages, top_logprobs=2))
    assert server.seen[-1].path == CHAT
    assert [c.text for c in llm.stream(messages)] == [c.text for c in local.stream(messages)]


def test_a_client_without_the_tokenizer_gets_the_text(server, local):
    server.name = "shapes"
    llm = chat(server, model="shapes")
    messages = [about(picture(), "What is it?")]
    served, ours = llm.invoke(messages), local.invoke(messages)
    assert (served.text, served.usage_metadata["input_tokens"]) == (ours.text, ours.usage_metadata["input_tokens"])
    assert TOKEN_IDS not in served.response_metadata
    assert server.seen[-1].path == CHAT
    assert llm.get_num_tokens_from_messages(messages) == local.get_num_tokens_from_messages(messages)


def test_copies_and_pickles_ask_the_same_server(server, local):
    llm = ChatVipLlava(base_url=[server.base_url], model="bundled", api_key="secret-key", max_tokens=8)
    question = "What is it?"
    expected = local.invoke(question, max_tokens=8).text
    for other in (copy.deepcopy(llm), pickle.loads(pickle.dumps(llm)), llm.model_copy(update={"seed": 1})):
        assert other.invoke(question).text == expected
    assert copy.deepcopy(llm.backend) == pickle.loads(pickle.dumps(llm.backend)) == llm.backend
    assert "secret-key" not in repr(llm) + repr(llm.backend) + repr(llm.backend.options) + str(llm.backend.cache_key)


@needs_lazy_core
def test_a_served_model_needs_no_torch(server):
    script = (
        "import sys\nfrom langchain_vipllava import ChatVipLlava\n"
        f"print(ChatVipLlava(base_url={server.base_url!r}, model='bundled', max_tokens=4).invoke('What is it?').text)\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"
