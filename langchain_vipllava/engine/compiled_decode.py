"""`CompiledDecode`: decoding steps as graphs whose shapes do not change from token to token."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

import torch

from langchain_vipllava.engine import decode_attention, fused_model
from langchain_vipllava.engine.cuda_graph import CudaGraph
from langchain_vipllava.engine.failures import is_out_of_memory
from langchain_vipllava.engine.fused_model import FusedModel
from langchain_vipllava.engine.kv_cache import BatchKVCache
from langchain_vipllava.engine.shared_attention import merge_groups, merge_two
from langchain_vipllava.engine.shared_prefix import SharedGroup

logger = logging.getLogger(__name__)

_BACKEND = "inductor"

WIDE_TOKENS = 32
"""Tokens of the wide step. Chosen: most questions have fewer, and a GPU takes as long for them as for one token, whose
time is that of reading the weights."""

_MAX_VARIANTS = 64
"""Limit of compiled variants of one function: for 1, 2, 4, 8 or 16 rows, of attention also for numbers of columns."""


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
    if attention not in fused_model.FUSED_ATTENTION:
        return False, f"a compiled step has its own attention instead of {attention}"
    if quantized:
        return False, "quantized weights use their own kernels"
    if multi_device:
        return False, "the model is spread over several devices"
    if compile_decode:
        return True, "compile_decode=True"
    if device.startswith("cuda"):
        return True, "on a GPU, launching the kernels of a step one by one takes longer than running them"
    return False, f"on {device.partition(':')[0]} it does not pay"


class CompilationError(Exception):
    """The decoding step cannot be compiled, for the reason of its message."""


@dataclass
class _Inputs:
    """What a step reads, for all allocated rows."""

    ids: torch.Tensor
    """The newest tokens of each row, (rows, tokens); the step replaces each by the one with the highest logit."""
    places: torch.Tensor
    """Position of each row's first token, first column of each row, and the last column to write, (2 * rows + 1,)"""


@dataclass(frozen=True)
class _Recorded:
    """A step that is recorded, what it reads, and for what it was recorded."""

    graph: CudaGraph[torch.Tensor]
    inputs: _Inputs
    cache: BatchKVCache
    version: int
    groups: tuple[SharedGroup, ...]

    def fits(self, cache: BatchKVCache) -> bool:
        """Whether the buffers of a KV cache are still where they were."""
        return self.cache is cache and self.version == cache.version


@dataclass(frozen=True)
class DecodedStep:
    """A step that was launched, and may still run on the device.

    Attributes:
        logits: (rows, vocabulary) float32, or (rows, tokens, vocabulary) of a step with several tokens; of a compiled
            step valid until the next one is launched.
        greedy: the token with the highest logit, (rows,) or (rows, tokens), on the CPU once the step is done.
        done: when that is; None: now.
    """

    logits: torch.Tensor
    greedy: torch.Tensor
    done: torch.cuda.Event | None = None

    @classmethod
    def of(cls, logits: torch.Tensor) -> DecodedStep:
        """Return the step with these logits. Its tokens are copied behind it, in front of what is launched next."""
        greedy = logits.argmax(dim=-1)
        if greedy.device.type != "cuda":
            return cls(logits, greedy.cpu())
        on_host = torch.empty(greedy.shape, dtype=greedy.dtype, pin_memory=True)
        on_host.copy_(greedy, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(greedy.device))  # the current device may be another one
        return cls(logits, on_host, done)

    def at(self, place: int) -> DecodedStep:
        """Return what a step with several tokens says after one of them."""
        return DecodedStep(self.logits[:, place], self.greedy[:, place], self.done)

    def tokens(self) -> list[int]:
        """Wait for the step, and return the token with the highest logit of each row."""
        if self.done is not None:
            self.done.synchronize()
        return [int(token) for token in self.greedy.tolist()]


class _Functions:
    """The functions of a layer, compiled.

    Args:
        compiled: whether to compile them.
        one_row: compile for one row on a GPU: products of a matrix and a vector are then tuned, which takes the
            compiler some 20 s instead of 4. With more rows they are products of matrices, which cuBLAS computes.
    """

    def __init__(self, *, compiled: bool, one_row: bool) -> None:
        if not compiled:
            self.project, self.attend = fused_model.project, fused_model.attend_newest
            self.activate, self.descend = fused_model.activate, fused_model.descend
            self.compute_logits, self.write = fused_model.compute_logits, fused_model.write
            self.merge = merge_two
            return
        options: dict[str, str | int | bool] | None = None
        if one_row and _BACKEND == "inductor":
            options = {"coordinate_descent_tuning": True}
        compile_ = partial(torch.compile, backend=_BACKEND, options=options)
        self.project = compile_(fused_model.project, dynamic=False)
        # the columns become dynamic once they differ
        self.attend, self.write = compile_(fused_model.attend_newest), compile_(fused_model.write)
        self.merge = compile_(merge_two)
        self.activate = compile_(fused_model.activate, dynamic=False)
        self.descend = compile_(fused_model.descend, dynamic=False)
        self.compute_logits = compile_(fused_model.compute_logits, dynamic=False)


class CompiledDecode:
    """Runs a model for the newest tokens of every row.

    The functions of a layer are compiled once for all layers, and once for each number of allocated rows (1, 2, 4, 8,
    16). On CUDA the whole step is then recorded, again each time the buffers of the KV cache move.

    The wide step computes `WIDE_TOKENS` tokens of one row: a follow-up question, or a guess of what an answer says. It
    is recorded, and not compiled.

    Args:
        model: the fused model.
        compiled: whether to compile its functions; without, their kernels are only recorded.
    """

    def __init__(self, model: FusedModel, *, compiled: bool) -> None:
        self._model, self._is_compiled = model, compiled
        self._recorded: dict[int, _Recorded] = {}  # by the number of tokens
        self._good: set[tuple[int, int]] = set()  # numbers of rows and tokens for which it compiled
        self._functions: dict[tuple[bool, bool], _Functions] = {}  # by whether there is one row, and one token

    def __call__(self, ids: list[list[int]] | None, positions: list[int], cache: BatchKVCache) -> DecodedStep:
        """Launch a step, and write the keys and values of each row's newest tokens to the last columns.

        Args:
            ids: the newest tokens of each row: one, or `WIDE_TOKENS`. None: one, the most likely one of the step
                before, which may still run.
            positions: of the first of them in the sequence.
            cache: the KV cache, with the last columns not computed yet.

        Returns:
            A step with as many tokens.

        Raises:
            CompilationError: a first step for a number of rows fails, or recording one. Any other error is one of the
                model or the device, and is raised as it is.
        """
        tokens = 1 if ids is None else len(ids[0])
        rows = _computed_rows(cache, tokens)
        if (rows, tokens) in self._good:
            return self._run(ids, positions, cache, tokens)
        if self._is_compiled and tokens == 1:
            logger.info("compiling the decoding step for %d rows, once per process", rows)
        try:
            step = self._run(ids, positions, cache, tokens)
        except Exception as error:
            raise _as_compilation_error(error) from error
        self._good.add((rows, tokens))
        return step

    def without_compiler(self) -> CompiledDecode | None:
        """Return what decodes after a `CompilationError`: the same without a compiler; None if that is no better."""
        is_worse = not self._is_compiled or self._model.device.type != "cuda"
        return None if is_worse else CompiledDecode(self._model, compiled=False)

    def forget(self) -> None:
        """Drop recorded graphs and their inputs, and with them the last references to the buffers that they use."""
        self._recorded.clear()

    def forget_prefixes(self) -> None:
        """Drop recorded graphs that read shared prefixes, which the prefix cache may evict."""
        self._recorded = {tokens: recorded for tokens, recorded in self._recorded.items() if not recorded.groups}

    def _run(self, ids: list[list[int]] | None, positions: list[int], cache: BatchKVCache, tokens: int) -> DecodedStep:
        rows = _computed_rows(cache, tokens)
        unused = rows - len(positions)  # unused rows are computed too: shapes do not depend on their number
        padded: list[list[int]] | torch.Tensor | None = None if ids is None else ids + [[0] * tokens] * unused
        positions = positions + [0] * unused
        with torch._dynamo.config.patch(cache_size_limit=_MAX_VARIANTS):
            groups = cache.shared_groups(slice(0, rows - unused))
            if (recorded := self._fitting(cache, groups, tokens)) is None:
                recorded, latest = self._record(padded, positions, cache, groups, tokens)
                padded = latest if padded is None else padded  # warming up replaced them
            self._write(recorded.inputs, padded, positions, cache)
            return DecodedStep.of(recorded.graph()[: rows - unused])

    def _fitting(self, cache: BatchKVCache, groups: tuple[SharedGroup, ...], tokens: int) -> _Recorded | None:
        recorded = self._recorded.get(tokens)
        return recorded if recorded is not None and recorded.fits(cache) and recorded.groups == groups else None

    def _record(
        self,
        ids: list[list[int]] | torch.Tensor | None,
        positions: list[int],
        cache: BatchKVCache,
        groups: tuple[SharedGroup, ...],
        tokens: int,
    ) -> tuple[_Recorded, torch.Tensor]:
        """Record a step, in place of one that does not fit, which is dropped first: both take memory.

        Returns:
            The step, and the tokens that `ids=None` stands for, (rows, tokens).
        """
        rows = len(positions)
        make = partial(torch.zeros, dtype=torch.long, device=self._model.device)
        latest = self._recorded[tokens].inputs.ids if tokens in self._recorded else make(rows, tokens)
        self._recorded = {n: other for n, other in self._recorded.items() if n != tokens and other.fits(cache)}
        inputs = _Inputs(make(rows, tokens), make(2 * rows + 1))
        self._write(inputs, ids, positions, cache)
        try:
            warm_ups = 1 if (rows, tokens) in self._good else 2
            graph = CudaGraph(partial(self._step, inputs, cache, groups), self._model.device, warm_ups=warm_ups)
        except Exception as error:
            raise _as_compilation_error(error) from error
        recorded = self._recorded[tokens] = _Recorded(graph, inputs, cache, cache.version, groups)
        return recorded, latest

    def _write(
        self, inputs: _Inputs, ids: list[list[int]] | torch.Tensor | None, positions: list[int], cache: BatchKVCache
    ) -> None:
        """Copy what a step reads to the device, behind the steps that run there."""
        starts = cache.row_starts + [0] * (len(positions) - len(cache.row_starts))
        inputs.places.copy_(self._on_host([*positions, *starts, cache.width - 1]), non_blocking=True)
        if ids is not None:
            inputs.ids.copy_(ids if isinstance(ids, torch.Tensor) else self._on_host(ids), non_blocking=True)

    def _on_host(self, numbers: list[int] | list[list[int]]) -> torch.Tensor:
        """Make a tensor that is copied to a GPU without waiting for what runs there."""
        return torch.tensor(numbers, pin_memory=self._model.device.type == "cuda")

    def _functions_for(self, rows: int, tokens: int) -> _Functions:
        kind = (rows == 1, tokens == 1)
        if kind not in self._functions:
            one_row = rows == 1 and self._model.device.type == "cuda"
            self._functions[kind] = _Functions(compiled=self._is_compiled and tokens == 1, one_row=one_row)
        return self._functions[kind]

    def _step(self, inputs: _Inputs, cache: BatchKVCache, groups: tuple[SharedGroup, ...]) -> torch.Tensor:
        """Compute the logits of the first rows, (rows, tokens, vocabulary); the best tokens become `inputs.ids`."""
        model, (allocated, columns), (rows, tokens) = self._model, cache.capacity, inputs.ids.shape
        functions = self._functions_for(rows, tokens)
        firsts, starts, last = torch.split(inputs.places, [rows, rows, 1])
        positions, written = firsts[:, None], last  # of each token, (rows, tokens); its column, (tokens,)
        if tokens > 1:  # or each of these lines is a kernel more
            offsets = torch.arange(tokens, device=model.device)
            positions, written = positions + offsets, last - (tokens - 1) + offsets
        hidden = torch.nn.functional.embedding(inputs.ids, model.embeddings)  # (rows, tokens, hidden)
        cos, sin = model.rotations(hidden, positions)
        if self._is_compiled and tokens == 1 and decode_attention.can_attend(model.device, model.heads.size):
            attend = partial(decode_attention.attend, starts=starts, column=last)
        else:
            numbers = torch.arange(columns, device=model.device)
            seen = (numbers >= starts[:, None, None]) & (numbers <= written[:, None])  # (rows, tokens, columns)
            attend = partial(functions.attend, bias=torch.where(seen, 0.0, torch.finfo(torch.float32).min)[:, None])
        for number, (weights, layer) in enumerate(zip(model.layers, cache.layers, strict=True)):
            queries, keys, values = functions.project(hidden, weights, cos, sin, model.heads)
            buffers = layer.keys, layer.values
            if rows < allocated:
                buffers = layer.keys[:rows], layer.values[:rows]
            functions.write(*buffers, keys, values, written)
            attended, logs = attend(queries, *buffers)
            attended = merge_groups(queries, attended, logs, groups, number, functions.merge)
            attended = attended.transpose(1, 2).reshape(rows, tokens, -1)  # (rows, tokens, query heads * head size)
            hidden, activations = functions.activate(hidden, attended, weights, model.heads)
            hidden = functions.descend(hidden, activations, weights)
        logits = functions.compute_logits(hidden, model.norm, model.head, model.heads)
        inputs.ids.copy_(logits.argmax(dim=-1))
        return logits


def _computed_rows(cache: BatchKVCache, tokens: int) -> int:
    """Return how many rows a step computes: all that are allocated, but only the first for several tokens."""
    return cache.capacity[0] if tokens == 1 else 1


def _as_compilation_error(error: Exception) -> Exception:
    """Return the error of a step that compiles or records; out of memory is nobody's fault but the device's."""
    if is_out_of_memory(error) or isinstance(error, CompilationError):
        return error
    return CompilationError(f"{type(error).__name__}: {error}".strip().splitlines()[0])
