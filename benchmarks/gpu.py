"""`python -m benchmarks.gpu` (`make bench-gpu`): a ViP-LLaVA of the 7B's shape, random weights, on a CUDA GPU.

Without a GPU, `--shape tiny --device cpu` runs what needs no CUDA of it, and says nothing about speed.
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

from benchmarks.answering import ask_all, make_request
from benchmarks.checkpoint import PATCH, SIDE, make_image, make_processor
from langchain_vipllava.engine.load_options import LoadOptions
from langchain_vipllava.engine.loading import load_checkpoint, published_config
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.prompt.conversation import Conversation, Turn

console = Console(width=140)
TOKENS, CALLERS = 128, 16


def make_config(shape: str, vocabulary: int, image_token: int) -> Any:
    """The 7B's configuration, or a tiny one; its vocabulary holds the tokenizer's."""
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
    """Random weights in bfloat16, made where they are used; 4-bit ones are saved and loaded as a user's would be."""
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
    model.generation_config.eos_token_id = model.config.text_config.eos_token_id = None  # answers of a given length
    return model


def seconds(work: Callable[[], object], device: str, repeats: int = 5) -> float:
    """Median time of some work on the device."""
    taken = []
    for _ in range(repeats + 2):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[2:])


def bandwidth(device: str, mib: int) -> float:
    """Bytes per second that a reduction reads from memory: what bounds decoding at batch 1."""
    numbers = torch.ones(mib * 2**20 // 2, dtype=torch.bfloat16, device=device)
    return numbers.nbytes / seconds(numbers.amax, device)


def bare_forward(host: ModelRunner, tokens: int, known: int, device: str) -> float:
    """Seconds of the language model alone over new tokens behind a cache of known ones."""
    from transformers import DynamicCache  # noqa: PLC0415

    text = host.model.model.language_model
    embed = host.model.get_input_embeddings()

    @torch.inference_mode()
    def forward(cache: Any, count: int, start: int) -> None:
        ids = torch.ones((1, count), dtype=torch.long, device=device)
        places = torch.arange(start, start + count, device=device)[None]
        hidden = text(inputs_embeds=embed(ids), position_ids=places, past_key_values=cache, use_cache=True)
        host.model.lm_head(hidden.last_hidden_state[:, -1])

    taken = []
    for _ in range(5):
        cache = DynamicCache()
        forward(cache, known, 0)
        _wait(device)
        started = time.perf_counter()
        forward(cache, tokens, known)
        _wait(device)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def measure(host: ModelRunner, device: str, weights: int, speed: float, tokens: int) -> list[tuple[str, str, str]]:
    """Rows of the table: what, measured, wanted."""
    image = make_image(0)
    opening = Conversation((Turn("What is the object within the red rectangle?", (image,)),))
    host.generate(make_request(opening, 8))  # warm: compiles what is compiled
    answer = host.generate(make_request(opening, tokens))
    rate = (len(answer.ids) - 1) / answer.timings.decode
    limit = speed / weights
    asked = Turn(opening.turns[0].question, (image,), answer.text, answer.ids)
    follow_ups = [Conversation((asked, Turn(f"What is its color {'really ' * n}now?"))) for n in range(5)]
    answers = [host.generate(make_request(talk, 2)) for talk in follow_ups]
    new = answers[-1].input_tokens - answers[-1].timings.reused_tokens
    bare = bare_forward(host, new, answers[-1].timings.reused_tokens, device)
    first = statistics.median(said.timings.first_token for said in answers)
    talks = [Conversation((Turn("Describe the image.", (make_image(n),)),)) for n in range(CALLERS)]
    asyncio.run(ask_all(host, talks, 8))
    started = time.perf_counter()
    together = asyncio.run(ask_all(host, talks, tokens))
    throughput = sum(len(said.ids) for said in together) / (time.perf_counter() - started)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.startswith("cuda") else 0.0
    return [
        ("decode at batch 1", f"{rate:.1f} tokens/s, {rate / limit:.0%} of the memory's {limit:.0f}", ">= 65%"),
        (
            "first token of a follow-up",
            f"{first * 1e3:.1f} ms, {first / bare:.2f}x the bare forward of {new}",
            "< 1.5x",
        ),
        (f"{CALLERS} callers", f"{throughput:.0f} tokens/s, {throughput / rate:.1f}x one caller", ">= 8x"),
        ("weights", f"{weights / 2**30:.2f} GiB", ""),
        ("most memory", f"{memory:.1f} GiB", ""),
        ("decoding", host.decode_path, ""),
    ]


def main() -> None:
    """Measure, and print a table for each kind of weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=("7b", "tiny"), default="7b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--weights", nargs="*", choices=("bf16", "4bit"), default=["bf16", "4bit"])
    parser.add_argument("--tokens", type=int, default=TOKENS, help="tokens of an answer")
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
        for column in ("what", "measured", "wanted"):
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


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
