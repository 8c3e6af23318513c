"""`batch_prompts`: which prompts one forward pass prefills together."""

from __future__ import annotations

from collections.abc import Mapping

from langchain_vipllava.engine.sequence import Sequence

_MAX_WIDTH_RATIO = 2
"""How many times as wide as a prompt's uncached tokens its batch may be. Chosen: at most half of a row is padding."""


def batch_prompts(uncached: Mapping[Sequence, int], max_tokens: int) -> list[tuple[list[Sequence], int]]:
    """Group prompts into batches, one forward pass each.

    Args:
        uncached: the number of uncached tokens of each prompt.
        max_tokens: maximum number of tokens of a batch, padding included; a longer prompt is a batch by itself.

    Returns:
        The batches, each with its width: the most uncached tokens of its prompts, at most `_MAX_WIDTH_RATIO` times
        those of any of them.
    """
    batches: list[tuple[list[Sequence], int]] = []
    for sequence, tokens in sorted(uncached.items(), key=lambda prompt: -prompt[1]):
        if batches:
            batch, width = batches[-1]
            if (len(batch) + 1) * width <= max_tokens and _MAX_WIDTH_RATIO * tokens >= width:
                batch.append(sequence)
                continue
        batches.append(([sequence], tokens))
    return batches
