"""`python -m benchmarks.quantized`: layers of the 7B's shape in 8 bits beside float32 on a CPU, one row, interleaved.

Four of its 32 layers, whose weights are more than a cache holds. Without the head, and without the tower of the image,
which are not quantized: they are 4% of a decoding step, and less of a prompt.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import DynamicCache

from benchmarks.answering import Row
from benchmarks.report import make_table
from benchmarks.shape import write_shape
from benchmarks.timing import measure
from langchain_vipllava.engine.dtype_choice import PROMPT_TOKENS
from langchain_vipllava.engine.kv_cache import cache_argument
from langchain_vipllava.engine.loading import load_checkpoint, published_config
from langchain_vipllava.engine.memory_plan import estimate_memory
from langchain_vipllava.protocol.load_options import LoadOptions, Quantization

LAYERS = 4
STEPS = 8
"""Decoding steps of a counted run."""

TARGETS: Mapping[Quantization, tuple[float, float]] = {"8bit": (2.5, 2.2), "4bit": (2.5, 0.3)}
"""Least speedup of a decoding step and of a prompt. Chosen in 8 bits; in 4 bits, what was seen."""


class Layers:
    """Decoder layers of the 7B's shape.

    Args:
        folder: a checkpoint of that shape.
        quantization: of the layers; None for float32.
    """

    def __init__(self, folder: Path, quantization: Quantization | None) -> None:
        model, _ = load_checkpoint(LoadOptions(str(folder), dtype="float32", device="cpu", quantization=quantization))
        self._model: Any = model.model.language_model
        size = self._model.config.hidden_size
        self._prompt = torch.randn(1, PROMPT_TOKENS, size, generator=torch.Generator().manual_seed(0))
        self._cache: Any = None

    @property
    def bytes(self) -> int:
        """Size of the layers."""
        return sum(parameter.nbytes for parameter in self._model.layers.parameters())

    def read(self) -> float:
        """Read a prompt, and return the seconds."""
        self._cache = DynamicCache(config=self._model.config)
        return self._run(self._prompt)

    def write(self) -> float:
        """Write a token, several times, and return the seconds of one."""
        return sum(self._run(self._prompt[:, :1]) for _ in range(STEPS)) / STEPS

    def _run(self, rows: torch.Tensor) -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            self._model(inputs_embeds=rows, use_cache=True, **{cache_argument(self._model): self._cache})
        return time.perf_counter() - started


def rows(repeats: int, widths: Sequence[str] = tuple(TARGETS)) -> list[Row]:
    """Measure each width beside float32.

    Args:
        repeats: counted runs.
        widths: of TARGETS.
    """
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_shape(Path(scratch) / "shape", layers=LAYERS)
        plain = Layers(folder, None)
        for width in TARGETS:
            if width not in widths:
                continue
            decode, prompt = TARGETS[width]
            packed = Layers(folder, width)
            note = f"layers {packed.bytes / plain.bytes:.2f} of the memory, a whole 7B {whole_share(width):.2f}"
            for name, way, target in (("prompt", Layers.read, prompt), ("decoding step", Layers.write, decode)):
                times = measure({"ours": lambda: way(packed), "theirs": lambda: way(plain)}, repeats)  # noqa: B023
                title = f"7B shape in {width}, {LAYERS} layers, {name}, one row"
                found.append(Row(title, "float32", times["ours"], times["theirs"], target, note=note))
    return found


def whole_share(width: Quantization) -> float:
    """Return what the weights of a whole 7B take, with the rest in 16 bits, as a share of those in float32."""
    config = published_config("llava-hf/vip-llava-7b-hf")
    full, packed = (
        estimate_memory(config, options).weights
        for options in (LoadOptions("7b", dtype="float32"), LoadOptions("7b", dtype="bfloat16", quantization=width))
    )
    return packed / full


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="counted runs of each")
    parser.add_argument("--widths", nargs="*", choices=tuple(TARGETS), default=tuple(TARGETS))
    options = parser.parse_args()
    Console(width=160).print(make_table(rows(options.repeats, options.widths), LAYERS * 202_383_360))


if __name__ == "__main__":
    main()
