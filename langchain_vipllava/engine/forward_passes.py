"""`ForwardPasses`: runs tokens through the model: as a recorded step where that pays, else layer by layer."""

from __future__ import annotations

import logging
from typing import Any

import torch

from langchain_vipllava.engine.compiled_decode import WIDE_TOKENS, CompilationError, CompiledDecode, DecodedStep
from langchain_vipllava.engine.encoding import PromptImage
from langchain_vipllava.engine.failures import is_out_of_memory
from langchain_vipllava.engine.fused_model import FusedModel
from langchain_vipllava.engine.kv_cache import BatchKVCache, KVShape, cache_argument
from langchain_vipllava.engine.model_sizes import head_size
from langchain_vipllava.engine.shared_attention import reading
from langchain_vipllava.protocol.load_options import MAX_LOOKUP_TOKENS

logger = logging.getLogger(__name__)


class ForwardPasses:
    """Computes the newest tokens of rows of a KV cache, whose columns are its last ones.

    Args:
        model: a `VipLlavaForConditionalGeneration`.
        fused: the same model as plain functions; None runs its modules.
        compiled: whether to compile the decoding step of `fused`. On CUDA, it is recorded as a graph in any case.

    Attributes:
        devices: of each layer.
        kv_shape: of the keys and values of one token.
        can_share: whether rows can read shared prefixes.
        compile_failure: why the decoding step could not be compiled; None if it could, or was not meant to be.
    """

    def __init__(self, model: Any, fused: FusedModel | None, *, compiled: bool) -> None:
        self._model, self._fused = model, fused
        self._language_model = model.model.language_model
        self._cache_argument = cache_argument(self._language_model)
        self._embed = model.get_input_embeddings()
        self._compiled = None if fused is None else CompiledDecode(fused, compiled=compiled)
        # the wide step rotates tokens behind the last one, too
        self._has_wide = fused is not None and fused.has_fixed_rotations
        self.compile_failure: str | None = None
        self.devices = [next(layer.parameters()).device for layer in self._language_model.layers]
        config = model.config.text_config
        self.kv_shape = KVShape(config.num_key_value_heads, head_size(config), model.dtype)
        # Prefixes are on one device. The modules read them in place of sdpa alone: a caller of the model in another
        # thread gets sdpa meanwhile.
        self.can_share = fused is not None or self._language_model.config._attn_implementation == "sdpa"
        self.can_share &= len(set(self.devices)) == 1

    def new_cache(self) -> BatchKVCache:
        """Return an empty KV cache. What was recorded of an older one is dropped."""
        if self._compiled is not None:
            self._compiled.forget()
        return BatchKVCache(self.devices, compiled=self._compiled is not None)

    def forget_prefixes(self) -> None:
        """Drop what is recorded of shared prefixes, which the prefix cache may evict."""
        if self._compiled is not None:
            self._compiled.forget_prefixes()

    def embed(
        self, ids: tuple[int, ...], start: int, images: list[PromptImage], features: dict[int, torch.Tensor]
    ) -> torch.Tensor:
        """Embed a prompt from its token `start` on, (tokens, hidden).

        Args:
            ids: of the whole prompt.
            start: the first token.
            images: that have tokens from there on.
            features: of each image by its key, (image tokens, hidden), which its tokens become.
        """
        embedded: torch.Tensor = self._embed(torch.tensor(ids[start:], device=self._embed.weight.device))
        for image in images:
            first, end = max(image.start, start), image.start + image.tokens
            embedded[first - start : end - start] = features[image.key][first - image.start :].to(embedded)
        return embedded

    def prompts(
        self, embeddings: torch.Tensor, positions: torch.Tensor, cache: BatchKVCache, rows: slice
    ) -> DecodedStep:
        """Compute the newest tokens of some rows, such as prompts with images.

        Args:
            embeddings: (rows, new tokens, hidden).
            positions: (rows, new tokens).
            cache: the KV cache.
            rows: its rows.

        Returns:
            A step with one token: the last.
        """
        return DecodedStep.of(self._layer_by_layer(embeddings, positions, cache, rows))

    def tokens(self, ids: list[list[int]], starts: list[int], cache: BatchKVCache) -> DecodedStep:
        """Compute the newest tokens of every row, as many of each.

        Args:
            ids: of the tokens; none is an image's.
            starts: position of the first one of each row.
            cache: the KV cache.

        Returns:
            A step with as many tokens.
        """
        if (wide := self.wide(ids, starts, cache)) is not None:
            return wide
        inputs = self._inputs_of(ids, starts)
        return DecodedStep.of(self._layer_by_layer(*inputs, cache, slice(0, len(ids)), of_all=True))

    def last_token(self, ids: list[list[int]], starts: list[int], cache: BatchKVCache) -> DecodedStep:
        """Do the same, and return a step with one token: the last. Logits after the others take time and memory."""
        if (wide := self.wide(ids, starts, cache)) is not None:
            return wide.at(len(ids[0]) - 1)
        return self.prompts(*self._inputs_of(ids, starts), cache, slice(0, len(ids)))

    def _inputs_of(self, ids: list[list[int]], starts: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return embeddings, (rows, new tokens, hidden), and positions, (rows, new tokens)."""
        embeddings = self._embed(torch.tensor(ids, device=self._embed.weight.device))
        return embeddings, torch.tensor(starts)[:, None] + torch.arange(len(ids[0]))

    def append_token(self, ids: list[int], positions: list[int], cache: BatchKVCache) -> DecodedStep:
        """Make every row one token longer, and compute it.

        Args:
            ids: the token of each row.
            positions: where it stands in its sequence.
            cache: the KV cache.

        Returns:
            A step with one token.
        """
        single = [[token] for token in ids]
        while self._compiled is not None:
            if (step := self._append_compiled(single, positions, cache)) is not None:
                return step
        cache.append_columns(1)
        return self.last_token(single, positions, cache)

    def append_best(self, positions: list[int], cache: BatchKVCache) -> DecodedStep | None:
        """Do the same for the most likely tokens of the step before, which may still run; None if that cannot be."""
        return None if self._compiled is None else self._append_compiled(None, positions, cache)

    def _append_compiled(
        self, ids: list[list[int]] | None, positions: list[int], cache: BatchKVCache
    ) -> DecodedStep | None:
        """Launch the compiled step; None if it cannot be compiled. `_compiled` is then what is left to try."""
        assert self._compiled is not None  # noqa: S101  # or it is not called
        cache.append_columns(1)
        try:
            return self._compiled(ids, positions, cache).at(0)
        except CompilationError as error:  # a missing or broken compiler must not keep the model from answering
            self.compile_failure = str(error)
            logger.warning("cannot compile the decoding step, decoding runs eager: %s", self.compile_failure)
            self._compiled = self._compiled.without_compiler()
            self._has_wide &= self._compiled is not None
            cache.width -= 1
            return None

    def max_guess(self, cache: BatchKVCache) -> int:
        """Return how many tokens to guess at most: a pass that checks them runs like one token's, recorded or not."""
        if self._compiled is None:
            return MAX_LOOKUP_TOKENS
        return WIDE_TOKENS - 1 if self._can_widen(cache) else 0

    def wide(self, ids: list[list[int]], starts: list[int], cache: BatchKVCache) -> DecodedStep | None:
        """Launch the recorded step of several tokens, as `tokens` does; None where there is none."""
        tokens = len(ids[0])
        padding = WIDE_TOKENS - tokens
        if self._compiled is None or padding < 0 or not self._can_widen(cache):
            return None
        try:
            cache.append_columns(padding)
            step = self._compiled([[*ids[0], *[0] * padding]], starts, cache)
        except Exception as error:
            if not isinstance(error, CompilationError) and not is_out_of_memory(error):
                raise
            logger.warning("cannot record a step of several tokens, it runs eager: %s", error)
            self._has_wide = False
            if is_out_of_memory(error):  # who tries again does without
                raise
            cache.width -= padding
            return None
        cache.width -= padding
        return DecodedStep(step.logits[:, :tokens], step.greedy[:, :tokens], step.done)

    def _can_widen(self, cache: BatchKVCache) -> bool:
        """Whether one row runs alone. Of several, what they share would have to be recorded again and again."""
        return self._has_wide and len(cache.row_starts) == 1 and not cache.row_prefixes[0]

    def _layer_by_layer(
        self,
        embeddings: torch.Tensor,
        positions: torch.Tensor,
        cache: BatchKVCache,
        rows: slice,
        *,
        of_all: bool = False,
    ) -> torch.Tensor:
        """Run the newest tokens of some rows through the layers: as `FusedModel.forward`, or by the modules."""
        if self._fused is not None:
            return self._fused.forward(embeddings, positions, cache, rows, of_all=of_all)
        groups = cache.shared_groups(rows)
        with (
            cache.visible_range(rows, embeddings.shape[1]) as mask,  # (rows, columns)
            reading(self._language_model, groups) as arguments,
        ):
            output = self._language_model(
                inputs_embeds=embeddings,
                position_ids=positions.to(embeddings.device),
                attention_mask=None if mask is None else mask.to(embeddings.device),
                use_cache=True,
                **{self._cache_argument: cache},
                **arguments,
            )
        hidden = output.last_hidden_state  # (rows, new tokens, hidden)
        logits: torch.Tensor = self._model.lm_head(hidden if of_all else hidden[:, -1])
        return logits.float()
