"""`python -m benchmarks.gpu` (`make bench-gpu`): a ViP-LLaVA of the 7B's shape with random weights on a CUDA GPU.

`--shape tiny --device cpu` tests the code without a GPU; its times mean nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table
from transformers import VipLlavaConfig, VipLlavaForConditionalGeneration

from benchmarks.answering import ask, ask_all, make_request, timings
from benchmarks.checkpoint import PATCH, SIDE, make_image, make_processor
from langchain_vipllava.engine.kv_cache import cache_argument
from langchain_vipllava.engine.loading import load_checkpoint, published_config
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol.load_options import LoadOptions

console = Console(width=140)
TOKENS, CALLERS = 128, 16


def make_config(shape: str, vocabulary: int, image_token: int) -> Any:
    """Make the 7B's configuration, or a tiny one for a tokenizer's vocabulary."""
    if shape == "7b":
        config: Any = published_config("llava-hf/vip-llava-7b-hf")
    else:
        vision = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 12, "num_attention_heads": 4}
        text = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
        config = VipLlavaConfig(
            vision_config={"model_type": "clip_vision_model", "image_size": SIDE, "patch_size": PATCH, **vision},
            text_config={"model_type": "llama", "vocab_size": vocabulary, "max_position_embeddings": 4096, **text},
        )
    config.image_token_index = config.image_token_id = image_token
    return config


def make_model(config: Any, processor: Any, device: str, weights: Literal["bf16", "4bit"]) -> Any:
    """Make random bfloat16 weights on the device. For "4bit", save them and load them quantized, as a user does."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = VipLlavaForConditionalGeneration._from_config(config, dtype=torch.bfloat16).eval()
    finally:
        torch.set_default_dtype(before)
    if weights == "4bit":
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
            del model
            _free(device)
            model, _ = load_checkpoint(LoadOptions(folder, dtype="bfloat16", device=device, quantization=weights))
    model.generation_config.eos_token_id = model.config.text_config.eos_token_id = (
        None  # every answer has the requested length
    )
    return model


def seconds(work: Callable[[], object], device: str, repeats: int = 5) -> float:
    """Measure the median time of some work on the device, after two warm-up runs."""
    times = []
    for _ in range(repeats + 2):
        _synchronize(device)
        started = time.perf_counter()
        work()
        _synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])


def bandwidth(device: str, mib: int) -> float:
    """Measure the memory bandwidth of a reduction in bytes per second. It bounds decoding at batch 1."""
    numbers = torch.ones(mib * 2**20 // 2, dtype=torch.bfloat16, device=device)
    return numbers.nbytes / seconds(numbers.amax, device)


def bare_forward(runner: ModelRunner, tokens: int, cached: int, device: str) -> float:
    """Measure the seconds of the language model alone over new tokens after `cached` tokens in the KV cache."""
    from transformers import DynamicCache  # noqa: PLC0415

    text = runner.model.model.language_model
    embed = runner.model.get_input_embeddings()
    name = cache_argument(text)

    @torch.inference_mode()
    def forward(cache: Any, count: int, start: int) -> None:
        ids = torch.ones((1, count), dtype=torch.long, device=device)
        positions = torch.arange(start, start + count, device=device)[None]
        hidden = text(inputs_embeds=embed(ids), position_ids=positions, use_cache=True, **{name: cache})
        runner.model.lm_head(hidden.last_hidden_state[:, -1])

    times = []
    for _ in range(5):
        cache = DynamicCache()
        forward(cache, cached, 0)
        _synchronize(device)
        started = time.perf_counter()
        forward(cache, tokens, cached)
        _synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def measure(runner: ModelRunner, device: str, weights: int, speed: float, tokens: int) -> list[tuple[str, str, str]]:
    """Measure the rows of the table: metric, result, target."""
    image = make_image(0)
    opening = Conversation((Turn("What is the object within the red rectangle?", (image,)),))
    ask(runner, make_request(opening, 8))  # warm up, compilation included
    answer = ask(runner, make_request(opening, tokens))
    rate = (answer.output_tokens - 1) / timings(answer).decode
    limit = speed / weights
    answered = Turn(opening.turns[0].question, (image,), answer.text, answer.token_ids)
    follow_ups = [Conversation((answered, Turn(f"What is its color {'really ' * n}now?"))) for n in range(5)]
    answers = [ask(runner, make_request(conversation, 2)) for conversation in follow_ups]
    reused = timings(answers[-1]).reused_tokens
    new = answers[-1].input_tokens - reused
    bare = bare_forward(runner, new, reused, device)
    first_token = statistics.median(timings(answer).first_token for answer in answers)
    conversations = [Conversation((Turn("Describe the image.", (make_image(n),)),)) for n in range(CALLERS)]
    asyncio.run(ask_all(runner, conversations, 8))
    started = time.perf_counter()
    answers = asyncio.run(ask_all(runner, conversations, tokens))
    throughput = sum(answer.output_tokens for answer in answers) / (time.perf_counter() - started)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.startswith("cuda") else 0.0
    return [
        ("decode at batch 1", f"{rate:.1f} tokens/s, {rate / limit:.0%} of the bandwidth limit {limit:.0f}", ">= 65%"),
        (
            "first token of a follow-up",
            f"{first_token * 1e3:.1f} ms, {first_token / bare:.2f}x the bare forward of {new} tokens",
            "< 1.5x",
        ),
        (f"{CALLERS} callers", f"{throughput:.0f} tokens/s, {throughput / rate:.1f}x one caller", ">= 8x"),
        ("weights", f"{weights / 2**30:.2f} GiB", ""),
        ("peak memory", f"{memory:.1f} GiB", ""),
        ("decode path", runner.decode_path, ""),
    ]


def main() -> None:
    """Print a table for each kind of weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=("7b", "tiny"), default="7b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--weights", nargs="*", choices=("bf16", "4bit"), default=["bf16", "4bit"])
    parser.add_argument("--tokens", type=int, default=TOKENS, help="tokens per answer")
    options = parser.parse_args()
    processor = make_processor()
    image_token = processor.tokenizer.convert_tokens_to_ids("<image>")
    config = make_config(options.shape, len(processor.tokenizer), image_token)
    name = torch.cuda.get_device_name() if options.device.startswith("cuda") else options.device
    speed = bandwidth(options.device, 4096 if options.device.startswith("cuda") else 64)
    for kind in options.weights:
        if options.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
        model = make_model(config, processor, options.device, kind)
        read = [model.model.language_model, model.lm_head]
        weights = sum(p.nbytes for part in read for p in part.parameters())
        rows = measure(ModelRunner(model, processor), options.device, weights, speed, options.tokens)
        table = Table(title=f"{name}, {options.shape}, {kind}, torch {torch.__version__}, {speed / 1e12:.2f} TB/s")
        for column in ("metric", "result", "target"):
            table.add_column(column)
        for row in rows:
            table.add_row(*row)
        console.print(table)
        del model, read
        _free(options.device)


def _free(device: str) -> None:
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
