"""The dtype of "auto", and whether the weights fit: decided before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from langchain_vipllava.engine.cpu_flags import cpu_flags
from langchain_vipllava.engine.free_memory import free_bytes
from langchain_vipllava.engine.memory_plan import MemoryEstimate, ParameterCount, estimate_memory
from langchain_vipllava.engine.product_speed import measure_product
from langchain_vipllava.errors import CheckpointError, shorten
from langchain_vipllava.protocol.load_options import DType, LoadOptions, Quantization

Half = Literal["bfloat16", "float16"]

_ARITHMETIC: dict[Half, frozenset[str]] = {
    "bfloat16": frozenset({"avx512_bf16", "amx_bf16", "bf16"}),
    "float16": frozenset({"avx512_fp16", "amx_fp16", "fphp"}),
}
"""Flags in /proc/cpuinfo of CPUs that calculate in a dtype: on x86 and on Arm. Others convert each block to float32."""

SMALL = 10**9
"""Parameters below which weights are not what an answer waits for: 128 million were slower in 8 bits."""

PROMPT_TOKENS, ANSWER_TOKENS = 600, 64
"""Of a question about an image: 576 for the image of a 7B, and a sentence; the answer is chosen: two sentences."""

_LAYERS_OF_7B = 6_476_005_376
"""Weights of its language model's layers."""

_HARDLY = 1.2
"""How much faster is faster. Chosen: two measurements of one product differ by a tenth."""

_SLOW = 2.0
"""How much longer a prompt may take in 16 bits than in float32, for the 8% of the 7B that quantization leaves alone."""

_GIB = 2**30


@dataclass(frozen=True)
class DtypeChoice:
    """The dtype in which a checkpoint is loaded.

    Attributes:
        dtype: its name.
        reason: why, if it was chosen here; "" if it was given.
        estimate: the memory that it needs.
    """

    dtype: DType
    reason: str
    estimate: MemoryEstimate


def choose_dtype(
    config: Any, options: LoadOptions, device: str, count: ParameterCount | None = None, free: int | None = None
) -> DtypeChoice:
    """Choose the dtype of a checkpoint.

    On a CPU, "auto" is float32 if the weights and a full context fit into the free memory, else the 16 bits in which
    this CPU answers sooner, by a product that is measured. What quantization leaves in its dtype is in 16 bits too,
    unless they are slow here and float32 fits.

    Args:
        config: the checkpoint's.
        options: how it would be loaded.
        device: where.
        count: its parameters, if they are counted already.
        free: free bytes of the device, if they are known.
    """
    count = ParameterCount.of(config) if count is None else count

    def estimate(dtype: DType) -> MemoryEstimate:
        return estimate_memory(config, replace(options, device=device, dtype=dtype), count)

    if options.dtype != "auto" or not device.startswith("cpu"):
        return DtypeChoice(options.dtype, "", estimate(options.dtype))
    full = estimate("float32")
    free = free_bytes(device) if free is None else free
    fits = full.total <= free
    if fits and (options.quantization is None or count.total < SMALL):
        return DtypeChoice("float32", "", full)
    half, why = choose_half("bfloat16" if str(config.dtype).endswith("bfloat16") else "float16")
    if not fits:
        return DtypeChoice(half, f"{why}; float32 needs {in_gib(full.total)} of {in_gib(free)} free", estimate(half))
    times = [measure_product(dtype).prompt_token for dtype in ("float32", half)]
    if times[1] > _SLOW * times[0]:
        return DtypeChoice("float32", f"a prompt takes {times[1] / times[0]:.1f} times as long in {half} here", full)
    return DtypeChoice(half, f"for what is not in {options.quantization}; {why}", estimate(half))


def choose_half(own: Half) -> tuple[Half, str]:
    """Choose the dtype of 16 bits in which this CPU answers sooner, and say why.

    Args:
        own: that of the checkpoint, which wins where the other is hardly faster.
    """
    other: Half = "float16" if own == "bfloat16" else "bfloat16"
    times = {half: answer_seconds(half, _LAYERS_OF_7B) for half in (own, other)}
    faster: Half = other if times[other] * _HARDLY < times[own] else own
    slower: Half = other if faster == own else own
    known = "which this CPU calculates in" if _ARITHMETIC[faster] & cpu_flags() else "which this CPU converts"
    compared = f"an answer of a 7B would take {times[faster]:.0f} s, in {slower} {times[slower]:.0f} s"
    return faster, f"{known}: {compared}"


def answer_seconds(kind: DType | Quantization, weights: int) -> float:
    """Estimate how long a question about an image and its answer take on this CPU, from a product measured on it.

    Args:
        kind: dtype or quantization of the language model's layers.
        weights: their number of weights.
    """
    return measure_product(kind).seconds(weights, PROMPT_TOKENS, ANSWER_TOKENS)


def check_fits(options: LoadOptions, device: str, choice: DtypeChoice) -> None:
    """Check that the weights fit into the free memory; a machine that runs out of it kills the process without a word.

    Only what is sure is refused: weights alone that do not fit. A `device_map` may spread them.

    Raises:
        CheckpointError: they do not.
    """
    if options.device_map is not None or not device.startswith(("cpu", "cuda")):
        return
    free, weights = free_bytes(device), choice.estimate.weights
    if weights <= free:
        return
    ways = ["quantization='8bit'", "quantization='4bit'"]
    ways = ways[(options.quantization is not None) + (options.quantization == "4bit") :]
    if choice.estimate.dtype == "float32":
        ways.insert(0, "dtype='bfloat16'")
    raise CheckpointError(
        f"{shorten(options.model)} does not fit: its weights take {in_gib(weights)} in "
        f"{options.quantization or choice.estimate.dtype}, {in_gib(free)} are free on {device}. Use "
        f"{', '.join(ways)}, a smaller checkpoint, device_map='auto' over several GPUs, or free memory; "
        "`langchain-vipllava doctor` shows what fits."
    )


def in_gib(size: int) -> str:
    """Write a number of bytes in GiB."""
    return f"{size / _GIB:,.2f} GiB" if size < _GIB else f"{size / _GIB:,.1f} GiB"
