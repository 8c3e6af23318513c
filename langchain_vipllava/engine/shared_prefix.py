"""`SharedPrefix`: keys and values that several running rows read and none of them holds."""

from __future__ import annotations

from collections import abc
from dataclasses import dataclass, field

import torch

MIN_SHARED_TOKENS = 16
"""Fewest tokens that are worth a place of their own: each is one more attention call per layer. Chosen."""

MAX_SHARED_PREFIXES = 4
"""Most shared prefixes of a row: what all prompts begin with, the image, and two levels of a conversation. Chosen."""


@dataclass(frozen=True, eq=False)
class SharedPrefix:
    """Tokens of the prefix cache, stored once. A row that begins with them points here.

    Attributes:
        kv: their keys and values, (layers, 2, heads, tokens, head size).
    """

    kv: torch.Tensor

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return int(self.kv.shape[-2])


@dataclass(frozen=True)
class SharedGroup:
    """The rows of one forward pass that read the same prefix.

    Attributes:
        prefix: what they read.
        rows: their numbers in the forward pass; None for all rows.
        index: the same as a tensor on the device of the prefix.
    """

    prefix: SharedPrefix
    rows: tuple[int, ...] | None
    index: torch.Tensor | None = field(compare=False)


def worth_sharing(prefixes: abc.Sequence[SharedPrefix], shared: int) -> list[SharedPrefix]:
    """Return the first of some prefixes, without those that cost more than they save.

    Args:
        prefixes: that a row could share, in the order of its tokens.
        shared: tokens that it shares already, and holds nowhere else.
    """
    kept = list(prefixes)
    while kept and (len(kept) > MAX_SHARED_PREFIXES or kept[-1].tokens < MIN_SHARED_TOKENS):
        if sum(prefix.tokens for prefix in kept[:-1]) < shared:
            break
        kept.pop()
    return kept


def group_rows(prefixes: abc.Sequence[abc.Sequence[SharedPrefix]]) -> tuple[SharedGroup, ...]:
    """Group rows by the prefixes that they read.

    Args:
        prefixes: of each row.
    """
    readers: dict[SharedPrefix, list[int]] = {}
    for row, read in enumerate(prefixes):
        for prefix in read:
            readers.setdefault(prefix, []).append(row)
    groups = []
    for prefix, rows in readers.items():
        everyone = len(rows) == len(prefixes)
        index = None if everyone else torch.tensor(rows, device=prefix.kv.device)
        groups.append(SharedGroup(prefix, None if everyone else tuple(rows), index))
    return tuple(groups)
