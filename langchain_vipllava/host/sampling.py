"""Choosing the next token of one answer, with settings and a random generator of its own."""

from __future__ import annotations

import torch
from transformers import TopKLogitsWarper, TopPLogitsWarper

from langchain_vipllava.host.request import Sampling


class TokenSampler:
    """Chooses tokens; the same seed gives the same tokens, alone and in company, on every device.

    Args:
        sampling: the settings.
    """

    def __init__(self, sampling: Sampling) -> None:
        self.greedy = sampling.temperature == 0
        self._sampling = sampling
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(int(sampling.seed))

    def choose(self, scores: torch.Tensor) -> int:
        """Draw a token from its scores, (vocabulary,) float."""
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
