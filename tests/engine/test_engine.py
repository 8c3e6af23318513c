"""The engine returns the tokens of plain `generate`, whatever else it is doing."""

from __future__ import annotations

import inspect
import io
import threading
import warnings

import numpy as np
import pytest
import torch
import transformers

from langchain_vipllava import GenerationError, pad_to_square
from langchain_vipllava.engine import compiled_decode as decode
from langchain_vipllava.engine import image_features as features_module
from langchain_vipllava.engine import kv_cache, scheduler
from langchain_vipllava.engine.cuda_graph import CudaGraph
from langchain_vipllava.engine.request import Sampling
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.images import image as image_module
from langchain_vipllava.images.decode import decode_image
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.prompt.conversation import Conversation, Turn
from tests.support.engine import generate
from tests.support.plain_generate import WORDS, PlainGenerate, random_question, request
from tests.support.versions import needs_new_transformers


def random_conversation(rng: np.random.Generator, images, plain: PlainGenerate) -> Conversation:
    """One to three turns, most with an image. Earlier answers are the model's, or made up."""
    image = (images[rng.integers(len(images))],) if rng.random() < 0.8 else ()
    turns = (Turn(random_question(rng), image),)
    for _ in range(rng.integers(0, 3)):
        decoded = plain.processor.tokenizer.decode(plain.ids(Conversation(turns), 6), skip_special_tokens=True)
        answer = decoded if rng.random() < 0.7 else "A red star."
        turns = (*turns[:-1], Turn(turns[-1].question, turns[-1].images, answer), Turn(random_question(rng)))
    return Conversation(turns)


def follow_random_schedules(runner: ModelRunner, plain: PlainGenerate, images, seed: int, schedules: int) -> int:
    """Submit and cancel requests at random; return the number of complete answers that were compared."""
    rng = np.random.default_rng(seed)
    talks = [random_conversation(rng, images, plain) for _ in range(25)]
    checked = 0
    for _ in range(schedules):
        waiting = []
        for _ in range(rng.integers(1, 9)):
            conversation = talks[rng.integers(len(talks))]
            max_tokens = int(rng.choice([1, 3, 8, 13]))
            fate = rng.choice(["complete", "cancelled", "stopped"], p=[0.7, 0.15, 0.15])
            stop = ("e",) if fate == "stopped" else ()
            handle = runner.submit(request(conversation, max_tokens=max_tokens, stop=stop))
            if fate == "cancelled":
                handle.cancel()
            waiting.append((handle, conversation, max_tokens, fate))
        for handle, conversation, max_tokens, fate in waiting:
            result = handle.future.result(timeout=60)
            expected = plain.ids(conversation, max_tokens)
            assert list(result.token_ids) == expected[: len(result.token_ids)]
            if fate == "complete":
                assert list(result.token_ids) == expected
                checked += 1
            elif fate == "stopped":
                assert "e" not in result.text
    return checked


@pytest.mark.parametrize("cache_bytes", [0, 40_000, 400_000, 2**30], ids=["none", "tiny", "small", "ample"])
def test_random_schedules_return_the_tokens_of_plain_generate(parts, plain, images, cache_bytes, monkeypatch):
    monkeypatch.setattr(scheduler, "MAX_ROWS", 5)
    monkeypatch.setattr(scheduler, "PREEMPT_AFTER_TOKENS", 4)
    runner = ModelRunner(*parts, cache_bytes=cache_bytes)
    assert follow_random_schedules(runner, plain, images, seed=cache_bytes % 1000, schedules=50) > 100
    assert runner.stats().cache_bytes <= cache_bytes
    assert runner.stats().running == runner.stats().waiting == 0


@pytest.mark.parametrize(
    "backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)], ids=["traced", "compiled"]
)
def test_a_compiled_decoding_step_returns_the_same_tokens(parts, plain, images, backend, monkeypatch):
    """Traced, the graph runs as Python code. Compiling the same graph to machine code takes minutes."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    monkeypatch.setattr(scheduler, "MAX_ROWS", 3)
    monkeypatch.setattr(scheduler, "PREEMPT_AFTER_TOKENS", 4)
    monkeypatch.setattr(decode, "_BACKEND", backend)
    runner = ModelRunner(*parts, compile_decode=True)
    assert runner.decode_path == "compiled: compile_decode=True"
    assert follow_random_schedules(runner, plain, images, seed=5, schedules=20) > 40
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert 5 <= graphs <= 30  # a few of each function, for 1, 2 and 4 rows: not one for every layer or length


def test_a_failing_compiler_falls_back_to_eager_decoding(parts, plain, images, monkeypatch):

    def broken(self, *args):
        raise RuntimeError("no compiler here\nand many more lines")

    monkeypatch.setattr(decode.CompiledDecode, "_step", broken)
    monkeypatch.setattr(decode, "_BACKEND", "eager")
    runner = ModelRunner(*parts, compile_decode=True)
    talk = Conversation((Turn("why", (images[0],)),))
    assert list(generate(runner, request(talk, max_tokens=9)).token_ids) == plain.ids(talk, 9)
    assert runner.decode_path == "eager: it could not be compiled (RuntimeError: no compiler here)"


def test_a_failure_after_compiling_fails_the_answer_but_not_the_compilation(parts, plain, images, monkeypatch):
    """A failing device is simulated: the compiled step raises at its third call."""
    monkeypatch.setattr(decode, "_BACKEND", "eager")
    runner = ModelRunner(*parts, compile_decode=True)
    compiled = runner._engine._passes._compiled
    run, calls = compiled._run, []

    def failing_once(*args):
        calls.append(len(calls) + 1)
        if calls[-1] == 3:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return run(*args)

    monkeypatch.setattr(compiled, "_run", failing_once)
    talk = Conversation((Turn("why", (images[0],)),))
    with pytest.raises(GenerationError, match="RuntimeError: CUDA error: device-side assert triggered"):
        generate(runner, request(talk, max_tokens=9))
    assert runner.decode_path == "compiled: compile_decode=True"
    assert list(generate(runner, request(talk, max_tokens=9)).token_ids) == plain.ids(talk, 9)
    assert len(calls) == 3 + 8  # the first of the 9 tokens comes from the prefill


def test_no_memory_at_the_first_compiled_step_is_no_failure_of_the_compiler(parts, plain, images, monkeypatch):
    """Torch says so on a CPU in a plain RuntimeError. It is simulated."""
    monkeypatch.setattr(decode, "_BACKEND", "eager")
    step, calls = decode.CompiledDecode._step, []

    def full_once(self, *args):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return step(self, *args)

    monkeypatch.setattr(decode.CompiledDecode, "_step", full_once)
    runner = ModelRunner(*parts, compile_decode=True)
    talk = Conversation((Turn("why", (images[0],)),))
    assert list(generate(runner, request(talk, max_tokens=9)).token_ids) == plain.ids(talk, 9)
    assert runner.decode_path == "compiled: compile_decode=True"


def _add_hook(model):
    model.model.language_model.layers[0].mlp.register_forward_hook(lambda module, args, output: -3 * output)


def _add_bias(model):
    model.lm_head.bias = torch.nn.Parameter(torch.arange(model.lm_head.out_features) / 9.0)


def _wrap_head(model):
    class Adapter(torch.nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base, self.weight = base, base.weight

        def forward(self, hidden):
            return self.base(hidden).flip(-1)

    model.lm_head = Adapter(model.lm_head)


def _replace_forward(model):
    mlp = model.model.language_model.layers[0].mlp
    forward = mlp.forward
    mlp.forward = lambda hidden: -3 * forward(hidden)


@pytest.mark.parametrize("change", [_add_hook, _add_bias, _wrap_head, _replace_forward])
def test_a_model_that_computes_more_than_its_weights_runs_its_modules(tiny_checkpoint, images, change, monkeypatch):
    monkeypatch.setattr(decode, "_BACKEND", "eager")
    model, processor = load(tiny_checkpoint)
    change(model)
    runner = ModelRunner(model, processor, compile_decode=True)
    talk = Conversation((Turn("why", (images[0],)),))
    assert list(generate(runner, request(talk, max_tokens=9)).token_ids) == PlainGenerate(model, processor).ids(talk, 9)
    assert runner.decode_path.startswith("eager: ")


@needs_new_transformers
def test_a_model_is_fused_after_it_returned_hidden_states(tiny_checkpoint):
    """For which transformers leaves hooks on its layers."""
    model, processor = load(tiny_checkpoint)
    with torch.inference_mode():
        model(**processor(text="USER: why", return_tensors="pt"), output_hidden_states=True)
    assert ModelRunner(model, processor, compile_decode=True).decode_path == "compiled: compile_decode=True"


def test_a_fused_model_has_the_parameters_that_an_optimizer_holds(tiny_checkpoint, images, monkeypatch):
    monkeypatch.setattr(decode, "_BACKEND", "eager")
    model, processor = load(tiny_checkpoint)
    parameters = list(model.parameters())
    runner = ModelRunner(model, processor, compile_decode=True)
    assert all(one is other for one, other in zip(parameters, model.parameters(), strict=True))
    with torch.no_grad():
        for parameter in parameters:
            parameter.mul_(1.1)
    talk = Conversation((Turn("why", (images[0],)),))
    assert list(generate(runner, request(talk, max_tokens=9)).token_ids) == PlainGenerate(model, processor).ids(talk, 9)


def load(folder):
    model = transformers.VipLlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    return model, transformers.AutoProcessor.from_pretrained(folder)


@pytest.mark.parametrize("recordings", [0, 1, 2])
def test_what_cannot_be_recorded_any_more_is_decoded_eager(parts, plain, images, recordings, monkeypatch):
    """A failing device is simulated: it records some graphs, and then none. Answers grow into larger buffers."""
    monkeypatch.setattr(decode, "_BACKEND", "eager")
    monkeypatch.setattr(kv_cache, "COMPILED_COLUMN_MULTIPLE", 8)
    made = []

    def record(work, device, *, warm_ups):
        made.append(warm_ups)
        if len(made) > recordings:
            raise RuntimeError("operation failed due to a previous error during capture")
        return CudaGraph(work, device, warm_ups=warm_ups)

    monkeypatch.setattr(decode, "CudaGraph", record)
    runner = ModelRunner(*parts, compile_decode=True)
    talk = Conversation((Turn("why", (images[0],)),))
    assert list(generate(runner, request(talk, max_tokens=40)).token_ids) == plain.ids(talk, 40)
    assert runner.decode_path.startswith("eager: it could not be compiled (RuntimeError: operation failed")
    assert made == [2, 1, 1][: recordings + 1]  # a shape that has run is warm


def test_decoding_is_compiled_where_it_pays(parts):
    assert ModelRunner(*parts).decode_path == "eager: on cpu it does not pay"
    assert ModelRunner(*parts, compile_decode=False).decode_path == "eager: compile_decode=False"


def test_a_follow_up_computes_only_its_own_tokens(parts, images):
    runner = ModelRunner(*parts)
    first = Conversation((Turn("what is the object", (images[0],)),))
    answer = generate(runner, request(first, max_tokens=6))
    assert answer.timings.reused_tokens == 0
    follow_up = Conversation((Turn("what is the object", (images[0],), answer.text), Turn("why")))
    again = generate(runner, request(follow_up, max_tokens=6))
    assert again.timings.reused_tokens >= answer.input_tokens - 1  # all of the first prompt but what the answer joins
    other = generate(runner, request(Conversation((Turn("what is the object", (images[1],)),)), max_tokens=6))
    assert other.timings.reused_tokens < 16  # another image: nothing behind "USER: " is the same
    assert runner.stats().reused_tokens == again.timings.reused_tokens + other.timings.reused_tokens


def test_questions_about_one_image_share_its_tokens_and_its_features(parts, images, monkeypatch):
    model, processor = parts
    runner = ModelRunner(model, processor)
    seen = []
    compute = type(model).get_image_features

    def watch(self, pixel_values, **kwargs):
        seen.append(len(pixel_values))
        return compute(self, pixel_values=pixel_values, **kwargs)

    monkeypatch.setattr(type(model), "get_image_features", watch)
    handles = [
        runner.submit(request(Conversation((Turn(f"what is the object {word}", (images[0],)),)), max_tokens=4))
        for word in WORDS
    ]
    results = [handle.future.result(timeout=60) for handle in handles]
    assert seen == [1]
    assert sum(result.timings.reused_tokens >= runner.encoder.image_tokens for result in results) == len(WORDS) - 1


@pytest.mark.parametrize("together", [{"cpu": 1}, {}], ids=["one by one", "batched"])
def test_every_image_is_encoded_once_in_batches_where_it_pays(parts, images, monkeypatch, together):
    monkeypatch.setattr(features_module, "_MAX_BATCH", together)
    model, processor = parts
    runner = ModelRunner(model, processor)
    gate = threading.Event()
    seen = []
    compute = type(model).get_image_features

    def watch(self, pixel_values, **kwargs):
        gate.wait(60)
        seen.append(len(pixel_values))
        return compute(self, pixel_values=pixel_values, **kwargs)

    monkeypatch.setattr(type(model), "get_image_features", watch)
    first = runner.submit(request(Conversation((Turn("why", (images[0],)),)), max_tokens=2))
    rest = [runner.submit(request(Conversation((Turn("why", (p,)),)), max_tokens=2)) for p in images[1:]]
    gate.set()
    for handle in (first, *rest):
        handle.future.result(timeout=60)
    assert sum(seen) == len(images)
    assert len(seen) <= 2 if not together else max(seen) == 1  # the first may start before the others arrive


def test_a_long_answer_is_preempted_for_a_short_one(parts, plain, images, monkeypatch):
    monkeypatch.setattr(scheduler, "MAX_ROWS", 1)
    monkeypatch.setattr(scheduler, "PREEMPT_AFTER_TOKENS", 8)
    runner = ModelRunner(*parts)
    order = []
    began = threading.Event()
    long_talk, short_talk = (Conversation((Turn(text, (images[0],)),)) for text in ("describe the image", "why"))
    long = runner.submit(request(long_talk, max_tokens=120), lambda piece: began.set())
    long.future.add_done_callback(lambda _: order.append("long"))
    assert began.wait(60)
    short = runner.submit(request(short_talk, max_tokens=3))
    short.future.add_done_callback(lambda _: order.append("short"))
    assert list(long.future.result(60).token_ids) == plain.ids(long_talk, 120)
    assert list(short.future.result(60).token_ids) == plain.ids(short_talk, 3)
    assert order == ["short", "long"]


def test_a_seeded_answer_is_the_same_alone_and_batched(parts, images):
    runner = ModelRunner(*parts)
    seeded = request(
        Conversation((Turn("describe", (images[2],)),)), max_tokens=12, sampling=Sampling(temperature=1.5, seed=7)
    )
    alone = generate(runner, seeded)
    others = [
        runner.submit(request(Conversation((Turn(word, (images[1],)),)), max_tokens=9, sampling=Sampling(1.0, seed=i)))
        for i, word in enumerate(WORDS)
    ]
    assert runner.submit(seeded).future.result(60).token_ids == alone.token_ids
    assert len({handle.future.result(60).token_ids for handle in others}) > 3


def _plain_continuation(parts, ids: tuple[int, ...], image: EncodedImage, max_tokens: int) -> list[int]:
    """Return what plain `generate` answers to these token ids."""
    model, processor = parts
    pixels = processor.image_processor(images=[pad_to_square(image.decode())], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        out = model.generate(
            input_ids=torch.tensor([ids]), pixel_values=pixels, max_new_tokens=max_tokens, do_sample=False
        )
    return [token for token in out[0, len(ids) :].tolist() if token != 2]


def test_a_follow_up_continues_the_token_ids_of_the_answer(parts, images):
    runner = ModelRunner(*parts)
    retokenized = 0
    for word in WORDS:
        first = Conversation((Turn(word, (images[0],)),))
        answer = generate(runner, request(first, max_tokens=9))
        turn = Turn(word, (images[0],), answer.text, answer.token_ids)
        follow_up = request(Conversation((turn, Turn("why"))), max_tokens=5)
        again = generate(runner, follow_up)
        earlier = answer.input_tokens + len(answer.token_ids)
        assert again.timings.reused_tokens >= earlier - 1
        ids = runner.encoder.encode(follow_up).ids
        assert ids[:earlier] == (*runner.encoder.encode(request(first)).ids, *answer.token_ids)
        assert list(again.token_ids) == _plain_continuation(parts, ids, images[0], 5)
        by_text = runner.encoder.encode(request(Conversation((Turn(word, (images[0],), answer.text), Turn("why")))))
        retokenized += by_text.ids != ids
        assert runner.encoder.tokenizer.decode(by_text.ids[earlier:]).endswith("USER: whyASSISTANT:")
    assert retokenized, "no text was tokenized differently: this test shows nothing"


@pytest.mark.parametrize(
    "ids", [(5, 6, 7), (10**6,), (-1,), ()], ids=["another answer", "too large", "negative", "none"]
)
def test_ids_that_do_not_match_the_answer_are_ignored(parts, images, ids):
    runner = ModelRunner(*parts)
    as_text, with_ids = (
        Conversation((Turn("what", (images[0],), "A red star.", answer_ids), Turn("why"))) for answer_ids in (None, ids)
    )
    assert runner.encoder.encode(request(with_ids)).ids == runner.encoder.encode(request(as_text)).ids


def test_equal_pixels_are_reused_in_any_encoding(parts, images):
    """The same picture as pixels, PNG and BMP: what was computed for one serves the others."""
    runner = ModelRunner(*parts)
    bmp = io.BytesIO()
    images[2].decode().save(bmp, "BMP")
    forms = [images[2], EncodedImage.from_pixels(images[2].decode().copy()), images[2].data, bmp.getvalue()]
    answers = []
    for form in forms:
        image = form if isinstance(form, EncodedImage) else EncodedImage(form)
        answers.append(generate(runner, request(Conversation((Turn("what is it", (image,)),)), max_tokens=4)))
    assert len({answer.token_ids for answer in answers}) == 1
    assert all(answer.timings.reused_tokens >= runner.encoder.image_tokens for answer in answers[1:])


def test_a_request_in_the_engine_holds_no_image(parts, images):
    """Only the pixel values that the model reads: a photograph is a hundred times larger."""
    runner = ModelRunner(*parts)
    handle = runner.submit(request(Conversation((Turn("why", (images[0],)),)), max_tokens=2))
    assert handle.request.images == ()
    assert handle.future.result(60).token_ids


def test_an_image_is_decoded_once_for_all_turns(parts, images, monkeypatch):
    png = images[1].data
    runner = ModelRunner(*parts)
    decoded = []
    monkeypatch.setattr(image_module, "decode_image", lambda *args: decoded.append(args) or decode_image(*args))

    def ask(**settings):
        """Each turn of a conversation has the same bytes, in a new object."""
        talk = Conversation((Turn("what", (EncodedImage(png),)),))
        return generate(runner, request(talk, max_tokens=4, **settings))

    answers = [ask().token_ids for _ in range(3)]
    assert len(decoded) == 1
    assert len(set(answers)) == 1
    cropped = ask(image_fit="center_crop")
    assert len(decoded) == 2
    assert cropped.timings.reused_tokens < 16
    runner._engine.image_features.clear()
    runner._engine.prefix_cache.clear()
    assert ask().token_ids == answers[0]


def test_ignored_generation_settings_are_logged(parts, caplog, monkeypatch):
    model, processor = parts
    ModelRunner(model, processor)
    assert not caplog.records
    monkeypatch.setattr(model.generation_config, "repetition_penalty", 1.3)
    monkeypatch.setattr(model.generation_config, "no_repeat_ngram_size", 2)
    ModelRunner(model, processor)
    assert "repetition_penalty=1.3, no_repeat_ngram_size=2 are not applied" in caplog.text


def test_the_cache_is_passed_by_the_name_that_transformers_uses(parts, plain, images, monkeypatch):
    """Stands for the other side of 5.24, whose older name warns until it goes in 5.40."""
    model, processor = parts
    talk = Conversation((Turn("What is it?", (images[0],)),))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = generate(ModelRunner(model, processor), request(talk, max_tokens=5))
    expected = plain.ids(talk, 5)
    forward = type(model.model.language_model).forward
    renamed = "cache" not in inspect.signature(forward).parameters

    def newer(self, *, cache=None, **others):
        return forward(self, past_key_values=cache, **others)

    def older(self, *, past_key_values=None, **others):
        return forward(self, cache=past_key_values, **others)

    monkeypatch.setattr(type(model.model.language_model), "forward", newer if renamed else older)
    other = generate(ModelRunner(model, processor), request(talk, max_tokens=5))
    assert list(answer.token_ids) == list(other.token_ids) == expected
