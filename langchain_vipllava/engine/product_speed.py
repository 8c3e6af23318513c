"""How fast this CPU multiplies in each dtype and width: a small product of the kind that a 7B is made of, measured."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from langchain_vipllava.engine.packed_linear import PackedLinear, packing_is_faster
from langchain_vipllava.engine.quantization import import_bitsandbytes
from langchain_vipllava.protocol.load_options import DType, Quantization

SIDE = 4096
"""Rows and columns of the weight: a projection of the 7B's attention. 64 MiB in float32, more than most caches hold."""

_PROMPT_ROWS = 64
"""Chosen: on AVX-512 and on AMX, a row of 64 took within a fifth as long as one of 592, at a ninth of the time."""

_TRIES = 3
"""Chosen: the shortest of three; other processes only make it longer."""


@dataclass(frozen=True)
class ProductSpeed:
    """Seconds per weight of the language model.

    Attributes:
        token: for the product of one token, as in decoding, which is reading the weight.
        prompt_token: for each of many tokens, as in a prompt, which is arithmetic.
    """

    token: float
    prompt_token: float

    def seconds(self, weights: int, prompt_tokens: int, new_tokens: int) -> float:
        """Estimate how long a prompt and the tokens of its answer take, without attention and the image's tower.

        Args:
            weights: number of weights in products of the language model.
            prompt_tokens: length of the prompt.
            new_tokens: length of the answer.
        """
        return weights * (prompt_tokens * self.prompt_token + new_tokens * self.token)


@cache
def measure_product(kind: DType | Quantization) -> ProductSpeed:
    """Measure a product on this CPU, once per process; takes a quarter of a second or less where kernels are fast.

    Args:
        kind: "float32", "bfloat16", "float16", or, with bitsandbytes installed, "8bit" or "4bit".
    """
    layer, dtype = _make_layer(kind)
    token, prompt = (_shortest(layer, torch.ones(rows, SIDE, dtype=dtype)) for rows in (1, _PROMPT_ROWS))
    return ProductSpeed(token / SIDE**2, prompt / _PROMPT_ROWS / SIDE**2)


def _make_layer(kind: DType | Quantization) -> tuple[Any, torch.dtype]:
    """Make a linear layer, and say in which dtype its input is."""
    weight = torch.full((SIDE, SIDE), 0.01)
    if kind in ("8bit", "4bit"):
        modules = import_bitsandbytes().nn
        if kind == "8bit":
            layer = modules.Linear8bitLt(SIDE, SIDE, bias=False, has_fp16_weights=False, device="meta")
            layer.weight = modules.Int8Params(weight, requires_grad=False, has_fp16_weights=False).to("cpu")
        else:
            layer = modules.Linear4bit(SIDE, SIDE, bias=False, quant_type="nf4", device="meta")
            layer.weight = modules.Params4bit(weight, requires_grad=False, quant_type="nf4", module=layer).to("cpu")
        return layer.eval(), torch.float32
    dtype = getattr(torch, kind)
    layer = torch.nn.Linear(SIDE, SIDE, bias=False, device="meta")
    layer.weight = torch.nn.Parameter(weight.to(dtype), requires_grad=False)
    return (PackedLinear(layer) if kind == "float32" and packing_is_faster() else layer), dtype


def _shortest(layer: Any, rows: torch.Tensor) -> float:
    """Return the shortest of some runs in seconds, after one that packs the weight."""
    times = []
    with torch.inference_mode():
        for _ in range(_TRIES + 1):
            started = time.perf_counter()
            layer(rows)
            times.append(time.perf_counter() - started)
    return min(times[1:])
