"""`Engine`: runs many sequences at once, one token each per step; reuses cached prefixes and image features."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from langchain_vipllava.engine.batching import batch_prompts
from langchain_vipllava.engine.compiled_decode import DecodedStep
from langchain_vipllava.engine.failures import explain, forget_frames, is_out_of_memory, release_device_memory
from langchain_vipllava.engine.forward_passes import ForwardPasses
from langchain_vipllava.engine.fused_model import FusedModel
from langchain_vipllava.engine.image_features import ImageFeatureCache
from langchain_vipllava.engine.known_tokens import are_right, guess_tokens, take_forced
from langchain_vipllava.engine.kv_cache import BatchKVCache
from langchain_vipllava.engine.prefix_cache import PrefixCache, common_length
from langchain_vipllava.engine.scheduler import MAX_PREFILL_TOKENS, Scheduler
from langchain_vipllava.engine.sequence import Sequence
from langchain_vipllava.engine.shared_prefix import MIN_SHARED_TOKENS, SharedPrefix
from langchain_vipllava.engine.sharing import find_shared

logger = logging.getLogger(__name__)

MAX_BATCHED_TOKENS = {"cpu": 1024}
"""Prompt tokens of one forward pass, padding included, by device type; MAX_PREFILL_TOKENS elsewhere. Measured with
`python -m benchmarks --only many_images`: a CPU takes longer for two prompts with an image (some 600 tokens each) in
one pass than one after the other, as the activations no longer fit its caches."""

_IDLE_DIVISOR = 4
"""An idle engine keeps its KV buffers up to a quarter of `cache_bytes`, so that the next request allocates none.
Chosen."""


@dataclass(frozen=True)
class _Ahead:
    """A decoding step that runs on the device while the tokens of the one before are read."""

    sequences: list[Sequence]
    step: DecodedStep


class Engine:
    """Runs a model, for one thread at a time.

    Args:
        model: a `VipLlavaForConditionalGeneration`.
        cache_bytes: maximum size of the prefix cache; 0 caches no keys and values.
        feature_bytes: maximum size of the cached image features.
        fused: the same model as plain functions; None runs its modules.
        compiled: whether to compile the decoding step of `fused`. On CUDA, it is recorded as a graph in any case.

    Attributes:
        scheduler: which sequences wait, and which run. Append to `scheduler.waiting` to run a sequence.
        reused_tokens: prompt tokens that were cached and not computed again.
    """

    def __init__(
        self,
        model: Any,
        *,
        cache_bytes: int,
        feature_bytes: int,
        fused: FusedModel | None = None,
        compiled: bool = False,
    ) -> None:
        self.prefix_cache = PrefixCache(cache_bytes)
        self.image_features = ImageFeatureCache(model, feature_bytes)
        self.scheduler = Scheduler(self.prefix_cache)
        self.reused_tokens = 0
        self._passes = ForwardPasses(model, fused, compiled=compiled)
        # events, Triton's kernels and graphs go to the thread's current GPU, which is the first one
        first = self._passes.devices[0]
        self._current_device = torch.cuda.device(first) if first.type == "cuda" else nullcontext()
        self._ahead: _Ahead | None = None
        self._kv_cache = self._new_kv_cache()
        self._max_batched_tokens = MAX_BATCHED_TOKENS.get(first.type, MAX_PREFILL_TOKENS)

    @property
    def compile_failure(self) -> str | None:
        """Why the decoding step could not be compiled; None if it could, or was not meant to be."""
        return self._passes.compile_failure

    @torch.inference_mode()
    def step(self) -> None:
        """Advance every running sequence by one token.

        A failed group is retried in smaller groups; a sequence that fails alone gets the error.
        """
        with self._current_device:
            self._step()

    def _step(self) -> None:
        # 1. Schedule and prefill. Again while the budget lasts: a prompt waits for one that shares its prefix.
        self._release()
        self.scheduler.begin_step()
        while self._ahead is None and (group := self._schedule()):
            self._run_with_oom_retry(self._prefill, group)
            self._release()
        # 2. Decode one token for every row.
        if self.scheduler.running:
            self._run_with_oom_retry(self._decode, list(self.scheduler.running))
        # 3. Release the rows of finished sequences.
        self._release()
        self.scheduler.end_step()
        if not self.scheduler.running:
            self._ahead = None
            self._passes.forget_prefixes()
        if not self.scheduler.has_work and self._kv_cache.bytes > self.prefix_cache.max_bytes // _IDLE_DIVISOR:
            self._kv_cache = self._new_kv_cache()

    def abort(self, error: BaseException) -> None:
        """End every sequence with an error and start empty: for a failure that `step` does not handle."""
        sequences = [*self.scheduler.running, *self.scheduler.waiting]
        self.reset()
        for sequence in sequences:
            sequence.fail(explain(error, sequence))

    def reset(self) -> None:
        """Drop every sequence and clear every cache."""
        self.scheduler.clear()
        self._clear_caches()

    def _clear_caches(self) -> None:
        self._kv_cache = self._new_kv_cache()
        self.prefix_cache.clear()
        self.image_features.clear()

    def _new_kv_cache(self) -> BatchKVCache:
        self._ahead = None
        return self._passes.new_cache()

    def _schedule(self) -> list[Sequence]:
        """Return the sequences to prefill next. If every row is taken, preempt one for them."""
        if (preempted := self.scheduler.preempt()) is not None:
            self._free_row(*preempted)
        self._cache_for_waiting()
        return self.scheduler.schedule()

    def _cache_for_waiting(self) -> None:
        """Cache what running rows have computed of prompts that can start now.

        Not before: until somebody else needs them, the keys and values of a running row are in its own columns alone.
        And only what is needed: the rest of a row would be cut off again, with another copy.
        """
        running = self.scheduler.running
        if not (self.scheduler.waiting and self.prefix_cache.max_bytes) or len(running) >= self.scheduler.max_rows:
            return
        waiting = [sequence.key for sequence in self.scheduler.waiting]
        for row, sequence in enumerate(running):
            key = sequence.key
            for length in sorted({common_length(key, other) for other in waiting}):
                if length >= self.prefix_cache.cached_tokens(key[:length]) + MIN_SHARED_TOKENS:
                    self._cache_row(row, sequence, length)

    def _prefill(self, group: list[Sequence]) -> None:
        """Give each sequence a row, compute the uncached tokens of its prompt, and choose its first token.

        Prompts with similar numbers of uncached tokens share a padded batch.
        """
        uncached = {sequence: sequence.length - self._reusable_tokens(sequence) for sequence in group}
        shared = self._share(group)
        batches = batch_prompts(uncached, self._max_batched_tokens)
        # Left padding would leave a gap between cached and new tokens, so a shorter prompt recomputes its last cached
        # tokens, but not those that it shares: these are in no column.
        apart = {sequence: sum(prefix.tokens for prefix in shared[sequence]) for sequence in group}
        reused = {s: max(s.length - width, apart[s]) for batch, width in batches for s in batch}
        images = [image for sequence, tokens in reused.items() for image in sequence.prompt.images_after(tokens)]
        features = self.image_features.get(images)
        prefixes = [self.prefix_cache.get(s.key, tokens, after=apart[s]) for s, tokens in reused.items()]
        lengths = [sequence.length - apart[sequence] for sequence in reused]
        self._kv_cache.add_rows(prefixes, lengths, self._passes.kv_shape, [shared[sequence] for sequence in reused])
        del prefixes  # they hold keys and values that the prefix cache may evict meanwhile
        first = len(self.scheduler.running)
        self.scheduler.running.extend(reused)
        for batch, width in batches:
            step = self._compute_prompts(batch, width, first, reused, features)
            for sequence in batch:
                if sequence.reused_tokens is None:
                    sequence.reused_tokens = reused[sequence]
                    self.reused_tokens += reused[sequence]
            self._choose_tokens(batch, step)
            first += len(batch)

    def _compute_prompts(
        self,
        batch: list[Sequence],
        width: int,
        first: int,
        reused: dict[Sequence, int],
        features: dict[int, torch.Tensor],
    ) -> DecodedStep:
        """Compute the uncached tokens of a batch of prompts.

        Args:
            batch: the sequences, in rows from `first` on.
            width: number of tokens of the longest.
            first: row of the first one.
            reused: how many tokens of each are not computed.
            features: of the images, by their keys.
        """
        images = {sequence: sequence.prompt.images_after(reused[sequence]) for sequence in batch}
        if len(self._kv_cache.row_starts) == 1 and not images[batch[0]]:
            start = reused[batch[0]]
            ids = [*batch[0].ids[start:]]
            if (wide := self._passes.wide([ids], [start], self._kv_cache)) is not None:
                return wide.at(len(ids) - 1)
        # (at most width, hidden) each
        embedded = [self._passes.embed(s.ids, reused[s], images[s], features) for s in batch]
        padded = [torch.nn.functional.pad(e, (0, 0, width - len(e), 0)) for e in embedded]  # (width, hidden) each
        embeddings = torch.stack(padded)  # (rows, width, hidden)
        positions = torch.stack([torch.arange(s.length - width, s.length) for s in batch])  # (rows, width)
        positions = positions.clamp(min=0)  # of padding, which attention ignores
        return self._passes.prompts(embeddings, positions, self._kv_cache, slice(first, first + len(batch)))

    def _share(self, group: list[Sequence]) -> dict[Sequence, list[SharedPrefix]]:
        """Make running rows read what they share with each other or with new sequences from one place.

        Returns:
            The prefixes that each new sequence shares.
        """
        running = self.scheduler.running
        if not self._passes.can_share:
            return {sequence: [] for sequence in group}
        held = {sequence: self._kv_cache.shared_tokens(row) for row, sequence in enumerate(running)}
        found = find_shared([*running, *group], self.prefix_cache, held)
        for row, sequence in enumerate(running):
            if sum(prefix.tokens for prefix in found[sequence]) >= held[sequence]:  # or the tree has evicted some
                self._kv_cache.share(row, found[sequence])
        return {sequence: found[sequence] for sequence in group}

    def _decode(self, rows: list[Sequence]) -> None:
        """Compute and choose one token for every row, or several where they are known before."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            rows, step = ahead.sequences, ahead.step
        elif (forced := take_forced(rows)) is not None:
            if all(sequence.is_finished for sequence in rows):
                return
            ids, starts = forced
            self._kv_cache.append_columns(len(ids[0]))
            step = self._passes.last_token(ids, starts, self._kv_cache)
        elif guesses := guess_tokens(rows, self._passes.max_guess(self._kv_cache)):
            self._decode_guessed(rows, guesses)
            return
        else:
            newest = [sequence.detokenizer.ids[-1] for sequence in rows]
            step = self._passes.append_token(newest, [s.length - 1 for s in rows], self._kv_cache)
        if self._can_run_ahead(rows):
            # the host reads and delivers the tokens of this step while the device computes the next one
            following = self._passes.append_best([s.length for s in rows], self._kv_cache)
            self._ahead = None if following is None else _Ahead(rows, following)
        self._choose_tokens(rows, step)

    def _decode_guessed(self, rows: list[Sequence], guesses: list[list[int]]) -> None:
        """Choose a token for every row, and further ones while each is the one that was guessed."""
        newest = [[sequence.detokenizer.ids[-1], *guess] for sequence, guess in zip(rows, guesses, strict=True)]
        self._kv_cache.append_columns(len(newest[0]))
        step = self._passes.tokens(newest, [sequence.length - 1 for sequence in rows], self._kv_cache)
        lengths, place = [len(sequence.detokenizer.ids) for sequence in rows], 0
        self._choose_tokens(rows, step.at(place))
        while are_right(rows, guesses, lengths, place):
            place += 1
            self._choose_tokens(rows, step.at(place))
        self._kv_cache.width -= len(guesses[0]) - place  # what follows the first wrong token is computed again

    def _can_run_ahead(self, rows: list[Sequence]) -> bool:
        """Whether the next step will be about the same rows, with their most likely tokens, as far as is known."""
        return (
            not self.scheduler.waiting
            and len(rows) == len(self.scheduler.running)
            and all(one is other for one, other in zip(rows, self.scheduler.running, strict=True))
            and all(s.sampler.is_greedy and s.detokenizer.tokens_left > 1 and not s.is_finished for s in rows)
            and (all(s.lookup is None for s in rows) or not self._passes.max_guess(self._kv_cache))  # or they guess
        )

    def _choose_tokens(self, rows: list[Sequence], step: DecodedStep) -> None:
        """Choose a token for each row, and add it to the answer."""
        for row, (sequence, best) in enumerate(zip(rows, step.tokens(), strict=True)):
            if sequence.is_finished:  # since the step was launched
                continue
            try:
                token = best if sequence.sampler.is_greedy else sequence.sampler.choose(step.logits[row])
                sequence.clock.stamp("first_token")
                sequence.detokenizer.add(token, last=sequence.sampler.is_complete)
            except BaseException as error:  # such as: no token fits its schema, a panic in Rust; others go on
                logger.debug("an answer failed", exc_info=True)
                sequence.fail(explain(error, sequence))

    def _release(self) -> None:
        """Deliver finished sequences and free their rows."""
        for sequence in self.scheduler.remove_finished():
            self._deliver(sequence)
        # From the last row: it takes the place of a freed one, so nothing is copied when all rows finish together.
        for row in reversed(range(len(self.scheduler.running))):
            if self.scheduler.running[row].is_finished:
                sequence = self.scheduler.free_row(row)
                try:
                    self._free_row(row, sequence)
                finally:
                    self._deliver(sequence)

    def _deliver(self, sequence: Sequence) -> None:
        """Resolve the future of a finished sequence, once all is known of it.

        If its text cannot be decoded, with an error that is its alone.
        """
        try:
            probes = sequence.probes(self.prefix_cache, then=partial(self._deliver, sequence))
            self.scheduler.waiting.extendleft(reversed(probes))
            if not probes:
                sequence.deliver()
        except BaseException as error:
            logger.debug("an answer cannot be delivered", exc_info=True)
            sequence.fail(explain(error, sequence))

    def _free_row(self, row: int, sequence: Sequence) -> None:
        """Free a row of the KV cache; keys and values of its sequence go to the prefix cache."""
        self._cache_row(row, sequence)
        self._kv_cache.free_row(row)

    def _cache_row(self, row: int, sequence: Sequence, most: int | None = None) -> None:
        """Add what is computed of a row to the prefix cache, if there is memory for it.

        Args:
            row: its number.
            sequence: whose row it is.
            most: maximum number of tokens, from the first one on; None for all.
        """
        ids = sequence.key[: self._kv_cache.length(row)][:most]
        try:
            self.prefix_cache.add(ids, partial(self._kv_cache.copy_row, row, len(ids)))
        except Exception:  # the answer does not depend on it
            logger.debug("cannot cache the keys and values of %d tokens", len(ids), exc_info=True)
            self.prefix_cache.clear()

    def _reusable_tokens(self, sequence: Sequence) -> int:
        """Return how many tokens of a prompt are cached; at least one is left to compute, for its logits."""
        sequence.clock.stamp("prefill")
        return min(self.prefix_cache.cached_tokens(sequence.key), sequence.length - 1)

    def _run_with_oom_retry(self, work: Callable[[list[Sequence]], None], group: list[Sequence]) -> None:
        """Run a part of a step. If it fails, clear all caches and run its sequences again, fewer at once.

        A sequence that fails alone gets the error. One that runs out of memory alone is tried once more.
        """
        try:
            work(group)
        except BaseException as error:  # no Exception is a panic in Rust; the group is in no queue, and would be lost
            logger.debug("a step with %d sequences failed", len(group), exc_info=True)
            forget_frames(error)
            running = self.scheduler.running
            affected = [*running, *(sequence for sequence in group if sequence not in running)]
            self._clear_caches()  # the failure may have left them half written
            release_device_memory()
            first, alone = group[0], len(affected) == 1
            hopeless = not is_out_of_memory(error) or (alone and first.oom_retried)
            if len(group) == 1 and hopeless:
                affected.remove(first)
                self.scheduler.recover(affected)
                first.fail(explain(error, first))
            else:
                first.oom_retried |= alone
                self.scheduler.recover(affected, max_rows=max(1, len(affected) // 2))
