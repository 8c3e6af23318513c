"""The dtype of "auto", and whether the weights fit: decided before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from langchain_vipllava.engine.free_memory import free_bytes
from langchain_vipllava.engine.memory_plan import MemoryEstimate, ParameterCount, estimate_memory
from langchain_vipllava.errors import CheckpointError, shorten
from langchain_vipllava.protocol.load_options import DType, LoadOptions

Half = Literal["bfloat16", "float16"]

_ARITHMETIC: dict[Half, frozenset[str]] = {
    "bfloat16": frozenset({"avx512_bf16", "amx_bf16", "bf16"}),
    "float16": frozenset({"avx512_fp16", "amx_fp16", "fphp"}),
}
"""Flags in /proc/cpuinfo of CPUs that calculate in a dtype: on x86 and on Arm. Others convert each block to float32."""

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

    On a CPU, "auto" is float32 if the weights and a full context fit into the free memory, else 16 bits: the
    checkpoint's own if the CPU calculates in it, or in neither; else the other.

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
    if full.total <= free:
        return DtypeChoice("float32", "", full)
    own = str(getattr(config, "dtype", None)).removeprefix("torch.")
    half = choose_half("bfloat16" if own == "bfloat16" else "float16", cpu_flags())
    known = "which this CPU calculates in" if _ARITHMETIC[half] & cpu_flags() else "in which this CPU is slow"
    reason = f"{known}; float32 needs {in_gib(full.total)} of {in_gib(free)} free"
    return DtypeChoice(half, reason, estimate(half))


def choose_half(own: Half, flags: frozenset[str]) -> Half:
    """Choose between the dtypes of 16 bits.

    Args:
        own: that of the checkpoint, whose files then need no conversion.
        flags: of the CPU.
    """
    other: Half = "float16" if own == "bfloat16" else "bfloat16"
    return other if _ARITHMETIC[other] & flags and not _ARITHMETIC[own] & flags else own


@cache
def cpu_flags() -> frozenset[str]:
    """Return the flags in /proc/cpuinfo; none where there is no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    names = ("flags", "Features")  # on x86 and on Arm
    flags = next((line.split(":", 1)[1] for line in lines if line.startswith(names) and ":" in line), "")
    return frozenset(flags.split())


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
