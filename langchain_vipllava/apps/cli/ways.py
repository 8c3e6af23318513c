"""The ways in which a checkpoint can be loaded on this machine, and which one the doctor recommends."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_vipllava.engine.cpu_flags import cpu_flags
from langchain_vipllava.engine.dtype_choice import (
    ANSWER_TOKENS,
    PROMPT_TOKENS,
    SMALL,
    answer_seconds,
    choose_dtype,
    in_gib,
)
from langchain_vipllava.engine.free_memory import free_bytes
from langchain_vipllava.engine.memory_plan import ParameterCount, available_devices
from langchain_vipllava.engine.quantization import misfit
from langchain_vipllava.protocol.load_options import DType, LoadOptions, Quantization

_KINDS: tuple[tuple[DType, Quantization | None], ...] = (
    ("float32", None),
    ("bfloat16", None),
    ("float16", None),
    ("auto", "8bit"),
    ("auto", "4bit"),
)
"""From exact to coarse."""

_WORTH = 1.5
"""How much faster a coarser way must be to be recommended. Chosen: estimates of a busy machine are off by a third."""

_TOLD = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8", "asimddp", "bf16")
"""Flags of the CPU that decide which kernels run; in the reason of the recommendation."""


@dataclass(frozen=True)
class Way:
    """A way to load the checkpoint on this machine.

    Attributes:
        options: as they are written on the command line.
        needs: bytes of the weights and a full context.
        free: free bytes of the device.
        missing: what keeps it from running besides memory, such as a package; "" for nothing.
        seconds: estimate for a question about an image and its answer, from a product measured here; None for a GPU,
            for a way that cannot run, and for a checkpoint so small that products do not decide.
    """

    options: str
    needs: int
    free: int
    missing: str = ""
    seconds: float | None = None

    @property
    def fits(self) -> bool:
        """Whether it would run."""
        return self.needs <= self.free and not self.missing

    @property
    def verdict(self) -> str:
        """What the doctor says of it."""
        if self.missing:
            return f"{in_gib(self.needs)}: needs {self.missing}"
        said = f"{in_gib(self.needs)} of {in_gib(self.free)} free: {'fits' if self.fits else 'does not fit'}"
        return said if self.seconds is None else f"{said}, about {self.seconds:,.0f} s an answer"


@dataclass(frozen=True)
class Recommendation:
    """The way that the doctor recommends.

    Attributes:
        options: as they are written on the command line.
        reason: why this one.
    """

    options: str
    reason: str


def list_ways(load_options: LoadOptions, config: Any, count: ParameterCount) -> list[Way]:
    """List every dtype and quantization on every device of this machine, and on a GPU if it has none.

    Args:
        load_options: of the checkpoint.
        config: the checkpoint's.
        count: its parameters.
    """
    here = available_devices()
    devices = here if any(device.startswith("cuda") for device in here) else [*here, "cuda"]
    ways = []
    for device in devices:
        free = free_bytes(device) if device in here else 0
        for dtype, quantization in _KINDS:
            if (quantization is not None and device == "mps") or (dtype == "float32" and device.startswith("cuda")):
                continue  # bitsandbytes has no kernels for MPS; nobody loads 32 bits on a GPU
            missing = "a CUDA GPU" if device not in here else misfit(config, quantization, device)
            if quantization is not None and not missing and not is_installed("bitsandbytes"):
                missing = "pip install 'langchain-vipllava[large]'"
            way = replace(load_options, device=device, dtype=dtype, quantization=quantization, attn_implementation=None)
            needs = choose_dtype(config, way, device, count, free).estimate.total
            named = f"--device {device} " + (f"--quantization {quantization}" if quantization else f"--dtype {dtype}")
            timed = device == "cpu" and not missing and count.total >= SMALL
            seconds = answer_seconds(quantization or dtype, count.quantizable) if timed else None
            ways.append(Way(named, needs, free, missing, seconds))
    return ways


def recommend(ways: Sequence[Way]) -> Recommendation | None:
    """Recommend the first way on a GPU that fits, or else the most exact one on the CPU that is fast enough.

    Args:
        ways: fastest device first, and exact ones before coarse ones.

    Returns:
        None if none fits.
    """
    fitting = [way for way in ways if way.fits]
    if not fitting:
        return None
    first = fitting[0]
    room = f"{in_gib(first.needs)} of {in_gib(first.free)} free"
    if first.seconds is None:
        return Recommendation(first.options, f"{room}; the most exact way on the fastest device")
    timed = [(way.seconds, way) for way in fitting if way.seconds is not None]
    fastest = min(seconds for seconds, _ in timed)
    seconds, chosen = next((seconds, way) for seconds, way in timed if seconds <= _WORTH * fastest)
    exact = next((way for way in ways if way.seconds is not None), chosen)
    against = f"; {exact.options} {exact.seconds:,.0f} s" if exact is not chosen else ""
    if not exact.fits:
        against += " and does not fit"
    flags = ", ".join(flag for flag in _TOLD if flag in cpu_flags()) or "none of the flags that kernels look for"
    return Recommendation(
        chosen.options,
        f"{in_gib(chosen.needs)} of {in_gib(chosen.free)} free; an answer of {ANSWER_TOKENS} tokens to a prompt of "
        f"{PROMPT_TOKENS} takes about {seconds:,.0f} s{against} (by products measured here; the CPU has {flags})",
    )


def is_installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None
