"""`Engine`: many answers at once, a token each per step, nothing computed twice.

A step is: schedule (who may begin), prefill (what is new of their prompts), decode (one token
for every row), and hand over what is finished. Rows join and leave between any two tokens.
"""

from __future__ import annotations

import logging
import math
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from langchain_vipllava.engine.compiled_decode import COLUMNS, CompiledDecode
from langchain_vipllava.engine.image_features import ImageFeatureCache
from langchain_vipllava.engine.kv_cache import BatchKVCache, KVShape
from langchain_vipllava.engine.prefix_cache import PrefixCache, TokenKey, common_length
from langchain_vipllava.engine.sequence import Sequence
from langchain_vipllava.errors import GenerationError, VipLlavaError

logger = logging.getLogger(__name__)

MAX_ROWS = 16
"""Most answers that are written at once."""

PREEMPT_AFTER_TOKENS = 64
"""Tokens after which an answer makes room when others wait and every row is taken."""

MAX_PREFILL = 4096
"""New prompt tokens after which no further prompt joins a step, so that the answers under way do not stall."""

MAX_BATCHED_TOKENS = {"cpu": 1024}
"""Prompt tokens that one forward pass computes, by type of device; elsewhere MAX_PREFILL. Two prompts with an image
take a CPU longer together than one after the other: what passes between layers no longer fits its caches."""

_GOOD_STEPS = 256
"""Steps without a failure after which one row more is tried, where a failure has made them fewer."""

_WORTH_WAITING = 16
"""Tokens that two prompts must share for the second to wait until the first is computed."""


class Engine:
    """Runs a model; for one thread at a time.

    Args:
        model: a `VipLlavaForConditionalGeneration`.
        cache_bytes: bound of the keys and values that are kept for later prompts.
        feature_bytes: bound of the image features that are kept.
        compiled: whether to compile the decoding step.
    """

    def __init__(self, model: Any, *, cache_bytes: int, feature_bytes: int, compiled: bool = False) -> None:
        self.prefixes = PrefixCache(cache_bytes)
        self.features = ImageFeatureCache(model, feature_bytes)
        self.waiting: deque[Sequence] = deque()
        self.rows: list[Sequence] = []
        self.max_rows = MAX_ROWS
        self._good_steps = 0
        self.reused_tokens = 0
        self.compile_failure: str | None = None
        self._model = model
        self._language_model = model.model.language_model
        self._embed = model.get_input_embeddings()
        self._devices = [next(layer.parameters()).device for layer in self._language_model.layers]
        self._compiled = CompiledDecode(model) if compiled else None
        self._cache = self._no_rows()
        text = model.config.text_config
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        self._most_together = MAX_BATCHED_TOKENS.get(self._devices[0].type, MAX_PREFILL)
        self._shape = KVShape(text.num_key_value_heads, size, model.dtype)

    @property
    def busy(self) -> bool:
        """Whether there is work."""
        return bool(self.waiting or self.rows)

    @torch.inference_mode()
    def step(self) -> None:
        """Bring every answer forward by one token; a failure ends only the answer at fault."""
        self._release()
        budget = MAX_PREFILL if self.rows else math.inf
        while budget > 0:  # again: some wait for what others begin with
            group, new = self._schedule(budget)
            if not group:
                break
            self._run_with_oom_retry(self._prefill, group)
            self._release()
            budget = min(budget, MAX_PREFILL) - max(new, MAX_PREFILL // MAX_ROWS)  # what is all known costs a pass too
        if self.rows:
            self._run_with_oom_retry(self._decode, list(self.rows))
        self._good_steps += 1
        if not self.busy:
            self.max_rows = MAX_ROWS
            if self._cache.bytes > self.prefixes.max_bytes // 4:
                self._cache = self._no_rows()
        elif self._good_steps % _GOOD_STEPS == 0:
            self.max_rows = min(self.max_rows + 1, MAX_ROWS)

    def abort(self, error: Exception) -> None:
        """End every answer with an error and begin afresh: for a failure that no step expects."""
        touched = [*self.rows, *self.waiting]
        self.forget()
        for sequence in touched:
            sequence.fail(explain(error, sequence))

    def forget(self) -> None:
        """Drop every answer, and all that is kept."""
        self.waiting.clear()
        self._forget_computed()

    def _forget_computed(self) -> None:
        self.rows, self._cache = [], self._no_rows()
        self.prefixes.clear()
        self.features.clear()

    def _no_rows(self) -> BatchKVCache:
        return BatchKVCache(self._devices, *([] if self._compiled is None else [COLUMNS]))

    def _schedule(self, budget: float) -> tuple[list[Sequence], int]:
        """Take the next answers that can begin together, first come, first served, while a budget of tokens lasts.

        Returns:
            The answers, and how many tokens of their prompts are new.
        """
        for sequence in [waiting for waiting in self.waiting if waiting.finished]:  # cancelled before they began
            self.waiting.remove(sequence)
            sequence.deliver()
        if self.waiting and len(self.rows) >= self.max_rows:
            self._make_room()
        group: list[Sequence] = []
        new = 0
        for sequence in list(self.waiting):
            if len(self.rows) + len(group) >= self.max_rows or new >= budget:
                break
            known = self.prefixes.known(sequence.key)
            shares = any(common_length(sequence.key, other.key) >= known + _WORTH_WAITING for other in group)
            if not (shares and self.prefixes.max_bytes):
                new += sequence.length - known
                group.append(sequence)
        for sequence in group:  # only now: whatever fails above, nobody is forgotten
            self.waiting.remove(sequence)
        return group, new

    def _make_room(self) -> None:
        """Send the answer that has had the longest turn to the end of the queue."""
        sequence = max(self.rows, key=lambda row: row.tokens_since_admission)
        if sequence.tokens_since_admission >= PREEMPT_AFTER_TOKENS:
            self._free_row(sequence)
            self.waiting.append(sequence)

    def _prefill(self, group: list[Sequence]) -> None:
        """Compute what is new of some prompts, those alike in size in one padded batch, and give each a row."""
        batches = batch_prompts({s: s.length - self._known(s) for s in group}, self._most_together)
        # where less is new than in the neighbours, known tokens are computed again instead of padding: no row has a gap
        known = {sequence: max(sequence.length - most, 0) for batch, most in batches for sequence in batch}
        features = self.features.of([image for s, start in known.items() for image in s.prompt.after(start)])
        prefixes = [self.prefixes.find(sequence.key, start) for sequence, start in known.items()]
        self._cache.add(prefixes, [sequence.length for sequence in known], self._shape)
        del prefixes
        first = len(self.rows)
        self.rows += known
        for batch, most in batches:
            embedded = [self._embed_from(s, known[s], features) for s in batch]
            embeddings = torch.stack([torch.nn.functional.pad(e, (0, 0, most - len(e), 0)) for e in embedded])
            positions = torch.stack([torch.arange(s.length - most, s.length) for s in batch]).clamp(min=0)
            logits = self._forward(embeddings, positions, slice(first, first + len(batch)))
            for row, sequence in enumerate(batch, first):
                sequence.tokens_since_admission = 0
                if sequence.reused is None:
                    sequence.reused = known[sequence]
                    self.reused_tokens += known[sequence]
                self._remember(sequence.key, partial(self._cache.columns, row))
            self._write(batch, logits)
            first += len(batch)

    def _decode(self, rows: list[Sequence]) -> None:
        """One token for every row."""
        ids = [sequence.writer.ids[-1] for sequence in rows]
        positions = [sequence.length - 1 for sequence in rows]
        self._cache.add_column()
        logits = self._decode_compiled(ids, positions)
        if logits is None:
            embeddings = self._embed(torch.tensor(ids, device=self._embed.weight.device)[:, None])
            logits = self._forward(embeddings, torch.tensor(positions)[:, None], slice(0, len(rows)))
        self._write(rows, logits)

    def _decode_compiled(self, ids: list[int], positions: list[int]) -> torch.Tensor | None:
        """Logits by the compiled step; None where there is none, or it cannot be compiled."""
        if self._compiled is None:
            return None
        try:
            return self._compiled(ids, positions, self._cache)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a compiler that is missing or broken is no reason not to answer
            self.compile_failure = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            logger.warning("the decoding step cannot be compiled, and runs as it is: %s", self.compile_failure)
            self._compiled = None
            return None

    def _forward(self, embeddings: torch.Tensor, positions: torch.Tensor, rows: slice) -> torch.Tensor:
        """Run the newest tokens of some rows, (rows, new tokens, hidden size); logits of the last ones."""
        with self._cache.window(rows, embeddings.shape[1]) as mask:
            output = self._language_model(
                inputs_embeds=embeddings,
                position_ids=positions.to(embeddings.device),
                attention_mask=None if mask is None else mask.to(embeddings.device),
                past_key_values=self._cache,
                use_cache=True,
            )
        logits: torch.Tensor = self._model.lm_head(output.last_hidden_state[:, -1])
        return logits.float()

    def _write(self, rows: list[Sequence], logits: torch.Tensor) -> None:
        """Choose a token for each row and hand it to its answer."""
        likeliest = logits.argmax(dim=-1).tolist()
        for sequence, token, scores in zip(rows, likeliest, logits, strict=True):
            try:
                chosen = token if sequence.sampler.is_greedy else sequence.sampler.choose(scores)
                sequence.stamp("first_token")
                sequence.tokens_since_admission += 1
                sequence.writer.add(chosen, last=sequence.sampler.complete)
            except Exception as error:  # its own fault (no token fits its schema, say): the other rows go on
                logger.debug("an answer failed", exc_info=True)
                sequence.fail(explain(error, sequence))

    def _release(self) -> None:
        """Hand finished answers over and give their rows free."""
        # from the last one on: it takes the place of a row that is given free, so nothing moves when all are finished
        for sequence in [row for row in reversed(self.rows) if row.finished]:
            try:
                self._free_row(sequence)
            finally:
                sequence.deliver()

    def _free_row(self, sequence: Sequence) -> None:
        """Free a row; what was computed in it is kept for later prompts."""
        row = self.rows.index(sequence)
        computed = sequence.key[: self._cache.width - self._cache.starts[row]]
        self._remember(computed, partial(self._cache.columns, row))
        self._cache.drop(row)
        self.rows[row] = self.rows[-1]
        self.rows.pop()

    def _remember(self, ids: TokenKey, copy: Callable[[int], torch.Tensor]) -> None:
        """Keep what was computed of a prompt or an answer, if there is memory for it."""
        try:
            self.prefixes.add(ids, copy)
        except Exception:  # the answer matters, not what it leaves behind
            logger.debug("keys and values of %d tokens are not kept", len(ids), exc_info=True)
            self.prefixes.clear()

    def _known(self, sequence: Sequence) -> int:
        """How many tokens are known of a prompt that begins; at least one is left to compute."""
        sequence.stamp("begun")
        return min(self.prefixes.known(sequence.key), sequence.length - 1)

    def _embed_from(self, sequence: Sequence, start: int, features: dict[int, torch.Tensor]) -> torch.Tensor:
        """Embeddings (tokens, hidden size) of a prompt from a token on; an image's are its features."""
        embedded: torch.Tensor = self._embed(torch.tensor(sequence.ids[start:], device=self._embed.weight.device))
        for image in sequence.prompt.after(start):
            begin = max(image.start, start)
            end = image.start + image.tokens
            embedded[begin - start : end - start] = features[image.key][begin - image.start :].to(embedded)
        return embedded

    def _run_with_oom_retry(self, work: Callable[[list[Sequence]], None], group: list[Sequence]) -> None:
        """Do work for a group. If it fails, free memory and try again with less at once; a last one gets the error."""
        try:
            work(group)
        except Exception as error:
            logger.debug("a step with %d answers failed", len(group), exc_info=True)
            touched = [*self.rows, *(sequence for sequence in group if sequence not in self.rows)]
            self._forget_computed()  # who knows what is in it; it is computed again
            self._good_steps = 0
            first, alone = group[0], len(touched) == 1
            hopeless = not isinstance(error, torch.OutOfMemoryError) or (alone and first.retried)
            if len(group) == 1 and hopeless:
                touched.remove(first)
                first.fail(explain(error, first))
            else:
                first.retried |= alone  # once more, now that nothing is kept
                self.max_rows = max(1, len(touched) // 2)
            self.waiting.extendleft(reversed(touched))


def batch_prompts(prompts: Mapping[Sequence, int], most: int) -> list[tuple[list[Sequence], int]]:
    """Sort prompts into batches that are computed in one pass each.

    Args:
        prompts: with the number of new tokens of each.
        most: tokens of a batch, padding included; a longer prompt is a batch of its own.

    Returns:
        The batches, each with the most new tokens of a prompt in it, twice those of the others at most.
    """
    batches: list[tuple[list[Sequence], int]] = []
    for sequence, new in sorted(prompts.items(), key=lambda prompt: -prompt[1]):
        if batches:
            batch, longest = batches[-1]
            if (len(batch) + 1) * longest <= most and 2 * new >= longest:
                batch.append(sequence)
                continue
        batches.append(([sequence], new))
    return batches


def explain(error: Exception, sequence: Sequence) -> Exception:
    """What a caller is told of a failure; whoever keeps it keeps no rows, and no model."""
    if error.__traceback__ is not None and not isinstance(error, VipLlavaError):  # once, for all who are told of it
        error.add_note("".join(traceback.format_exception(error)))
    _forget_frames(error)
    if isinstance(error, VipLlavaError):
        return error
    if isinstance(error, torch.OutOfMemoryError):
        message = f"out of memory with a prompt of {sequence.length} tokens; use quantization='4bit', or ask less."
    else:
        message = f"the model failed: {type(error).__name__}: {error}"
    explained = GenerationError(message)
    explained.__cause__ = error
    return explained


def _forget_frames(error: BaseException) -> None:
    """Take the tracebacks off an error and all that it came from: their frames hold every tensor that was at hand."""
    chain: list[BaseException] = [error]
    for one in chain:
        one.__traceback__ = None
        chain += [other for other in (one.__cause__, one.__context__) if other is not None and other not in chain]
