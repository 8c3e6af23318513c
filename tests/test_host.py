"""The model host: the same tokens as plain `generate`, alone, in a batch, and under many callers at once."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from langchain_core.messages import AIMessage, HumanMessage
from PIL import Image
from transformers import AutoProcessor, VipLlavaForConditionalGeneration

from langchain_vipllava import (
    ChatVipLlava,
    GenerationError,
    PictureError,
    PromptTooLongError,
    load_image,
    pad_to_square,
)
from langchain_vipllava.chat.messages import read_messages
from langchain_vipllava.host.request import GenerationRequest, Sampling
from langchain_vipllava.prompt.prompt import FORMATS

TOKENS = 12
SHAPES = [(56, 56), (336, 336), (640, 480), (480, 640), (300, 100), (100, 300), (37, 211), (5, 5), (1, 40), (1000, 17)]


def noise(size, mode="RGB"):
    """A picture of smooth noise, another one for every size."""
    rng = np.random.default_rng(size[0] * 10_000 + size[1])
    coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC).convert(mode)


PICTURES = [noise(size) for size in SHAPES] + [noise((90, 60), "L"), noise((60, 90), "RGBA"), noise((64, 48), "CMYK")]


def ask(text, picture=None):
    block = [] if picture is None else [{"type": "image", "image": picture}]
    return HumanMessage([*block, {"type": "text", "text": text}])


def conversation(turns, picture=None):
    messages = [ask("What is within the red rectangle?", picture)]
    for turn in range(1, turns):
        messages += [AIMessage(f"A blue circle number {turn}."), HumanMessage(f"And is it left of star {turn}?")]
    return messages


def every_conversation():
    """Pictures of all shapes, one to three turns, some without a picture: prompts of many lengths."""
    with_pictures = [conversation(1 + index % 3, picture) for index, picture in enumerate(PICTURES)]
    return with_pictures + [conversation(turns) for turns in (1, 2, 3)]


class Plain:
    """transformers alone, on its own copy of the weights."""

    def __init__(self, folder):
        self.model = VipLlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor = AutoProcessor.from_pretrained(folder)

    def ids(self, messages, tokens=TOKENS, name="user_assistant"):
        read = read_messages(messages)
        pictures = [pad_to_square(load_image(picture)) for picture in read.pictures]
        inputs = self.processor(text=[FORMATS[name].render(read).text], images=pictures or None, return_tensors="pt")
        made = self.model.generate(**inputs, do_sample=False, max_new_tokens=tokens)
        ids = made[0, inputs["input_ids"].shape[1] :].tolist()
        return tuple(ids[:-1] if ids[-1] == self.processor.tokenizer.eos_token_id else ids)


@pytest.fixture(scope="module")
def plain(tiny_checkpoint):
    return Plain(tiny_checkpoint)


@pytest.fixture(scope="module")
def expected(plain):
    """What plain `generate` answers to every conversation, each by itself."""
    return [plain.ids(messages) for messages in every_conversation()]


def request_for(messages, name="user_assistant", **settings):
    read = read_messages(messages)
    prompt = FORMATS[name].render(read)
    return GenerationRequest(prompt, read.pictures, **{"max_tokens": TOKENS, **settings})


class Gate:
    """Holds the model's first step until it is opened, so that what is asked meanwhile waits together."""

    def __init__(self, host):
        self.entered, self.opened = threading.Event(), threading.Event()
        self.rows = []
        self._hook = host.model.get_input_embeddings().register_forward_hook(self._step)

    def _step(self, module, inputs, output):
        self.rows.append(inputs[0].shape[0])
        self.entered.set()
        assert self.opened.wait(60)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.opened.set()
        self._hook.remove()


def wait_for_idle():
    """Join the host's threads; gives those that do not end."""
    threads = [thread for thread in threading.enumerate() if thread.name == "vipllava-host"]
    for thread in threads:
        thread.join(60)
    return [thread for thread in threads if thread.is_alive()]


def test_the_answers_differ(expected):
    """Else equality would show nothing."""
    assert len(set(expected)) > len(expected) * 0.7


@pytest.mark.parametrize("index", range(len(every_conversation())))
def test_same_ids_as_plain_generate_alone(llm, expected, index):
    result = llm.host.generate(request_for(every_conversation()[index]))
    assert result.ids == expected[index]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_same_ids_as_plain_generate_in_every_format(llm, plain, name, turns):
    messages = conversation(turns, PICTURES[2])
    assert llm.host.generate(request_for(messages, name)).ids == plain.ids(messages, name=name)


def test_same_ids_as_plain_generate_in_one_batch(llm, expected):
    with Gate(llm.host) as gate:
        first = llm.host.submit(request_for([HumanMessage("Hold the line.")]))
        assert gate.entered.wait(60)
        tickets = [llm.host.submit(request_for(messages)) for messages in every_conversation()]
        gate.opened.set()
        found = [ticket.future.result(60).ids for ticket in tickets]
    assert found == expected
    assert max(gate.rows) > 1, "nothing was answered together"
    assert first.future.result().ids


def test_rows_that_end_early_do_not_end_the_others(llm, expected):
    with Gate(llm.host) as gate:
        llm.host.submit(request_for([HumanMessage("Hold the line.")]))
        assert gate.entered.wait(60)
        tickets = [
            llm.host.submit(request_for(messages, max_tokens=1 + index % TOKENS))
            for index, messages in enumerate(every_conversation())
        ]
        gate.opened.set()
        results = [ticket.future.result(60) for ticket in tickets]
    assert [result.ids for result in results] == [ids[: 1 + index % TOKENS] for index, ids in enumerate(expected)]
    assert results[0].finish_reason == "length"


def test_batch_threads_and_abatch_answer_as_one_by_one(llm):
    alone = [llm.invoke(messages).text for messages in every_conversation()]
    assert [answer.text for answer in llm.batch(every_conversation())] == alone
    with ThreadPoolExecutor(8) as pool:
        assert [answer.text for answer in pool.map(llm.invoke, every_conversation())] == alone
    answers = asyncio.run(llm.abatch(every_conversation()))
    assert [answer.text for answer in answers] == alone


def test_center_crop_is_what_the_checkpoints_processor_does_by_itself(llm, plain):
    picture = noise((300, 100))
    inputs = plain.processor(
        text=["USER: <image>\nWhat is it?ASSISTANT:"], images=[picture.crop((100, 0, 200, 100))], return_tensors="pt"
    )
    made = plain.model.generate(**inputs, do_sample=False, max_new_tokens=TOKENS)
    result = llm.host.generate(request_for([ask("What is it?", picture)], image_fit="center_crop"))
    assert result.ids == tuple(made[0, inputs["input_ids"].shape[1] :].tolist())
    assert result.ids != llm.host.generate(request_for([ask("What is it?", picture)])).ids


def test_both_sides_of_a_wide_picture_are_seen(llm):
    """The checkpoint's own processor would cut them off."""
    wide = noise((600, 100))
    changed = wide.copy()
    changed.paste((255, 0, 0), (0, 0, 60, 100))
    assert llm.invoke([ask("What is it?", wide)]).text != llm.invoke([ask("What is it?", changed)]).text


async def test_threads_and_tasks_each_get_their_own_answer(llm):
    everything = every_conversation()
    alone = [llm.invoke(messages).text for messages in everything]

    async def streamed(messages):
        return "".join([chunk.text async for chunk in llm.astream(messages)])

    with ThreadPoolExecutor(6) as pool:
        loop = asyncio.get_running_loop()
        in_threads = [loop.run_in_executor(pool, llm.invoke, messages) for messages in everything]
        answers = await asyncio.gather(
            asyncio.gather(*in_threads),
            asyncio.gather(*(llm.ainvoke(messages) for messages in everything)),
            asyncio.gather(*map(streamed, everything)),
        )
    assert [answer.text for answer in answers[0]] == alone
    assert [answer.text for answer in answers[1]] == alone
    assert answers[2] == alone
    assert wait_for_idle() == []


def test_no_thread_is_left_behind(llm):
    llm.invoke("Hi")
    next(iter(llm.stream("Hi")))
    assert wait_for_idle() == []
    assert llm.invoke("Hi").text


def test_one_bad_request_does_not_hurt_the_others(llm, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    bad = [[ask("What?", str(broken))], [ask("Where?", str(tmp_path / "no.png"))], [ask("long " * 900)], []]
    mixed = [messages for pair in zip(every_conversation(), bad * 4, strict=True) for messages in pair]
    results = llm.batch(mixed, return_exceptions=True)
    alone = [llm.invoke(messages).text for messages in every_conversation()]
    assert [answer.text for answer in results[::2]] == alone
    kinds = [type(error) for error in results[1::2]]
    assert kinds[:3] == [PictureError, PictureError, PromptTooLongError]
    assert not any(isinstance(answer, AIMessage) for answer in results[1::2])


def test_a_failing_model_fails_only_while_it_fails(llm, expected):
    def fail(module, inputs):
        raise RuntimeError("device lost")

    hook = llm.host.model.get_input_embeddings().register_forward_pre_hook(fail)
    try:
        with pytest.raises(GenerationError, match="the model failed: RuntimeError: device lost") as caught:
            llm.invoke("Hi")
        assert isinstance(caught.value.__cause__, RuntimeError)
        with pytest.raises(GenerationError):
            list(llm.stream("Hi"))
        with pytest.raises(GenerationError):
            asyncio.run(llm.ainvoke("Hi"))
    finally:
        hook.remove()
    assert llm.host.generate(request_for(every_conversation()[0])).ids == expected[0]


def test_a_row_that_fails_in_company_fails_alone(llm, expected):
    """What breaks a batch is found out by asking each by itself."""
    poison = llm.host.encoder.token_ids("\N{SNOWMAN}")[-1]

    def fail(module, inputs):
        if bool((inputs[0] == poison).any()):
            raise RuntimeError("poison")

    with Gate(llm.host) as gate:
        llm.host.submit(request_for([HumanMessage("Hold the line.")]))
        assert gate.entered.wait(60)
        hook = llm.host.model.get_input_embeddings().register_forward_pre_hook(fail)
        good = llm.host.submit(request_for(every_conversation()[0]))
        bad = llm.host.submit(request_for([HumanMessage("a \N{SNOWMAN}")]))
        gate.opened.set()
        try:
            assert isinstance(bad.future.exception(60), GenerationError)
            assert good.future.result(60).ids == expected[0]
        finally:
            hook.remove()


def test_a_listener_that_fails_loses_only_its_own_answer(llm, expected):
    def refuse(piece):
        raise ValueError("I do not listen")

    with Gate(llm.host) as gate:
        llm.host.submit(request_for([HumanMessage("Hold the line.")]))
        assert gate.entered.wait(60)
        deaf = llm.host.submit(request_for(every_conversation()[1], max_tokens=200), refuse)
        other = llm.host.submit(request_for(every_conversation()[0]))
        gate.opened.set()
        assert deaf.future.result(60).finish_reason == "cancelled"
        assert other.future.result(60).ids == expected[0]


def test_number_of_pictures_must_fit_the_prompt(llm):
    request = GenerationRequest(FORMATS["user_assistant"].render(read_messages([ask("What?", PICTURES[0])])), ())
    with pytest.raises(GenerationError, match="1 <image> but 0 pictures"):
        llm.host.generate(request)


def test_values_print_without_pictures_or_weights(llm):
    request = request_for([ask("What?", PICTURES[0])], sampling=Sampling(temperature=0.5))
    assert "Image" not in repr(request)
    assert len(repr(llm.host)) < 200
    assert len(repr(llm.host.submit(request))) < 1000
    assert len(repr(llm)) < 300
    assert len(repr(ChatVipLlava.from_model(llm.host.model, llm.host.processor))) < 300


def test_a_conversation_goes_on_with_the_ids_of_its_answers(tiny_checkpoint, marked):
    """In messages too, and after they were written down and read again; an answer that was edited is text."""
    from langchain_core.messages import messages_from_dict, messages_to_dict

    chat = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=12, seed=3)
    asked = [marked.message("What is {0}?")]
    reply = chat.invoke(asked)
    messages = messages_from_dict(messages_to_dict([*asked, reply, HumanMessage("Why?")]))
    again = chat.invoke(messages)
    known = reply.usage_metadata["total_tokens"]
    assert again.response_metadata["timings"]["reused_tokens"] >= known - 1
    edited = [*asked, reply.model_copy(update={"content": "A dog."}), HumanMessage("Why?")]
    as_text = [*asked, AIMessage("A dog."), HumanMessage("Why?")]
    assert chat.invoke(edited).content == chat.invoke(as_text).content
    assert chat.get_num_tokens_from_messages(edited) == chat.get_num_tokens_from_messages(as_text)
