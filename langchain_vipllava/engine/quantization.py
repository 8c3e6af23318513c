"""Weights of 8 or 4 bits by bitsandbytes: which layers get them, and where."""

from __future__ import annotations

import ctypes
import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import torch
from transformers import modeling_utils

from langchain_vipllava.engine.cpu_flags import cpu_flags
from langchain_vipllava.engine.int8_product import use_scaled_product
from langchain_vipllava.engine.model_sizes import head_size
from langchain_vipllava.protocol.load_options import Quantization

_KEPT = ["model.vision_tower", "model.multi_modal_projector", "lm_head"]
"""Modules that keep their dtype, as in LLaVA's own code: 8% of the 7B's parameters. transformers would quantize the
first two."""

_BLOCK = 64
"""Weights that share a scale in 4 bits, by bitsandbytes' default; its CPU kernels want whole blocks in a row."""


def quantization_config(quantization: Quantization, dtype: torch.dtype) -> Any:
    """Return how transformers quantizes while it loads.

    Args:
        quantization: "8bit" or "4bit".
        dtype: of the arithmetic in 4 bits.
    """
    import_bitsandbytes()
    from transformers import BitsAndBytesConfig  # noqa: PLC0415  # after bitsandbytes, which it imports

    if quantization == "8bit":
        # The default of 6 takes columns with large activations out of the product: those of any row of the batch,
        # so that an answer would depend on what is asked beside it.
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0, llm_int8_skip_modules=list(_KEPT))
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_use_double_quant=True,
        llm_int8_skip_modules=list(_KEPT),  # of both widths, in spite of its name
    )


def misfit(config: Any, quantization: Quantization | None, device: str) -> str:
    """Say why a checkpoint cannot be quantized on a device; "" if it can be.

    Args:
        config: the checkpoint's.
        quantization: "8bit", "4bit" or None.
        device: torch device.
    """
    if quantization != "4bit" or not device.startswith("cpu"):
        return ""
    text = config.text_config
    sizes = {
        "hidden_size": text.hidden_size,
        "intermediate_size": text.intermediate_size,
        "attention heads": text.num_attention_heads * head_size(text),
        "key and value heads": text.num_key_value_heads * head_size(text),
    }
    wrong = [f"{name} {size}" for name, size in sizes.items() if size % _BLOCK]
    return f"layer sizes that are multiples of {_BLOCK}, not {', '.join(wrong)}" if wrong else ""


def slow_kernels(quantization: Quantization) -> str:
    """Say which instructions this CPU lacks for the fast kernels of bitsandbytes; "" if it lacks none."""
    if quantization == "8bit":  # torch._int_mm, which bitsandbytes takes on these CPUs alone
        return "" if torch.backends.cpu.get_cpu_capability() == "AVX512" else "AVX-512"
    return "" if import_bitsandbytes().functional.has_avx512bf16() else "AVX512_BF16"


@contextmanager
def files_read_not_mapped() -> Iterator[None]:
    """Let transformers read weights instead of mapping their files into memory, where safetensors can.

    Pages of a mapped file stay in this process until all of its files are loaded: for a 7B, 13 GiB beside the 8 that
    are kept. The kernel can drop them, but a person who watches the process, or a limit on it, does not know that.
    """
    mapped = modeling_utils.safe_open

    def read(*arguments: Any, **keywords: Any) -> Any:
        try:
            return mapped(*arguments, **{**keywords, "backend": "pread"})
        except TypeError:  # an older safetensors
            return mapped(*arguments, **keywords)

    modeling_utils.safe_open = read
    try:
        yield
    finally:
        modeling_utils.safe_open = mapped
        with suppress(AttributeError, OSError):  # only glibc has it; it kept 0.15 GB between the weights of a 7B
            ctypes.CDLL(None).malloc_trim(0)


def import_bitsandbytes() -> Any:
    """Import bitsandbytes without what it says for each product, and without what it would fetch.

    Beside the package `kernels`, importing bitsandbytes downloads a kernel from the hub and runs it. Code from the hub
    never runs here, and a load with `local_files_only` must not ask it.
    """
    for name, unwanted in _UNWANTED.items():
        logging.getLogger(f"bitsandbytes.{name}").addFilter(unwanted)
    if "bitsandbytes" not in sys.modules:
        kernels = sys.modules.get("kernels")
        sys.modules["kernels"] = None  # type: ignore[assignment]  # to Python, a module that cannot be imported
        try:
            importlib.import_module("bitsandbytes")
        finally:
            del sys.modules["kernels"]
            if kernels is not None:
                sys.modules["kernels"] = kernels
    _speed_up()
    return sys.modules["bitsandbytes"]


@cache
def _speed_up() -> None:
    """Take the faster product of 8 bits, where oneDNN has kernels for it; without VNNI their sums can overflow."""
    if not slow_kernels("8bit") and "avx512_vnni" in cpu_flags():
        use_scaled_product()


class _Without(logging.Filter):
    """Drops the records whose message has some words."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words

    def filter(self, record: logging.LogRecord) -> bool:
        return self._words not in str(record.msg)


_UNWANTED = {
    "autograd._functions": _Without("will be cast"),  # once for each product of 8 bits
    "backends.cpu.ops": _Without("kernels-community"),  # that `kernels` is not installed
}
