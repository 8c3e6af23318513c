"""`LoadOptions`: which checkpoint to load, and how."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from langchain_vipllava.errors import CheckpointError, shorten
from langchain_vipllava.prompt.formats import PromptFormatName

DType = Literal["auto", "float16", "bfloat16", "float32"]
Quantization = Literal["8bit", "4bit"]

BUNDLED = "bundled"
BUNDLED_FOLDER = Path(__file__).parent.parent / "bundled"

MAX_LOOKUP_TOKENS = 64
"""Most tokens that are guessed at once. Chosen: a wider forward pass costs more than the steps that it saves."""

TRAINED_FORMATS: Mapping[str, PromptFormatName] = MappingProxyType(
    {
        BUNDLED: "user_assistant",
        "llava-hf/vip-llava-7b-hf": "llava_v1",
        "llava-hf/vip-llava-13b-hf": "llava_v1",
    }
)
"""Prompt formats with which checkpoints were trained, where that is known. The published ones: PROMPT_VERSION in
`scripts/finetune_stage2.sh` and `finetune_stage3.sh` of the ViP-LLaVA repository. The bundled one: `training/`."""


@dataclass(frozen=True)
class LoadOptions:
    """Arguments of a load; equal options share one loaded model.

    Attributes:
        model: hub id, folder, or "bundled" for the small checkpoint inside the package.
        dtype: "auto" (the checkpoint's own on a GPU; on a CPU float32, or 16 bits where that does not fit), "float16",
            "bfloat16" or "float32".
        device: "auto" (CUDA, then Apple's MPS, then CPU), or a torch device such as "cuda:1".
        device_map: spreads the model as accelerate does ("auto", or pairs of module and device); overrides `device`.
        quantization: "8bit" or "4bit" weights of the language model by bitsandbytes, on a CUDA GPU or a CPU.
        attn_implementation: "sdpa", "eager", "flash_attention_2", ...; None lets transformers choose.
        revision: branch, tag or commit on the hub.
        local_files_only: never ask the hub.
        cache_bytes: bound of the engine's prefix cache; None for the engine's own choice, 0 for no prefix cache. Image
            features have their own bound of 256 MiB.
        compile_decode: whether to compile the decoding step; None where it pays (on a CUDA GPU).
        prompt_lookup_num_tokens: how many tokens of an answer to guess at most from what the prompt and the answer
            say, and check in one forward pass; None for none.

    Raises:
        CheckpointError: an unknown dtype, quantization or device; a negative bound.
    """

    model: str
    dtype: DType = "auto"
    device: str = "auto"
    device_map: str | tuple[tuple[str, Any], ...] | None = None
    quantization: Quantization | None = None
    attn_implementation: str | None = None
    revision: str | None = None
    local_files_only: bool = False
    cache_bytes: int | None = None
    compile_decode: bool | None = None
    prompt_lookup_num_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in get_args(DType):
            raise CheckpointError(f"dtype={self.dtype!r}; expected one of {', '.join(get_args(DType))}.")
        if not re.fullmatch(r"[a-z]+(:\d+)?", self.device):
            raise CheckpointError(f"device={self.device!r}; expected 'auto', 'cuda', 'cuda:1', 'mps' or 'cpu'.")
        if self.cache_bytes is not None and self.cache_bytes < 0:
            raise CheckpointError(f"cache_bytes={self.cache_bytes}; expected 0 or more bytes.")
        lookup = self.prompt_lookup_num_tokens
        if lookup is not None and (type(lookup) is not int or not 0 <= lookup <= MAX_LOOKUP_TOKENS):
            raise CheckpointError(
                f"prompt_lookup_num_tokens={shorten(lookup)}; expected 0 to {MAX_LOOKUP_TOKENS} tokens, or None."
            )
        if self.quantization not in (None, *get_args(Quantization)):
            raise CheckpointError(f"quantization={self.quantization!r}; expected '8bit', '4bit' or None.")
        try:
            hash(self.device_map)
        except TypeError as error:
            raise CheckpointError(
                f"device_map={self.device_map!r}; expected the names of devices by the names of modules."
            ) from error

    @property
    def source(self) -> str:
        """What transformers is asked for: a hub id or a folder."""
        return str(BUNDLED_FOLDER) if self.model == BUNDLED else self.model
