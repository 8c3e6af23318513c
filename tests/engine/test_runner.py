"""`ModelRunner` returns the tokens of plain `generate`: alone, batched, and with many callers at once."""

from __future__ import annotations

import asyncio
import copy
import os
import subprocess
import sys
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
    CheckpointError,
    GenerationError,
    ImageError,
    PromptError,
    PromptTooLongError,
    load_image,
    pad_to_square,
)
from langchain_vipllava.chat.messages import read_messages
from langchain_vipllava.engine.generation_config import ignored_settings
from langchain_vipllava.engine.prefix_cache import PrefixCache
from langchain_vipllava.engine.request import GenerationRequest, Sampling
from langchain_vipllava.prompt.formats import FORMATS
from tests.support.engine import generate, open_image
from tests.support.training_ids import training_ids
from tests.support.versions import needs_new_tokenizers

TOKENS = 12
SHAPES = [(56, 56), (336, 336), (640, 480), (480, 640), (300, 100), (100, 300), (37, 211), (5, 5), (1, 40), (1000, 17)]


def noise(size, mode="RGB"):
    """An image of smooth noise, different for every size."""
    rng = np.random.default_rng(size[0] * 10_000 + size[1])
    coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC).convert(mode)


IMAGES = [noise(size) for size in SHAPES] + [noise((90, 60), "L"), noise((60, 90), "RGBA"), noise((64, 48), "CMYK")]


def ask(text, image=None):
    block = [] if image is None else [{"type": "image", "image": image}]
    return HumanMessage([*block, {"type": "text", "text": text}])


def conversation(turns, image=None):
    messages = [ask("What is within the red rectangle?", image)]
    for turn in range(1, turns):
        messages += [AIMessage(f"A blue circle number {turn}."), HumanMessage(f"And is it left of star {turn}?")]
    return messages


def every_conversation():
    """Images of all shapes, one to three turns, some without an image: prompts of many lengths."""
    with_images = [conversation(1 + index % 3, image) for index, image in enumerate(IMAGES)]
    return with_images + [conversation(turns) for turns in (1, 2, 3)]


class Plain:
    """transformers alone, on its own copy of the weights."""

    def __init__(self, folder):
        self.model = VipLlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor = AutoProcessor.from_pretrained(folder)

    def ids(self, messages, tokens=TOKENS, name="user_assistant"):
        read = read_messages(messages, open_image)
        images = [pad_to_square(load_image(image)) for image in read.images]
        text = FORMATS[name].render(read).text
        inputs = self.processor(text=[text], images=images or None, return_tensors="pt")
        inputs["input_ids"] = torch.tensor([training_ids(self.processor, text, images)])
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        made = self.model.generate(**inputs, do_sample=False, max_new_tokens=tokens)
        ids = made[0, inputs["input_ids"].shape[1] :].tolist()
        return tuple(ids[:-1] if ids[-1] == self.processor.tokenizer.eos_token_id else ids)


@pytest.fixture(scope="module")
def plain(tiny_checkpoint):
    return Plain(tiny_checkpoint)


@pytest.fixture(scope="module")
def expected(plain):
    """The answers of plain `generate` to every conversation, one at a time."""
    return [plain.ids(messages) for messages in every_conversation()]


def request_for(messages, name="user_assistant", **settings):
    read = read_messages(messages, open_image)
    prompt = FORMATS[name].render(read)
    return GenerationRequest(prompt, read.images, **{"max_tokens": TOKENS, **settings})


class Gate:
    """Blocks the first forward pass until it is opened, so that requests queue up meanwhile."""

    def __init__(self, runner):
        self.entered, self.opened = threading.Event(), threading.Event()
        self.rows = []
        self._hook = runner.model.get_input_embeddings().register_forward_hook(self._step)

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
    """Join the engine's threads; return those that do not end."""
    threads = [thread for thread in threading.enumerate() if thread.name == "vipllava-engine"]
    for thread in threads:
        while thread.ident is None:  # listed before it has started
            os.sched_yield()
        thread.join(60)
    return [thread for thread in threads if thread.is_alive()]


def test_the_answers_differ(expected):
    """Otherwise equality would prove nothing."""
    assert len(set(expected)) > len(expected) * 0.7


@pytest.mark.parametrize("index", range(len(every_conversation())))
def test_same_ids_as_plain_generate_alone(llm, expected, index):
    result = generate(llm.backend.runner, request_for(every_conversation()[index]))
    assert result.token_ids == expected[index]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_same_ids_as_plain_generate_in_every_format(llm, plain, name, turns):
    messages = conversation(turns, IMAGES[2])
    assert generate(llm.backend.runner, request_for(messages, name)).token_ids == plain.ids(messages, name=name)


def test_same_ids_as_plain_generate_in_one_batch(llm, expected):
    with Gate(llm.backend.runner) as gate:
        first = llm.backend.runner.submit(request_for([HumanMessage("Hold the line.")]))
        assert gate.entered.wait(60)
        handles = [llm.backend.runner.submit(request_for(messages)) for messages in every_conversation()]
        gate.opened.set()
        ids = [handle.future.result(60).token_ids for handle in handles]
    assert ids == expected
    assert max(gate.rows) > 1, "no requests were batched"
    assert first.future.result().token_ids


def test_rows_that_end_early_do_not_end_the_others(llm, expected):
    with Gate(llm.backend.runner) as gate:
        llm.backend.runner.submit(request_for([HumanMessage("Hold the line.")]))
        assert gate.entered.wait(60)
        handles = [
            llm.backend.runner.submit(request_for(messages, max_tokens=1 + index % TOKENS))
            for index, messages in enumerate(every_conversation())
        ]
        gate.opened.set()
        results = [handle.future.result(60) for handle in handles]
    assert [result.token_ids for result in results] == [ids[: 1 + index % TOKENS] for index, ids in enumerate(expected)]
    assert results[0].finish_reason == "length"


def test_batch_threads_and_abatch_answer_as_one_by_one(llm):
    alone = [llm.invoke(messages).text for messages in every_conversation()]
    assert [answer.text for answer in llm.batch(every_conversation())] == alone
    with ThreadPoolExecutor(8) as pool:
        assert [answer.text for answer in pool.map(llm.invoke, every_conversation())] == alone
    answers = asyncio.run(llm.abatch(every_conversation()))
    assert [answer.text for answer in answers] == alone


def test_center_crop_is_what_the_processor_of_the_checkpoint_does(llm, plain):
    image = noise((300, 100))
    inputs = plain.processor(text=["USER: <image>\nWhat is it?ASSISTANT:"], images=[image], return_tensors="pt")
    made = plain.model.generate(**inputs, do_sample=False, max_new_tokens=TOKENS)
    result = generate(llm.backend.runner, request_for([ask("What is it?", image)], image_fit="center_crop"))
    assert result.token_ids == tuple(made[0, inputs["input_ids"].shape[1] :].tolist())
    assert result.token_ids != generate(llm.backend.runner, request_for([ask("What is it?", image)])).token_ids


def test_both_sides_of_a_wide_image_are_seen(llm):
    """The checkpoint's processor alone would crop them."""
    wide = noise((600, 100))
    changed = wide.copy()
    changed.paste((255, 0, 0), (0, 0, 60, 100))
    assert llm.invoke([ask("What is it?", wide)]).text != llm.invoke([ask("What is it?", changed)]).text


async def test_threads_and_tasks_get_their_own_answers(llm):
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


def test_no_thread_is_left_running(llm):
    llm.invoke("Hi")
    next(iter(llm.stream("Hi")))
    assert wait_for_idle() == []
    assert llm.invoke("Hi").text


def test_a_bad_request_does_not_affect_the_others(llm, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    bad = [[ask("What?", str(broken))], [ask("Where?", str(tmp_path / "no.png"))], [ask("long " * 900)], []]
    mixed = [messages for pair in zip(every_conversation(), bad * 4, strict=True) for messages in pair]
    results = llm.batch(mixed, return_exceptions=True)
    alone = [llm.invoke(messages).text for messages in every_conversation()]
    assert [answer.text for answer in results[::2]] == alone
    kinds = [type(error) for error in results[1::2]]
    assert kinds[:3] == [ImageError, ImageError, PromptTooLongError]
    assert not any(isinstance(answer, AIMessage) for answer in results[1::2])


def test_a_failing_model_fails_only_while_it_fails(llm, expected):
    def fail(module, inputs):
        raise RuntimeError("device lost")

    hook = llm.backend.runner.model.get_input_embeddings().register_forward_pre_hook(fail)
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
    assert generate(llm.backend.runner, request_for(every_conversation()[0])).token_ids == expected[0]


def test_a_failing_row_does_not_fail_the_batch(llm, expected):
    """After a failed batch, its requests run one by one."""
    poison = llm.backend.runner.encoder.token_ids("\N{SNOWMAN}")[-1]

    def fail(module, inputs):
        if bool((inputs[0] == poison).any()):
            raise RuntimeError("poison")

    with Gate(llm.backend.runner) as gate:
        llm.backend.runner.submit(request_for([HumanMessage("Hold the line.")]))
        assert gate.entered.wait(60)
        hook = llm.backend.runner.model.get_input_embeddings().register_forward_pre_hook(fail)
        good = llm.backend.runner.submit(request_for(every_conversation()[0]))
        bad = llm.backend.runner.submit(request_for([HumanMessage("a \N{SNOWMAN}")]))
        gate.opened.set()
        try:
            assert isinstance(bad.future.exception(60), GenerationError)
            assert good.future.result(60).token_ids == expected[0]
        finally:
            hook.remove()


def test_a_failing_listener_cancels_only_its_answer(llm, expected):
    def refuse(piece):
        raise ValueError("listener failed")

    with Gate(llm.backend.runner) as gate:
        llm.backend.runner.submit(request_for([HumanMessage("Hold the line.")]))
        assert gate.entered.wait(60)
        deaf = llm.backend.runner.submit(request_for(every_conversation()[1], max_tokens=200), refuse)
        other = llm.backend.runner.submit(request_for(every_conversation()[0]))
        gate.opened.set()
        assert deaf.future.result(60).finish_reason == "cancelled"
        assert other.future.result(60).token_ids == expected[0]


def test_number_of_images_must_fit_the_prompt(llm):
    request = GenerationRequest(
        FORMATS["user_assistant"].render(read_messages([ask("What?", IMAGES[0])], open_image)), ()
    )
    with pytest.raises(GenerationError, match="1 <image> but 0 images"):
        generate(llm.backend.runner, request)


def test_values_print_without_images_or_weights(llm):
    request = request_for([ask("What?", IMAGES[0])], sampling=Sampling(temperature=0.5))
    assert "Image" not in repr(request)
    assert len(repr(llm.backend.runner)) < 200
    assert len(repr(llm.backend.runner.submit(request))) < 1000
    assert len(repr(llm)) < 300
    assert len(repr(ChatVipLlava.from_model(llm.backend.runner.model, llm.backend.runner.processor))) < 300


def test_a_conversation_continues_with_the_token_ids_of_its_answers(tiny_checkpoint, marked):
    """In messages too, and after serializing them. An edited answer is tokenized as text."""
    from langchain_core.messages import messages_from_dict, messages_to_dict

    chat = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=12, seed=3)
    asked = [marked.message("What is {0}?")]
    reply = chat.invoke(asked)
    messages = messages_from_dict(messages_to_dict([*asked, reply, HumanMessage("Why?")]))
    again = chat.invoke(messages)
    earlier = reply.usage_metadata["total_tokens"]
    assert again.response_metadata["timings"]["reused_tokens"] >= earlier - 1
    edited = [*asked, reply.model_copy(update={"content": "A dog."}), HumanMessage("Why?")]
    as_text = [*asked, AIMessage("A dog."), HumanMessage("Why?")]
    assert chat.invoke(edited).content == chat.invoke(as_text).content
    assert chat.get_num_tokens_from_messages(edited) == chat.get_num_tokens_from_messages(as_text)


PRIVATE = "".join(map(chr, range(0xE000, 0xF900)))


async def test_text_of_every_private_use_character_is_read(llm):
    assert llm.invoke(PRIVATE[:40] + "</s>", max_tokens=1)
    for character in (PRIVATE, "half \ud83d"):  # too long for the context; not valid text
        with pytest.raises((PromptTooLongError, PromptError)):
            llm.invoke(character)
        with pytest.raises((PromptTooLongError, PromptError)):
            await asyncio.wait_for(llm.ainvoke(character), 60)
    with pytest.raises(PromptError, match="half a character"):
        llm.get_num_tokens("\ud83d")


@pytest.mark.parametrize("timeout", [float("inf"), 1e10])
async def test_a_timeout_may_exceed_what_a_lock_can_wait(llm, timeout):
    patient = llm.model_copy(update={"timeout": timeout, "max_tokens": 2})
    whole = patient.invoke("Hello.").text
    assert "".join(chunk.text for chunk in patient.stream("Hello.")) == whole == (await patient.ainvoke("Hello.")).text
    assert "".join([chunk.text async for chunk in patient.astream("Hello.")]) == whole


ENDS = """
import threading
from langchain_vipllava import ChatVipLlava
llm = ChatVipLlava(model="bundled", max_tokens=200)
begun = threading.Barrier(4)
def ask():
    llm.invoke("Hello.", max_tokens=1)
    begun.wait()
    while True:
        try:
            llm.invoke("Describe the image at length.", temperature=2.0)
        except Exception as error:
            print(error)
            if "ending" in str(error):
                return
for _ in range(3):
    threading.Thread(target=ask, daemon=True).start()
begun.wait()
"""


@needs_new_tokenizers
def test_a_process_exits_cleanly_while_threads_ask(tmp_path):
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr


FORKS = """
import multiprocessing, threading
from langchain_vipllava import ChatVipLlava
llm = ChatVipLlava(model="bundled", max_tokens=600)
running = threading.Event()
def ask(question):
    return llm.invoke(question, max_tokens=3).text
if __name__ == "__main__":
    expected = ask("Who are you?")
    def hear():
        for chunk in llm.stream("Describe the image at length.", temperature=3.0, seed=1):
            running.set()
    threading.Thread(target=hear, daemon=True).start()
    running.wait()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(ask, ("Who are you?",)).get(60) == expected
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork does not exist")
def test_a_forked_process_answers_while_its_parent_runs(tmp_path):
    (tmp_path / "forks.py").write_text(FORKS)
    command = [sys.executable, "-W", "ignore", str(tmp_path / "forks.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_a_cancelled_request_leaves_the_queue_at_once(llm):
    runner = llm.backend.runner
    prompt = FORMATS["user_assistant"].render(read_messages([ask("Describe it at length.")], open_image))
    request = GenerationRequest(prompt, (), max_tokens=200, sampling=Sampling(temperature=3.0, seed=1))
    begun, cancelled, checked = threading.Event(), threading.Event(), threading.Event()

    pieces = []

    def hear(piece):
        begun.set()
        cancelled.wait(60)
        pieces.append(piece)
        if len(pieces) > 4:  # steps in which the other could leave the queue
            checked.wait(60)

    engine = runner._engine
    first = runner.submit(request, hear)
    begun.wait(60)
    before, engine.scheduler.max_rows = engine.scheduler.max_rows, 1
    try:
        late = runner.submit(request)
        late.cancel()
        cancelled.set()
        assert late.future.result(30).finish_reason == "cancelled"
        assert not first.future.done()
    finally:
        checked.set()
        engine.scheduler.max_rows = before
        first.cancel()
        first.future.result(60)


def test_an_answer_cut_by_stop_is_an_error(llm):
    begun = threading.Event()

    def stop():
        begun.wait()
        llm.backend.runner.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    pieces = llm.stream("Describe it at length.", max_tokens=400, temperature=3.0, seed=1)
    next(pieces)
    begun.set()
    with pytest.raises(GenerationError, match="engine was stopped"):
        list(pieces)
    stopper.join()
    assert llm.invoke("Hello.", max_tokens=2)


def test_a_loaded_model_rejects_loading_arguments(llm):
    model, processor = llm.backend.runner.model, llm.backend.runner.processor
    kept = ChatVipLlava.from_model(model, processor, cache_bytes=0)
    kept.invoke("Hello.", max_tokens=1)
    assert kept.backend.runner.stats().cache_bytes == 0
    with pytest.raises(CheckpointError, match="dtype"):
        ChatVipLlava.from_model(model, processor, dtype="float16")
    with pytest.raises(CheckpointError, match="device_map"):
        ChatVipLlava(model="bundled", device_map={"": ["cpu"]})


def test_ignored_generation_settings_are_named(llm):
    model = copy.copy(llm.backend.runner.model)
    model.generation_config = copy.deepcopy(model.generation_config)
    model.generation_config.update(num_beams=4, min_new_tokens=1, repetition_penalty=1.0, no_repeat_ngram_size=0)
    assert ignored_settings(model) == ["min_new_tokens=1", "num_beams=4"]


def test_a_checkpoint_that_samples_by_itself_is_named(llm):
    """Here, a temperature is asked for; what plain `generate` would draw at random is not taken unsaid."""
    model = copy.copy(llm.backend.runner.model)
    model.generation_config = copy.deepcopy(model.generation_config)
    model.generation_config.update(temperature=0.2, top_p=0.9, top_k=50)
    assert ignored_settings(model) == []
    model.generation_config.do_sample = True
    assert ignored_settings(model)[:3] == ["do_sample=True", "temperature=0.2", "top_p=0.9"]


def test_a_deep_prefix_tree_is_evicted_without_recursion():
    cache = PrefixCache(3000 * 8)
    for length in range(1, 2200):
        cache.add(tuple(range(length)), lambda start, length=length: torch.zeros(1, 2, 1, length - start, 1))
    cache.max_bytes = 8
    cache.add((9999,), lambda start: torch.zeros(1, 2, 1, 1, 1))
    assert cache.bytes == 8
