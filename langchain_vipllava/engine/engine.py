"""`Engine`: many answers at once, a token each per step, nothing computed twice.

A step is: schedule (who may begin), prefill (what is new of their prompts), decode (one token
for every row), and hand over what is finished. Rows join and leave between any two tokens.
"""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from langchain_vipllava.engine.compiled_decode import COLUMNS, CompiledDecode
from langchain_vipllava.engine.image_features import ImageFeatureCache
from langchain_vipllava.engine.kv_cache import BatchKVCache, KVShape
from langchain_vipllava.engine.prefix_cache import PrefixCache, TokenKey
from langchain_vipllava.engine.scheduler import MAX_PREFILL_TOKENS, Scheduler
from langchain_vipllava.engine.sequence import Sequence
from langchain_vipllava.errors import GenerationError, VipLlavaError

logger = logging.getLogger(__name__)

MAX_BATCHED_TOKENS = {"cpu": 1024}
"""Prompt tokens that one forward pass computes, by type of device; MAX_PREFILL_TOKENS elsewhere. A CPU takes longer for
two prompts with an image together than one after the other: the activations no longer fit its caches."""


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
        self.scheduler = Scheduler(self.prefixes)
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
        self._most_together = MAX_BATCHED_TOKENS.get(self._devices[0].type, MAX_PREFILL_TOKENS)
        self._shape = KVShape(text.num_key_value_heads, size, model.dtype)

    @property
    def waiting(self) -> deque[Sequence]:
        """Sequences without a row, the next one first. Append to it to run a sequence."""
        return self.scheduler.waiting

    @property
    def running(self) -> list[Sequence]:
        """The sequence of each row of the KV cache."""
        return self.scheduler.running

    @property
    def busy(self) -> bool:
        """Whether there is work."""
        return self.scheduler.has_work

    @torch.inference_mode()
    def step(self) -> None:
        """Advance every running sequence by one token. A failure ends only the sequence at fault."""
        # 1. Schedule and prefill. Again while the budget lasts: a prompt waits for one that shares its prefix.
        self._release()
        self.scheduler.begin_step()
        while group := self._schedule():
            self._run_with_oom_retry(self._prefill, group)
            self._release()
        # 2. Decode one token for every row.
        if self.running:
            self._run_with_oom_retry(self._decode, list(self.running))
        # 3. Release the rows of finished sequences.
        self._release()
        self.scheduler.end_step()
        if not self.busy and self._cache.bytes > self.prefixes.max_bytes // 4:
            self._cache = self._no_rows()

    def abort(self, error: Exception) -> None:
        """End every sequence with an error and start empty: for a failure that no step expects."""
        sequences = [*self.running, *self.waiting]
        self.forget()
        for sequence in sequences:
            sequence.fail(explain(error, sequence))

    def forget(self) -> None:
        """Drop every sequence and every cache."""
        self.scheduler.clear()
        self._clear_caches()

    def _clear_caches(self) -> None:
        self._cache = self._no_rows()
        self.prefixes.clear()
        self.features.clear()

    def _no_rows(self) -> BatchKVCache:
        return BatchKVCache(self._devices, *([] if self._compiled is None else [COLUMNS]))

    def _schedule(self) -> list[Sequence]:
        """Take the sequences to prefill next; preempt one for them if every row is taken."""
        if (sequence := self.scheduler.sequence_to_preempt()) is not None:
            self._free_row(sequence)
            self.waiting.append(sequence)
        return self.scheduler.schedule()

    def _prefill(self, group: list[Sequence]) -> None:
        """Compute what is new of some prompts, those alike in size in one padded batch, and give each a row."""
        batches = batch_prompts({s: s.length - self._known(s) for s in group}, self._most_together)
        # where less is new than in the neighbours, known tokens are computed again instead of padding: no row has a gap
        known = {sequence: max(sequence.length - most, 0) for batch, most in batches for sequence in batch}
        features = self.features.of([image for s, start in known.items() for image in s.prompt.after(start)])
        prefixes = [self.prefixes.find(sequence.key, start) for sequence, start in known.items()]
        self._cache.add(prefixes, [sequence.length for sequence in known], self._shape)
        del prefixes
        first = len(self.running)
        self.running.extend(known)
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
        """Deliver finished sequences and free their rows."""
        for sequence in self.scheduler.remove_cancelled():
            sequence.deliver()
        # from the last row: it takes the place of a freed one, so nothing is copied when all rows finish together
        for sequence in [row for row in reversed(self.running) if row.finished]:
            try:
                self._free_row(sequence)
            finally:
                sequence.deliver()

    def _free_row(self, sequence: Sequence) -> None:
        """Free the row of a sequence; its keys and values go to the prefix cache."""
        row = self.running.index(sequence)
        computed = sequence.key[: self._cache.width - self._cache.starts[row]]
        self._remember(computed, partial(self._cache.columns, row))
        self._cache.drop(row)
        self.scheduler.free_row(row)

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
            touched = [*self.running, *(sequence for sequence in group if sequence not in self.running)]
            self._clear_caches()  # the failure may have left them half written; the sequences are prefilled again
            first, alone = group[0], len(touched) == 1
            hopeless = not isinstance(error, torch.OutOfMemoryError) or (alone and first.retried)
            if len(group) == 1 and hopeless:
                touched.remove(first)
                self.scheduler.recover(touched)
                first.fail(explain(error, first))
            else:
                first.retried |= alone  # once more, now that nothing is cached
                self.scheduler.recover(touched, max_rows=max(1, len(touched) // 2))


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
