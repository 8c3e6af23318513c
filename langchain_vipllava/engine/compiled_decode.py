"""`CompiledDecode`: one token for every row, as a compiled graph whose shapes stay the same from token to token."""

from __future__ import annotations

import logging
from typing import Any

import torch
import transformers

from langchain_vipllava.engine.kv_cache import BatchKVCache

logger = logging.getLogger(__name__)

COLUMNS = 1024
"""Grain of the buffers' columns when decoding is compiled: one graph serves so many tokens."""

_BACKEND = "inductor"
_MOST_GRAPHS = 64
"""More than there are sizes: 1, 2, 4, 8 or 16 rows of one to four grains of columns."""


def choose_decode(
    wanted: bool | None, *, device: str, attention: str, quantized: bool = False, spread: bool = False
) -> tuple[bool, str]:
    """Whether decoding should be compiled, and why.

    Args:
        wanted: True or False decides where it can be done; None compiles where it pays.
        device: torch device of the model.
        attention: its attention implementation.
        quantized: whether its weights are packed in 4 or 8 bits.
        spread: whether it lies on several devices.
    """
    if wanted is False:
        return False, "compile_decode=False"
    if attention not in ("sdpa", "eager"):
        return False, f"{attention} does not take the mask of a compiled step"
    if int(transformers.__version__.split(".")[0]) < 5:  # its masks depend on the tokens so far
        return False, f"transformers {transformers.__version__} is older than 5"
    if quantized:
        return False, "packed weights have kernels of their own"
    if spread:
        return False, "the model is spread over several devices"
    if wanted:
        return True, "compile_decode=True"
    if device.startswith("cuda"):
        return True, "on a GPU, starting the kernels of a step one by one takes longer than running them"
    return False, f"on {device.partition(':')[0]} it does not pay"


class CompiledDecode:
    """Runs a model for the newest token of every row.

    Args:
        model: a `VipLlavaForConditionalGeneration`, all of it on one device.
    """

    def __init__(self, model: Any) -> None:
        self._language_model, self._head = model.model.language_model, model.lm_head
        self._embed = model.get_input_embeddings()
        self._device, self._dtype = model.device, model.dtype
        mode = "reduce-overhead" if self._device.type == "cuda" and _BACKEND == "inductor" else None
        self._run = torch.compile(self._step, backend=_BACKEND, mode=mode, dynamic=False)
        self._seen: set[tuple[int, int]] = set()

    def __call__(self, ids: list[int], positions: list[int], cache: BatchKVCache) -> torch.Tensor:
        """Logits (rows, vocabulary) behind the newest ids, whose keys and values go into the cache's last column."""
        rows, columns = cache.capacity
        if (rows, columns) not in self._seen:
            self._seen.add((rows, columns))
            logger.info("compiling the decoding step for %d rows of %d tokens; once per process", rows, columns)
        spare = [0] * (rows - len(ids))  # rows that nobody uses run along: no shape depends on how many do
        mask = torch.full((rows, 1, 1, columns), torch.finfo(self._dtype).min, dtype=self._dtype)
        for row, start in enumerate([*cache.starts, *spare]):
            mask[row, ..., start : cache.width] = 0
        newest, places = (torch.tensor([numbers + spare]).T.to(self._device) for numbers in (ids, positions))
        with torch._dynamo.config.patch(cache_size_limit=_MOST_GRAPHS), cache.whole():
            if self._device.type == "cuda":
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            logits: torch.Tensor = self._run(newest, places, mask.to(self._device), cache)
        return logits[: len(ids)].clone()  # a graph writes its next result to the same place

    def _step(
        self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: BatchKVCache
    ) -> torch.Tensor:
        output = self._language_model(
            inputs_embeds=self._embed(ids),
            position_ids=positions,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
        )
        logits: torch.Tensor = self._head(output.last_hidden_state[:, -1])
        return logits.float()
