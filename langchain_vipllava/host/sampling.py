"""Sampling with a seed for every row of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor, TopKLogitsWarper, TopPLogitsWarper

from langchain_vipllava.host.request import Sampling


class SeededSampling(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped here
    """Samples each row with settings and a random generator of its own.

    `generate` takes no generator, so the row's logits get Gumbel noise and greedy decoding
    takes the largest: the same draw as from the softmax, and independent of the other rows.

    Args:
        rows: the settings of each row, in order.
    """

    def __init__(self, rows: Sequence[Sampling]) -> None:
        self._rows = rows
        self._generators = [_generator(row) for row in rows]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Add the noise; `scores` is (rows, vocabulary)."""
        noisy = scores.clone()
        for index, (row, generator) in enumerate(zip(self._rows, self._generators, strict=True)):
            if generator is not None:
                noisy[index] = _draw(row, input_ids[index : index + 1], scores[index : index + 1], generator)
        return noisy  # type: ignore[return-value]


def _generator(row: Sampling) -> torch.Generator | None:
    if row.temperature == 0:
        return None
    generator = torch.Generator()
    if row.seed is None:
        generator.seed()
    else:
        generator.manual_seed(int(row.seed))
    return generator


def _draw(row: Sampling, ids: torch.Tensor, scores: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    # Against the largest score: next to no temperature must not make two of them infinite.
    warped = (scores.float() - scores.max()) / float(row.temperature)
    if row.top_k is not None:
        warped = TopKLogitsWarper(int(row.top_k))(ids, warped)
    if row.top_p < 1:
        warped = TopPLogitsWarper(float(row.top_p))(ids, warped)
    # Drawn on the CPU: the same seed gives the same answer on every device.
    exponential = torch.empty(warped.shape[-1]).exponential_(generator=generator)
    return (warped[0] - exponential.log().to(warped.device)).to(scores.dtype)
