"""`CompiledDecode`: the decoding step as a compiled graph whose shapes do not change from token to token."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import torch
import transformers

from langchain_vipllava.engine.kv_cache import BatchKVCache, cache_argument

logger = logging.getLogger(__name__)

_BACKEND = "inductor"

_MAX_GRAPHS = 64
"""Limit of compiled graphs. Chosen above the number of sizes: 1, 2, 4, 8 or 16 rows of one to five times 1024 columns
(`kv_cache.COMPILED_COLUMN_MULTIPLE`), as a full context of 4096 tokens needs some spare columns."""


def choose_decode(
    compile_decode: bool | None, *, device: str, attention: str, quantized: bool = False, multi_device: bool = False
) -> tuple[bool, str]:
    """Decide whether to compile the decoding step.

    Args:
        compile_decode: True or False decides where compiling is possible; None compiles where it pays.
        device: torch device of the model.
        attention: attention implementation of the language model.
        quantized: whether the weights are packed in 4 or 8 bits.
        multi_device: whether the model is spread over several devices.

    Returns:
        The decision, and the reason for it.
    """
    if compile_decode is False:
        return False, "compile_decode=False"
    if attention not in ("sdpa", "eager"):
        return False, f"{attention} does not take the mask of a compiled step"
    if int(transformers.__version__.split(".")[0]) < 5:  # its mask shapes depend on the number of tokens
        return False, f"transformers {transformers.__version__} is older than 5"
    if quantized:
        return False, "quantized weights use their own kernels"
    if multi_device:
        return False, "the model is spread over several devices"
    if compile_decode:
        return True, "compile_decode=True"
    if device.startswith("cuda"):
        return True, "on a GPU, launching the kernels of a step one by one takes longer than running them"
    return False, f"on {device.partition(':')[0]} it does not pay"


_GRAPH_TRIAL_CALLS = 2
"""Calls that may fail because a step cannot be compiled, with CUDA graphs: torch warms up in the first and captures the
graph in the second. Not tried: no GPU was at hand."""


class CompilationError(Exception):
    """The decoding step cannot be compiled, for the reason of its message."""


class CompiledDecode:
    """Runs a model for the newest token of every row.

    Args:
        model: a `VipLlavaForConditionalGeneration` on one device.
    """

    def __init__(self, model: Any) -> None:
        self._language_model, self._head = model.model.language_model, model.lm_head
        self._cache_argument = cache_argument(self._language_model)
        self._embed = model.get_input_embeddings()
        self._device, self._dtype = model.device, model.dtype
        mode = "reduce-overhead" if self._device.type == "cuda" and _BACKEND == "inductor" else None
        self._run = torch.compile(self._step, backend=_BACKEND, mode=mode, dynamic=False)
        self._trial_calls = 1 if mode is None else _GRAPH_TRIAL_CALLS
        self._good_calls: Counter[tuple[int, int]] = Counter()  # by capacity of the cache

    def __call__(self, ids: list[int], positions: list[int], cache: BatchKVCache) -> torch.Tensor:
        """Compute the logits after the newest token of each row, and write its keys and values to the last column.

        Args:
            ids: the newest token of each row.
            positions: its position in the sequence.
            cache: the KV cache, with the last column not computed yet.

        Returns:
            Float32 logits, (rows, vocabulary).

        Raises:
            CompilationError: a call that compiles or captures a graph for this capacity of the cache fails: the first,
                with CUDA graphs the first two. Any error of a later call is one of the model or the device, and is
                raised as it is.
        """
        if self._good_calls[cache.capacity] >= self._trial_calls:
            return self._run_padded(ids, positions, cache)
        if not self._good_calls[cache.capacity]:
            logger.info("compiling the decoding step for %d rows of %d tokens, once per process", *cache.capacity)
        try:
            logits = self._run_padded(ids, positions, cache)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise CompilationError(f"{type(error).__name__}: {error}".strip().splitlines()[0]) from error
        self._good_calls[cache.capacity] += 1
        return logits

    def _run_padded(self, ids: list[int], positions: list[int], cache: BatchKVCache) -> torch.Tensor:
        """Run the compiled step for all allocated rows, and return the logits of those in use, (rows, vocabulary)."""
        rows, columns = cache.capacity
        unused = [0] * (rows - len(ids))  # unused rows are computed too: shapes do not depend on how many are in use
        # (allocated rows, 1, 1, allocated columns), added to the attention scores
        mask = torch.full((rows, 1, 1, columns), torch.finfo(self._dtype).min, dtype=self._dtype)
        for row, start in enumerate([*cache.row_starts, *unused]):
            mask[row, ..., start : cache.width] = 0
        ids_column, positions_column = (
            torch.tensor([numbers + unused]).T.to(self._device) for numbers in (ids, positions)
        )  # (allocated rows, 1) each
        with torch._dynamo.config.patch(cache_size_limit=_MAX_GRAPHS), cache.full_buffers():
            if self._device.type == "cuda":
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            logits: torch.Tensor = self._run(ids_column, positions_column, mask.to(self._device), cache)
        return logits[: len(ids)].clone()  # a CUDA graph writes its next result to the same memory

    def _step(
        self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: BatchKVCache
    ) -> torch.Tensor:
        output = self._language_model(
            inputs_embeds=self._embed(ids),  # (allocated rows, 1, hidden)
            position_ids=positions,
            attention_mask=mask,
            use_cache=True,
            **{self._cache_argument: cache},
        )
        logits: torch.Tensor = self._head(output.last_hidden_state[:, -1])  # (allocated rows, vocabulary)
        return logits.float()
