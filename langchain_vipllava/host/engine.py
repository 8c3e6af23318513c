"""`Engine`: many answers at once, a token each per step, nothing computed twice.

A step is: schedule (who may begin), prefill (what is new of their prompts), decode (one token
for every row), and hand over what is finished. Rows join and leave between any two tokens.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any

import torch

from langchain_vipllava.errors import GenerationError, VipLlavaError
from langchain_vipllava.host.prefix_cache import PrefixCache
from langchain_vipllava.host.row_cache import RowCache
from langchain_vipllava.host.sequence import Sequence

logger = logging.getLogger(__name__)

MAX_ROWS = 16
"""Most answers that are written at once."""

TURN = 64
"""Tokens after which an answer makes room when others wait and every row is taken."""

MAX_PREFILL = 4096
"""Most new prompt tokens in one step, so that the answers under way do not stall."""

_WORTH_WAITING = 16
"""Tokens that two prompts must share for the second to wait until the first is computed."""


class Engine:
    """Runs a model for one thread at a time.

    Args:
        model: a `VipLlavaForConditionalGeneration`.
        cache_bytes: bound of the keys and values that are kept for later prompts.
        feature_bytes: bound of the picture features that are kept.
    """

    def __init__(self, model: Any, *, cache_bytes: int, feature_bytes: int) -> None:
        self.prefixes = PrefixCache(cache_bytes)
        self.features = FeatureCache(model, feature_bytes)
        self.waiting: deque[Sequence] = deque()
        self._model = model
        self._language_model = model.model.language_model
        self._embed = model.get_input_embeddings()
        self._rows: list[Sequence] = []
        self._cache: RowCache | None = None
        self._layer_devices = [next(layer.parameters()).device for layer in self._language_model.layers]

    @property
    def busy(self) -> bool:
        """Whether there is work."""
        return bool(self.waiting or self._rows)

    @torch.inference_mode()
    def step(self) -> None:
        """Bring every answer forward by one token; a failure ends only the answers that it touches."""
        self._release(range(len(self._rows)))
        group = self._schedule()
        if group:
            self._guarded(self._prefill, group)
        if self._rows:
            self._guarded(self._decode, list(self._rows))

    def _schedule(self) -> list[Sequence]:
        """Take the next answers that can begin together: first come, first served."""
        if self.waiting and len(self._rows) >= MAX_ROWS:
            self._make_room()
        group: list[Sequence] = []
        later: list[Sequence] = []
        budget = MAX_PREFILL
        while self.waiting and len(self._rows) + len(group) < MAX_ROWS and budget > 0:
            sequence = self.waiting.popleft()
            if sequence.finished:
                sequence.deliver(sequence.result())
                continue
            known = self.prefixes.known(sequence.key)
            if any(_shared(sequence.key, other.key) >= known + _WORTH_WAITING for other in group):
                later.append(sequence)
                continue
            budget -= len(sequence.key) - known
            group.append(sequence)
        self.waiting.extendleft(reversed(later))
        return group

    def _make_room(self) -> None:
        """Send the answer that has had the longest turn back into the queue."""
        longest = max(range(len(self._rows)), key=lambda row: self._rows[row].tokens_since_admission)
        sequence = self._rows[longest]
        if sequence.tokens_since_admission >= TURN:
            self._remember(longest)
            self._keep_rows([row for row in range(len(self._rows)) if row != longest], [], [])
            self.waiting.append(sequence)

    def _prefill(self, group: list[Sequence]) -> None:
        """Compute what is new of some prompts, in one padded batch, and give each a row."""
        for sequence in group:
            sequence.stamp("begun")
        prefixes = [self._known_prefix(sequence) for sequence in group]
        new = [len(s.key) - p.shape[-2] for s, p in zip(group, prefixes, strict=True)]
        cache = RowCache(prefixes, self._layer_devices)
        width, most = cache.width, max(new)
        logits = self._forward_prompts(group, cache, new)
        computed = []
        for row, count in enumerate(new):
            prefix = cache.row(row, end=width)
            computed.append(torch.cat([prefix, cache.columns(row, width + most - count, width + most)], dim=-2))
        for sequence, kv in zip(group, computed, strict=True):
            self.prefixes.add(sequence.key, kv)
            sequence.tokens_since_admission = 0
        self._keep_rows(range(len(self._rows)), group, computed)
        self._write(group, logits)

    def _forward_prompts(self, group: list[Sequence], cache: RowCache, new: list[int]) -> torch.Tensor:
        """Run the new ends of some prompts behind their known prefixes; logits of their last tokens."""
        most = max(new)
        embeddings = torch.stack([self._embeddings(s, len(s.key) - count, most) for s, count in zip(group, new, strict=True)])
        device = embeddings.device
        lengths = [len(sequence.key) for sequence in group]
        positions = torch.stack([torch.arange(length - most, length) for length in lengths]).clamp(min=0).to(device)
        gap = torch.tensor([[0] * (most - count) + [1] * count for count in new])
        mask = torch.cat([cache.mask_or_ones().cpu(), gap], dim=1).to(device)
        return self._forward(embeddings, positions, None if mask.all() else mask, cache)

    def _decode(self, rows: list[Sequence]) -> None:
        """One token for every row."""
        assert self._cache is not None  # noqa: S101  # there are rows
        device = self._embed.weight.device
        ids = torch.tensor([[sequence.writer.ids[-1]] for sequence in rows], device=device)
        positions = torch.tensor([[len(sequence.key) - 1] for sequence in rows], device=device)
        self._write(rows, self._forward(self._embed(ids), positions, self._cache.mask(new=1), self._cache))

    def _forward(
        self, embeddings: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, cache: RowCache
    ) -> torch.Tensor:
        output = self._language_model(
            inputs_embeds=embeddings,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
        )
        logits: torch.Tensor = self._model.lm_head(output.last_hidden_state[:, -1])
        return logits.float()

    def _write(self, rows: list[Sequence], logits: torch.Tensor) -> None:
        """Choose a token for each row and hand it to its answer."""
        likeliest = logits.argmax(dim=-1).tolist()
        for sequence, token, scores in zip(rows, likeliest, logits, strict=True):
            chosen = token if sequence.sampler.greedy else sequence.sampler.choose(sequence.ids, scores)
            sequence.stamp("first_token")
            sequence.tokens_since_admission += 1
            sequence.writer.add(chosen)

    def _release(self, rows: Iterable[int]) -> None:
        """Hand finished answers over and give their rows free."""
        done = [row for row in rows if self._rows[row].finished]
        if not done:
            return
        finished = [self._rows[row] for row in done]
        for row in done:
            self._remember(row)
        self._keep_rows([row for row in range(len(self._rows)) if row not in done], [], [])
        for sequence in finished:
            sequence.deliver(sequence.result())

    def _remember(self, row: int) -> None:
        """Keep the keys and values of a row for later prompts."""
        assert self._cache is not None  # noqa: S101  # there are rows
        kv = self._cache.row(row)
        self.prefixes.add(self._rows[row].key[: kv.shape[-2]], kv)

    def _keep_rows(self, keep: Iterable[int], new: list[Sequence], computed: list[torch.Tensor]) -> None:
        keep = list(keep)
        kept = [self._cache.row(row) for row in keep] if self._cache is not None else []
        self._rows = [self._rows[row] for row in keep] + new
        self._cache = RowCache([*kept, *computed], self._layer_devices) if self._rows else None

    def _known_prefix(self, sequence: Sequence) -> torch.Tensor:
        """Keys and values that are known of a prompt; at least one token is left to compute."""
        kv = self.prefixes.find(sequence.key)
        known = 0 if kv is None else min(kv.shape[-2], len(sequence.key) - 1)
        if sequence.reused is None:
            sequence.reused = known
        return self._empty() if kv is None or not known else kv[..., :known, :]

    def _empty(self) -> torch.Tensor:
        text = self._model.config.text_config
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        shape = (text.num_hidden_layers, 2, text.num_key_value_heads, 0, size)
        return torch.empty(shape, dtype=self._model.dtype, device=self._layer_devices[0])

    def _embeddings(self, sequence: Sequence, start: int, width: int) -> torch.Tensor:
        """Embeddings of a prompt from a token on, padded on the left to `width`; pictures are their features."""
        ids = torch.tensor(sequence.ids[start:], device=self._embed.weight.device)
        embedded = self._embed(ids)
        for picture, first in zip(sequence.prompt.pictures, sequence.prompt.picture_starts, strict=True):
            features = self.features.of(picture) if first >= start or first + picture.tokens > start else None
            if features is not None:
                begin = max(first, start)
                embedded[begin - start : first + picture.tokens - start] = features[begin - first :].to(embedded)
        padding = embedded.new_zeros((width - len(ids), embedded.shape[1]))
        return torch.cat([padding, embedded])

    def _guarded(self, work: Any, group: list[Sequence]) -> None:
        """Do work for a group; if it fails, free what can be freed and end only these answers."""
        try:
            work(group)
        except Exception as error:
            self.prefixes.clear()
            self.features.clear()
            survivors = [row for row, sequence in enumerate(self._rows) if sequence not in group]
            self._keep_rows(survivors, [], [])
            logger.debug("a step of %d answers failed", len(group), exc_info=True)
            for sequence in group:
                sequence.deliver(_explain(error, sequence))
