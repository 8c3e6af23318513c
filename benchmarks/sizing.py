"""`python -m benchmarks.sizing`: what serving the published models takes, worked out on paper from their shapes.

Nothing is measured here. The shapes are those of the published configs, the speeds those of the data sheets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

GIB = 2**30

IMAGE_TOKENS = 576
TEXT_TOKENS = 64
"""Tokens of a prompt beside its image. Chosen: the system sentence of llava_v1 and a question with a marker."""

ANSWER_TOKENS = 40
"""Chosen: a sentence or two."""

TOWER_FLOPS = 2 * 0.304e9 * 577
"""Of an image: twice the parameters of CLIP ViT-L/14-336 for each of its 577 positions."""

ACHIEVED = 0.5
"""Share of the data sheet's FLOP/s that prefill reaches, and of its bytes/s that decoding does. Assumed."""

BATCH = 32
"""Answers that are decoded together. Assumed."""

RESERVED = 0.9
"""Share of a GPU's memory that vLLM takes by default (`--gpu-memory-utilization`)."""

PEAK, BUSY = 3.0, 0.7
"""Questions at the busiest hour beside the mean, and how busy a replica may be then. Assumed."""

A_MILLION_A_DAY = 1e6 / 86_400


@dataclass(frozen=True)
class Model:
    """A published model: parameters with the vision tower, of the language model alone, its layers and its width."""

    name: str
    parameters: float
    language: float
    layers: int
    width: int

    @property
    def weights(self) -> float:
        """Bytes in float16."""
        return 2 * self.parameters

    @property
    def kv_bytes(self) -> int:
        """Bytes of the keys and values of a token, in float16."""
        return 2 * 2 * self.layers * self.width

    @property
    def conversation(self) -> float:
        """Bytes of the keys and values of a question about an image and its answer."""
        return self.kv_bytes * (IMAGE_TOKENS + TEXT_TOKENS + ANSWER_TOKENS)

    @property
    def prefill_flops(self) -> float:
        """Of a question about a new image."""
        return 2 * self.language * (IMAGE_TOKENS + TEXT_TOKENS) + TOWER_FLOPS


@dataclass(frozen=True)
class Gpu:
    """A GPU by its data sheet: memory in GB, dense float16 FLOP/s, bytes/s."""

    name: str
    memory: float
    flops: float
    bandwidth: float


MODELS = (Model("7B", 7.06e9, 6.74e9, 32, 4096), Model("13B", 13.37e9, 13.02e9, 40, 5120))
GPUS = (
    Gpu("L4 24 GB", 24, 121e12, 300e9),
    Gpu("A100 80 GB", 80, 312e12, 2039e9),
    Gpu("H100 80 GB", 80, 989e12, 3350e9),
)


def write_sizes() -> list[str]:
    """Write the table of what a conversation takes in memory."""
    rows = ["| | weights, float16 | keys and values of a token | of a question and its answer | of a full context |"]
    rows.append("|---|---|---|---|---|")
    for model in MODELS:
        rows.append(
            f"| {model.name} | {model.weights / GIB:.1f} GiB | {model.kv_bytes / 2**10:.0f} KiB "
            f"| {model.conversation / 2**20:.0f} MiB | {model.kv_bytes * 4096 / GIB:.1f} GiB |"
        )
    return rows


def write_speeds() -> list[str]:
    """Write the table of times and of replicas, per GPU."""
    rows = [
        f"| | conversations in memory | prefill, new image | a step of {BATCH} answers | questions a second "
        "| replicas for a million a day |"
    ]
    rows.append("|---|---|---|---|---|---|")
    for model in MODELS:
        for gpu in GPUS:
            free = RESERVED * gpu.memory * 1e9 - model.weights
            held = int(free // model.conversation)
            if held < 1:
                rows.append(f"| {model.name} on {gpu.name} | the weights do not fit: tensor parallel 2 | | | | |")
                continue
            batch = min(BATCH, held)
            prefill = model.prefill_flops / (ACHIEVED * gpu.flops)
            step = (model.weights + batch * model.conversation) / (ACHIEVED * gpu.bandwidth)
            rate = 1 / (prefill + ANSWER_TOKENS * step / batch)
            replicas = math.ceil(A_MILLION_A_DAY * PEAK / (BUSY * rate))
            shown = f"{step * 1000:.0f} ms" + (f" ({batch} answers)" if batch < BATCH else "")
            rows.append(
                f"| {model.name} on {gpu.name} | {held} | {prefill * 1000:.0f} ms | {shown} | {rate:.1f} | {replicas} |"
            )
    return rows


def main() -> None:
    """Print both tables."""
    print("\n".join([*write_sizes(), "", *write_speeds()]))


if __name__ == "__main__":
    main()
