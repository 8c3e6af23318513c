"""`ChatVipLlava` as a LangChain chat model: metadata, copies, pickles, configurable fields, token counts, caches."""

from __future__ import annotations

import asyncio
import copy
import functools
import operator
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import ConfigurableField, chain
from PIL import Image

from langchain_vipllava import (
    AnswerTimeoutError,
    ChatVipLlava,
    CheckpointError,
    FetchPolicy,
    ImageError,
    PromptTooLongError,
    VipLlavaError,
    load_image,
)
from langchain_vipllava.engine.engine import Engine
from tests.support.checkpoints import make_model, make_processor, save_checkpoint


@pytest.fixture(scope="module")
def other_checkpoint(tmp_path_factory):
    """A model with other random weights, so that its answers differ."""
    folder = save_checkpoint(tmp_path_factory.mktemp("other"))
    make_model(make_processor(), seed=1).save_pretrained(folder)
    return folder


@pytest.fixture
def llm_from_model(llm):
    """A chat model made from a model that is loaded already."""
    return ChatVipLlava.from_model(make_model(make_processor(), seed=2), llm.backend.runner.processor, max_tokens=12)


def entry_count(cache):
    """Return the number of cached answers; `InMemoryCache` has no public attribute for it."""
    return len(cache._cache)


def test_an_answer_has_usage_and_response_metadata(llm, marked):
    message = marked.message("What is {0}?")
    answer = llm.invoke([message])
    assert isinstance(answer, AIMessage)
    usage = answer.usage_metadata
    assert usage["input_tokens"] == llm.get_num_tokens_from_messages([message])
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    timings = answer.response_metadata.pop("timings")
    assert len(answer.response_metadata.pop("token_ids")) == usage["output_tokens"]
    assert answer.response_metadata == {
        "model_name": llm.model,
        "model_provider": "vipllava",
        "finish_reason": "length",
    }
    assert set(timings) == {"queued_us", "prefill_us", "first_token_us", "decode_us", "grammar_us", "reused_tokens"}
    assert all(isinstance(value, int) and value >= 0 for value in timings.values())  # LangChain adds no floats


def test_two_streamed_answers_add_up_to_both_texts(llm, marked):
    question = marked.message("What is {0}?")
    once = llm.invoke([question])

    @chain
    def ask_twice(_):
        yield from llm.stream([question])
        yield from llm.stream([question])

    summed = functools.reduce(operator.add, [*llm.stream([question]), *llm.stream([question])])
    for both in (summed, ask_twice.invoke("")):
        assert both.text == 2 * once.text != ""
        assert both.usage_metadata["output_tokens"] == 2 * once.usage_metadata["output_tokens"]


def test_token_counts_include_image_tokens(llm, marked):
    message = marked.message("What is {0}?")
    without = llm.get_num_tokens_from_messages([HumanMessage(message.text)])
    expected = llm.backend.runner.processor(text=[llm.render_prompt([message])], images=[marked.image])["input_ids"][0]
    assert llm.get_num_tokens_from_messages([message]) == len(expected) >= without + 16
    assert llm.get_num_tokens("What is it?") == len(llm.get_token_ids("What is it?")) < without


def test_token_counts_are_correct_from_several_threads(llm):
    """Counting changes how the tokenizer treats special tokens; those in user text must stay text meanwhile."""
    count_alone = llm.get_num_tokens_from_messages([HumanMessage("a <image> b")])
    image_id = llm.backend.runner.encoder.tokenizer.convert_tokens_to_ids("<image>")
    assert image_id in llm.get_token_ids("<image>")
    start = threading.Barrier(4)

    def count(index):
        start.wait()
        if index % 2:
            return {image_id in llm.get_token_ids("<image>") for _ in range(300)}
        return {llm.get_num_tokens_from_messages([HumanMessage("a <image> b")]) for _ in range(300)}

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(count, range(4))) == [{count_alone}, {True}, {count_alone}, {True}]


def test_repr_shows_settings_but_not_weights(llm, llm_from_model):
    llm.invoke("Hi")
    for chat in (llm, llm_from_model):
        assert "max_tokens=12" in repr(chat)
        assert "Linear" not in repr(chat)
        assert "ModelRunner" not in repr(chat)
        assert "Linear" not in str(chat.model_dump())


def test_pickling_works_before_and_after_the_first_call(tiny_checkpoint):
    chat = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=7)
    fresh = pickle.dumps(chat)
    answer = chat.invoke("Hi").text
    used = pickle.dumps(chat)
    assert len(used) < 10_000
    assert [pickle.loads(data).invoke("Hi").text for data in (fresh, used)] == [answer, answer]


@pytest.mark.parametrize("kind", ["checkpoint", "given"])
def test_copies_share_the_weights_and_return_equal_answers(llm, llm_from_model, kind):
    chat = llm if kind == "checkpoint" else llm_from_model
    answer = chat.invoke("Hi").text
    for other in (copy.copy(chat), copy.deepcopy(chat), chat.model_copy(), chat.model_copy(deep=True)):
        assert other.backend.runner is chat.backend.runner
        assert other.invoke("Hi").text == answer
    sampling = chat.model_copy(update={"temperature": 1.0, "seed": 3})
    assert sampling.invoke("Hi").text == chat.invoke("Hi", temperature=1.0, seed=3).text != answer


def test_a_copy_with_another_model_uses_that_model(llm, other_checkpoint):
    llm.invoke("Hi")
    copied = llm.model_copy(update={"model": str(other_checkpoint)})
    assert copied.invoke("Hi").text == ChatVipLlava(model=str(other_checkpoint), max_tokens=12).invoke("Hi").text
    assert copied.invoke("Hi").text != llm.invoke("Hi").text


@pytest.mark.parametrize("kind", ["checkpoint", "given"])
def test_configurable_fields_override_settings(llm, llm_from_model, kind):
    chat = llm if kind == "checkpoint" else llm_from_model
    answer = chat.invoke("Hi").text
    configurable = chat.configurable_fields(
        temperature=ConfigurableField("temperature"), seed=ConfigurableField("seed"), stop=ConfigurableField("stop")
    )
    assert configurable.invoke("Hi").text == answer
    config = {"configurable": {"temperature": 1.0, "seed": 3}}
    assert configurable.invoke("Hi", config).text == chat.invoke("Hi", temperature=1.0, seed=3).text
    assert configurable.with_config(**config).invoke("Hi").text == chat.invoke("Hi", temperature=1.0, seed=3).text
    with pytest.raises(VipLlavaError, match="temperature"):
        configurable.invoke("Hi", {"configurable": {"temperature": -1.0}})


async def test_a_call_with_model_uses_that_model(llm, other_checkpoint):
    other = ChatVipLlava(model=str(other_checkpoint), max_tokens=12)
    question = "What is it?"
    expected, default = other.invoke(question).text, llm.invoke(question).text
    assert expected != default
    name = str(other_checkpoint)
    answers = [llm.invoke(question, model=name), await llm.ainvoke(question, model=name)]
    streamed = list(llm.stream(question, model=name)), [piece async for piece in llm.astream(question, model=name)]
    answers += [functools.reduce(operator.add, pieces) for pieces in streamed]
    assert {answer.text for answer in answers} == {expected}
    assert {answer.response_metadata["model_name"] for answer in answers} == {name}
    assert llm.bind(model=name).invoke(question).text == expected
    assert llm.invoke(question).text == default
    with pytest.raises(CheckpointError):
        llm.invoke(question, model="/no/such/model")
    # private, but the hook that LangChain defines for integrations; tracers read it
    assert llm._get_ls_params(model=name)["ls_model_name"] == name


def test_configurable_alternatives_and_a_configurable_model(llm, other_checkpoint):
    configurable = llm.configurable_fields(model=ConfigurableField("model"))
    answer = configurable.invoke("Hi", {"configurable": {"model": str(other_checkpoint)}})
    assert answer.response_metadata["model_name"] == str(other_checkpoint)
    assert answer.text != configurable.invoke("Hi").text
    choice = llm.configurable_alternatives(ConfigurableField("llm"), other=ChatVipLlava(model=str(other_checkpoint)))
    assert choice.invoke("Hi", {"configurable": {"llm": "other"}}).text.startswith(answer.text[:3])


def test_with_config_with_retry_and_with_fallbacks(llm):
    answer = llm.invoke("Hi").text
    assert llm.with_config(tags=["t"], run_name="n").invoke("Hi").text == answer
    broken = ChatVipLlava(model="/nowhere", local_files_only=True)
    assert broken.with_fallbacks([llm]).invoke("Hi").text == answer
    with pytest.raises(CheckpointError):
        broken.with_retry(stop_after_attempt=2, wait_exponential_jitter=False).invoke("Hi")


def test_the_cache_key_contains_settings_and_model(tiny_checkpoint, other_checkpoint):
    cache = InMemoryCache()

    def chat(model=tiny_checkpoint, **settings):
        return ChatVipLlava(model=str(model), max_tokens=12, cache=cache, **settings)

    first = chat().invoke("Hi")
    assert chat().invoke("Hi").text == first.text
    assert entry_count(cache) == 1
    answers = [
        chat(temperature=1.0, seed=1).invoke("Hi").text,
        chat(temperature=1.0, seed=2).invoke("Hi").text,
        chat(other_checkpoint).invoke("Hi").text,
        chat(prompt_format="llava_v1").invoke("Hi").text,
        chat().invoke("Hi", max_tokens=2).text,
    ]
    assert len({first.text, *answers}) == 6


def test_the_cache_key_contains_stop_texts_and_the_identity_of_a_loaded_model():
    cache, processor = InMemoryCache(), make_processor()
    one, other = (
        ChatVipLlava.from_model(make_model(processor, seed=seed), processor, cache=cache, max_tokens=12)
        for seed in (0, 1)
    )
    assert one.model == other.model
    for llm in (one, other, one.model_copy(update={"stop": ["e", "a", "i", "o"]})):
        assert llm.invoke("Who?").text == llm.model_copy(update={"cache": False}).invoke("Who?").text
    assert entry_count(cache) == 3


def test_the_cache_key_contains_the_image(tiny_checkpoint):
    cache = InMemoryCache()
    llm = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=12, cache=cache)
    # they differ only in the middle, which the repr of an array leaves out
    arrays = [np.zeros((400, 400, 3), np.uint8) for _ in range(2)]
    arrays[1][100:300, 100:300] = 255
    for make in (lambda array: array, Image.fromarray):
        images = [{"type": "image", "image": make(array)} for array in (*arrays, arrays[0].copy())]
        texts = [llm.invoke([HumanMessage([image, {"type": "text", "text": "What?"}])]).text for image in images]
        assert texts[0] == texts[2] != texts[1]
        assert entry_count(cache) == 2


def test_the_cache_key_contains_an_image_inside_another_block(tiny_checkpoint):
    llm = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=12, cache=InMemoryCache())
    arrays = [np.zeros((400, 400, 3), np.uint8) for _ in range(2)]
    arrays[1][100:300, 100:300] = 255
    texts = []
    for array in (*arrays, arrays[0].copy()):
        result = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image", "image": array}]}
        texts.append(llm.invoke([HumanMessage([result, {"type": "text", "text": "What?"}])]).text)
    assert texts[0] == texts[2] != texts[1]
    assert entry_count(llm.cache) == 2


async def test_generate_uses_the_image_in_the_cache_key_too(tiny_checkpoint):
    cache = InMemoryCache()
    llm = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=12, cache=cache)
    arrays = [np.zeros((400, 400, 3), np.uint8) for _ in range(2)]
    arrays[1][100:300, 100:300] = 255
    questions = [
        [HumanMessage([{"type": "image", "image": array}, {"type": "text", "text": "What?"}])] for array in arrays
    ]
    one, other = (llm.invoke(messages).text for messages in questions)
    assert one != other
    for result in (
        llm.generate(questions),
        await llm.agenerate(questions),
        *[llm.generate([messages]) for messages in questions],
    ):
        texts = [generations[0].text for generations in result.generations]
        assert texts in ([one, other], [one], [other])
    assert entry_count(cache) == 2


def test_a_changed_file_is_not_answered_from_the_cache(tiny_checkpoint, tmp_path):
    llm = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=12, cache=InMemoryCache(), image_root=tmp_path)
    path = tmp_path / "frame.png"
    for key, source in (("path", str(path)), ("url", path.as_uri())):
        block = {"type": "image", key: source}
        texts = []
        for color in ("black", "white", "black"):
            Image.new("RGB", (64, 64), color).save(path)
            texts.append(llm.invoke([HumanMessage([block, {"type": "text", "text": "What?"}])]).text)
        assert texts[0] == texts[2] != texts[1]
    assert entry_count(llm.cache) == 2


def test_the_cache_does_not_bypass_the_image_root(tiny_checkpoint, tmp_path):
    cache = InMemoryCache()
    outside, inside = tmp_path / "outside.png", tmp_path / "inside"
    inside.mkdir()
    Image.new("RGB", (64, 64)).save(outside)
    wide, narrow, none = (
        ChatVipLlava(model=str(tiny_checkpoint), max_tokens=4, cache=cache, image_root=root)
        for root in (tmp_path, inside, None)
    )
    question = [HumanMessage([{"type": "image", "path": str(outside)}, {"type": "text", "text": "What?"}])]
    assert wide.invoke(question)
    for restricted in (narrow, none):
        with pytest.raises(ImageError, match="may be opened here"):
            restricted.invoke(question)
    private_hosts = wide.model_copy(update={"fetch_policy": FetchPolicy(private_hosts=True)})
    for llm, entries in ((wide, 2), (private_hosts, 3)):
        llm.invoke("Hi")
        assert entry_count(cache) == entries, "the cache key contains the fetch policy"


def test_one_image_object_can_be_used_by_concurrent_calls(tiny_checkpoint, tmp_path):
    path = tmp_path / "big.png"
    noise = np.random.default_rng(0).integers(0, 255, (700, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    llm = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=2)
    for _ in range(3):
        with Image.open(path) as image:
            question = [HumanMessage([{"type": "image", "image": image}, {"type": "text", "text": "What?"}])]
            assert len({answer.text for answer in llm.batch([question] * 8)}) == 1
        with path.open("rb") as file, ThreadPoolExecutor(8) as pool:
            assert {image.size for image in pool.map(load_image, [file] * 24)} == {(700, 700)}


def test_text_beside_tool_calls_is_rendered(llm):
    call = {"name": "look", "args": {}, "id": "1"}
    messages = [HumanMessage("Hi"), AIMessage("Let me see.", tool_calls=[call]), ToolMessage("5", tool_call_id="1")]
    assert llm.render_prompt(messages) == (
        'USER: HiASSISTANT: Let me see.\n[{"name":"look","arguments":{}}]USER: 5ASSISTANT:'
    )


def test_callbacks_receive_every_token_and_the_usage(llm):
    class Recorder(BaseCallbackHandler):
        def __init__(self):
            self.tokens, self.ends = [], []

        def on_llm_new_token(self, token, **kwargs):
            self.tokens.append(token)

        def on_llm_end(self, response, **kwargs):
            self.ends.append(response.generations[0][0].message.usage_metadata)

    recorder = Recorder()
    answer = llm.invoke("Hi", {"callbacks": [recorder]})
    assert recorder.ends == [answer.usage_metadata]
    list(llm.stream("Hi", {"callbacks": [recorder]}))
    assert "".join(recorder.tokens) == answer.text
    assert recorder.ends[1] == answer.usage_metadata


def test_every_call_reads_the_whole_conversation(llm, marked):
    first = marked.message("What is {0}?")
    reply = llm.invoke([first])
    second = HumanMessage("Why?")
    messages = [SystemMessage("Be brief."), first, reply, second]
    answer, repeated = llm.invoke(messages), llm.invoke(messages)
    assert answer.text == repeated.text
    assert llm.invoke([HumanMessage("Why?")]).text != answer.text
    assert llm.render_prompt(messages) == (
        f"Be brief. USER: <image>\n{first.text}ASSISTANT: {reply.text}USER: Why?ASSISTANT:"
    )


def test_messages_are_not_changed(llm, marked):
    messages = [marked.message("What is {0}?"), AIMessage("A face."), HumanMessage("Why?")]
    before = copy.deepcopy(messages)
    llm.invoke(messages)
    assert messages == before


def test_several_images_warn_once_for_all_calls(llm, marked):
    messages = [marked.message("What is {0}?"), AIMessage("A face."), marked.message("And {1}?")]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answers = [llm.invoke(messages).text, "".join(chunk.text for chunk in llm.stream(messages))]
        answers += [answer.text for answer in llm.batch([messages] * 2)]
    assert len(set(answers)) == 1
    assert len([warning for warning in caught if "trained on one" in str(warning.message)]) == 1
    assert "test_chat.py" in caught[0].filename or caught[0].filename.endswith("chat_models.py")


def test_an_invalid_image_raises_and_the_next_call_works(llm, tmp_path):
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    for source in (str(empty), str(tmp_path / "missing.png"), "data:image/png;base64,AAAA", b"no image"):
        with pytest.raises(ImageError):
            llm.invoke([HumanMessage([{"type": "image", "image": source}, "What?"])])
    assert llm.invoke("Hi").text


def test_the_model_comes_from_the_argument_or_the_environment(monkeypatch):
    monkeypatch.delenv("VIPLLAVA_MODEL", raising=False)
    with pytest.raises(ValueError, match="no model; expected model='llava-hf/vip-llava-7b-hf'"):
        ChatVipLlava()
    monkeypatch.setenv("VIPLLAVA_MODEL", "bundled")
    assert ChatVipLlava().model == "bundled"
    assert ChatVipLlava(model="other").model == "other"


def test_unknown_arguments_raise():
    with pytest.raises(ValueError, match="modle"):
        ChatVipLlava(modle="x", model="y")
    with pytest.raises(ValueError, match="model"):
        ChatVipLlava()


@pytest.mark.parametrize(
    "setting", [{"quantization": "3bit"}, {"multi_image": "x"}, {"image_fit": "stretch"}, {"dtype": "int3"}]
)
def test_invalid_settings_raise_at_construction(setting):
    with pytest.raises(VipLlavaError, match="expected"):
        ChatVipLlava(model="bundled", **setting)


def test_paths_dtypes_and_devices_are_accepted_as_objects(tiny_checkpoint):
    import torch

    chat = ChatVipLlava(model=tiny_checkpoint, dtype=torch.float32, device=torch.device("cpu"))
    assert (chat.model, chat.dtype, chat.device) == (str(tiny_checkpoint), "float32", "cpu")
    assert chat.backend.runner.model.dtype == torch.float32


def test_a_loaded_model_as_model_raises_and_names_from_model():
    with pytest.raises(CheckpointError, match="from_model"):
        ChatVipLlava(model=object())


def test_an_integer_is_a_cuda_device_and_a_boolean_raises():
    assert ChatVipLlava(model="bundled", device=0).device == "cuda:0"
    with pytest.raises(CheckpointError, match="expected 'auto'"):
        ChatVipLlava(model="bundled", device=True)


def test_a_name_too_long_for_a_path_raises():
    with pytest.raises(CheckpointError):
        _ = ChatVipLlava(model="x" * 5000, local_files_only=True).backend.runner


def test_pickling_a_chat_model_made_from_a_loaded_model_raises():
    processor = make_processor()
    with pytest.raises(CheckpointError, match="cannot be pickled"):
        pickle.dumps(ChatVipLlava.from_model(make_model(processor), processor))


def test_cache_bytes_is_passed_to_the_runner(tiny_checkpoint):
    chat = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=4, cache_bytes=0)
    chat.invoke("Hi")
    assert chat.backend.runner.stats().cache_bytes == 0


def test_a_prompt_that_is_too_long_raises_context_overflow_before_the_engine_runs(llm, monkeypatch):
    exceptions = pytest.importorskip("langchain_core.exceptions")
    if not hasattr(exceptions, "ContextOverflowError"):
        pytest.skip("this langchain-core has no such error")
    monkeypatch.setattr(Engine, "step", lambda self: pytest.fail("the engine ran"))
    with pytest.raises(exceptions.ContextOverflowError, match=r"context only 512: \d+ too many") as caught:
        llm.invoke("word " * 2000)
    assert isinstance(caught.value, PromptTooLongError)


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_an_answer_that_takes_longer_than_the_timeout_is_stopped(llm, way, monkeypatch):
    """An event blocks the engine, so that the test does not depend on the speed of the machine."""
    gate = threading.Event()
    step = Engine.step
    monkeypatch.setattr(Engine, "step", lambda self: gate.wait(30) and step(self))
    impatient = llm.model_copy(update={"timeout": 0.05})

    async def stream():
        return [chunk async for chunk in impatient.astream("Hello.")]

    ways = {
        "invoke": lambda: impatient.invoke("Hello."),
        "stream": lambda: list(impatient.stream("Hello.")),
        "ainvoke": lambda: asyncio.run(impatient.ainvoke("Hello.")),
        "astream": lambda: asyncio.run(stream()),
    }
    with pytest.raises(AnswerTimeoutError, match=r"timeout=0\.05"):
        ways[way]()
    gate.set()
    monkeypatch.undo()
    assert llm.invoke("Hello.").text
    assert llm.backend.runner.stats().running == 0
