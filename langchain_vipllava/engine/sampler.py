"""Choosing the next token of one answer, with settings and a random generator of its own."""

from __future__ import annotations

import torch
from transformers import TopKLogitsWarper, TopPLogitsWarper

from langchain_vipllava.engine.grammar import Constraint
from langchain_vipllava.engine.request import Sampling


class TokenSampler:
    """Chooses tokens; the same seed gives the same tokens, alone and in company, on every device.

    Args:
        sampling: the settings.
        constraint: which tokens may be chosen; None for all.
    """

    def __init__(self, sampling: Sampling, constraint: Constraint | None = None) -> None:
        self._greedy = sampling.temperature == 0
        self._constraint = constraint
        self._sampling = sampling
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(int(sampling.seed))

    @property
    def is_greedy(self) -> bool:
        """Whether it always chooses the token with the highest score."""
        return self._greedy and self._constraint is None

    @property
    def complete(self) -> bool:
        """Whether nothing can follow what was chosen."""
        return self._constraint is not None and self._constraint.complete

    def choose(self, scores: torch.Tensor) -> int:
        """Choose a token from its scores, (vocabulary,) float."""
        if self._constraint is None:
            return self._draw(scores)
        allowed = self._constraint.restrict(scores)
        token = int(allowed.argmax()) if self._greedy else self._draw(allowed)
        self._constraint.accept(token)
        return token

    def _draw(self, scores: torch.Tensor) -> int:
        # Against the largest score: next to no temperature must not make two of them infinite.
        warped = ((scores - scores.max()) / float(self._sampling.temperature))[None]
        no_ids = torch.empty((1, 0), dtype=torch.long)
        if self._sampling.top_k is not None:
            warped = TopKLogitsWarper(int(self._sampling.top_k))(no_ids, warped)
        if self._sampling.top_p < 1:
            warped = TopPLogitsWarper(float(self._sampling.top_p))(no_ids, warped)
        # The largest of scores with Gumbel noise is a draw from their softmax. Drawn on the CPU, whatever the device.
        noise = -torch.empty(warped.shape[-1]).exponential_(generator=self._generator).log()
        return int((warped[0] + noise.to(warped.device)).argmax())
