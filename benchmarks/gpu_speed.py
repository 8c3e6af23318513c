"""How fast one GPU answers with a ViP-LLaVA of the 7B's shape, and which share of its limit that is."""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import VipLlavaConfig, VipLlavaForConditionalGeneration

from benchmarks.answering import ask, ask_together, make_request, timings
from benchmarks.checkpoint import PATCH, SIDE, make_image, make_processor
from benchmarks.gpu_check import Check
from benchmarks.gpu_exactness import conversations
from benchmarks.gpu_limits import arithmetic, bandwidth, seconds, synchronize
from langchain_vipllava.engine.compiled_decode import WIDE_TOKENS
from langchain_vipllava.engine.loading import load_checkpoint, published_config
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol.answer import Answer
from langchain_vipllava.protocol.load_options import LoadOptions

TOKENS, ROWS, REPEATS = 64, 16, 5
KEPT = 16 * 2**30
"""Bytes of the prefix cache: a quarter of them is kept of the buffers when the runner is idle, 16 rows at 7B."""
QUESTION = "What is the object within the red rectangle?"


@dataclass(frozen=True)
class Model:
    """A model of random weights.

    Attributes:
        model: the `VipLlavaForConditionalGeneration`.
        processor: its processor.
        read: bytes of the weights that a decoding step reads: the language model without its embeddings, and the head.
    """

    model: Any
    processor: Any
    read: int


def make_model(check: Check, quantization: Literal["8bit", "4bit"] | None = None) -> Model:
    """Make random bfloat16 weights on the device. Quantized ones are saved and loaded, as a user does."""
    processor = make_processor()
    config = _config(check.shape, len(processor.tokenizer))
    config.image_token_index = config.image_token_id = processor.tokenizer.convert_tokens_to_ids("<image>")
    with torch.device(check.device):
        model = VipLlavaForConditionalGeneration._from_config(config, dtype=torch.bfloat16).eval()
    if quantization is not None:
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
            del model
            gc.collect()
            options = LoadOptions(folder, dtype="bfloat16", device=str(check.device), quantization=quantization)
            model, processor = load_checkpoint(options)
    # every answer has the requested length
    model.generation_config.eos_token_id = model.config.text_config.eos_token_id = None
    text = model.model.language_model
    parameters = [*text.layers.parameters(), *text.norm.parameters(), *model.lm_head.parameters()]
    return Model(model, processor, sum(parameter.nbytes for parameter in parameters))


def compiled(check: Check) -> None:
    """Measure the runner as it is by default on CUDA."""
    _measure(check, make_model(check), "compiled", compile_decode=True)


def recorded(check: Check) -> None:
    """Measure it without a compiler: the kernels of PyTorch, recorded as one graph."""
    _measure(check, make_model(check), "not compiled", compile_decode=False)


def quantized(check: Check) -> None:
    """Measure weights of 8 and 4 bits by bitsandbytes."""
    for kind in ("8bit", "4bit"):
        _measure(check, make_model(check, kind), kind, compile_decode=None)
        gc.collect()


def plain(check: Check) -> None:
    """Measure plain `generate`, with the cache that grows and with the static cache, which transformers compiles."""
    made = make_model(check)
    prompt = ModelRunner(made.model, made.processor, compile_decode=False).encoder.encode(
        make_request(_opening(0), TOKENS)
    )
    ids = torch.tensor([prompt.ids], device=check.device)
    pixels = torch.randn(1, 3, SIDE, SIDE, dtype=torch.bfloat16, device=check.device)

    def generate(tokens: int, **how: Any) -> float:
        synchronize(check.device)
        started = time.perf_counter()
        with torch.inference_mode():
            made.model.generate(input_ids=ids, pixel_values=pixels, max_new_tokens=tokens, do_sample=False, **how)
        synchronize(check.device)
        return time.perf_counter() - started

    for name, how in (("", {}), (", static cache", {"cache_implementation": "static"})):
        generate(4, **how)
        first = statistics.median(generate(1, **how) for _ in range(3))
        rate = (TOKENS - 1) / (generate(TOKENS, **how) - first)
        check.add(f"plain generate{name}, first token cold", f"{first * 1e3:.1f} ms")
        check.add(f"plain generate{name}, decode, 1 row", f"{rate:.1f} tokens/s", _share(check, made, rate))


def _measure(check: Check, made: Model, name: str, *, compile_decode: bool | None) -> None:
    """Measure first tokens, decoding of one and of many rows, and memory."""
    cuda = check.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    runner = ModelRunner(made.model, made.processor, cache_bytes=KEPT, compile_decode=compile_decode)
    started = time.perf_counter()
    ask(runner, make_request(_opening(0), TOKENS))
    check.add(f"{name}: first answer, compiling included", f"{time.perf_counter() - started:.1f} s", runner.decode_path)
    check.add(f"{name}: weights that a step reads", f"{made.read / 2**30:.2f} GiB")
    answers = [ask(runner, make_request(_opening(1 + n), TOKENS)) for n in range(REPEATS)]
    _first_tokens(check, made, name, answers, "cold", "<= 35 ms")
    rate = statistics.median((answer.output_tokens - 1) / timings(answer).decode for answer in answers)
    check.add(f"{name}: decode, 1 row", f"{rate:.1f} tokens/s", _share(check, made, rate), ">= 80%")
    _one_step(check, made, runner, name)
    follow_ups = [_follow_up(n, answer) for n, answer in enumerate(answers)]
    _first_tokens(check, made, name, [ask(runner, make_request(one, 2)) for one in follow_ups], "follow-up", "<= 10 ms")
    _one_step(check, made, runner, name, WIDE_TOKENS)
    for images, goal in ((1, ">= 10x"), (ROWS, "")):
        asked = conversations(ROWS, images)
        many = _rate(runner, asked)
        what = f"{name}: {ROWS} rows, {images} image{'s' if images > 1 else ''}"
        check.add(what, f"{many:.0f} tokens/s", f"{many / rate:.1f}x one row", goal)
    if cuda:
        check.add(f"{name}: peak memory", f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    with torch.inference_mode():
        pixels = torch.randn(1, 3, SIDE, SIDE, dtype=torch.bfloat16, device=check.device)
        vision = seconds(lambda: runner._engine.image_features._run(pixels), check.device)
    check.add(f"{name}: vision tower and projector, 1 image", f"{vision * 1e3:.1f} ms")
    runner.stop()


def _one_step(check: Check, made: Model, runner: ModelRunner, name: str, tokens: int = 1) -> None:
    """Measure a recorded step of one row on the device alone, and count its kernels."""
    decode = runner._engine._passes._compiled
    if check.device.type != "cuda" or decode is None or tokens not in decode._recorded:
        return
    graph = decode._recorded[tokens].graph
    with torch.inference_mode():
        step = seconds(graph, check.device)
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            graph()
            synchronize(check.device)
    kernels = sum(event.count for event in profiled.key_averages())
    name = f"{name}, {tokens} token{'s' if tokens > 1 else ''} of 1 row"
    check.add(f"{name}: one step, {kernels} kernels", f"{step * 1e3:.2f} ms", _share(check, made, 1 / step))
    for event in sorted(profiled.key_averages(), key=lambda one: -one.device_time_total)[:12]:
        check.add(f"{name}: kernel {event.key[:60]}", f"{event.count} x {event.device_time_total / event.count:.1f} us")


def _first_tokens(check: Check, made: Model, name: str, answers: Sequence[Answer], kind: str, goal: str) -> None:
    first = statistics.median(timings(answer).first_token for answer in answers)
    queued = statistics.median(timings(answer).queued for answer in answers)
    new = answers[-1].input_tokens - timings(answers[-1]).reused_tokens
    weights = made.read / 2  # bfloat16; two operations for each in each token
    limit = max(2 * weights * new / arithmetic(check.device), made.read / bandwidth(check.device))
    check.add(
        f"{name}: first token, {kind}, {new} new tokens",
        f"{first * 1e3:.1f} ms, {queued * 1e3:.1f} of them preparing the prompt",
        f"{limit / first:.0%} of {limit * 1e3:.1f} ms",
        goal,
    )


def _rate(runner: ModelRunner, asked: Sequence[Conversation]) -> float:
    """Measure tokens per second of answers at the same time, by how much longer longer answers take."""

    def wall(tokens: int) -> float:
        started = time.perf_counter()
        ask_together(runner, asked, [tokens] * len(asked))
        return time.perf_counter() - started

    wall(TOKENS)  # compiles for these numbers of rows
    more = statistics.median(wall(2 * TOKENS) for _ in range(3)) - statistics.median(wall(TOKENS) for _ in range(3))
    return len(asked) * TOKENS / more


def _share(check: Check, made: Model, rate: float) -> str:
    limit = bandwidth(check.device) / made.read
    return f"{rate / limit:.0%} of {limit:.0f} tokens/s"


def _opening(seed: int) -> Conversation:
    return Conversation((Turn(QUESTION, (make_image(seed),)),))


def _follow_up(number: int, answer: Answer) -> Conversation:
    turn = Turn(QUESTION, _opening(1 + number).turns[0].images, answer.text, answer.token_ids)
    return Conversation((turn, Turn("What is its color now?")))


def _config(shape: str, vocabulary: int) -> Any:
    """Make the 7B's configuration, or a tiny one for a tokenizer's vocabulary."""
    if shape == "7b":
        return published_config("llava-hf/vip-llava-7b-hf")
    vision = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 12, "num_attention_heads": 4}
    text = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    return VipLlavaConfig(
        vision_config={"model_type": "clip_vision_model", "image_size": SIDE, "patch_size": PATCH, **vision},
        text_config={"model_type": "llama", "vocab_size": vocabulary, "max_position_embeddings": 4096, **text},
    )
