"""`PrefixCache`: keys and values of earlier prompts and answers, found by token ids."""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

TokenKey = tuple[int, ...]
"""Token ids. At the place of an image, negative numbers that identify its content."""


@dataclass(eq=False)
class _Node:
    """Tokens that follow those of the parent, with their keys and values, (layers, 2, heads, tokens, head size)."""

    ids: TokenKey
    kv: torch.Tensor | None
    parent: _Node | None
    children: dict[int, _Node] = field(default_factory=dict)
    last_used: int = 0

    @property
    def bytes(self) -> int:
        return 0 if self.kv is None else self.kv.numel() * self.kv.element_size()


class PrefixCache:
    """A radix tree over token ids: a prefix that prompts share is stored once. Evicts the least recently used leaves.

    Running rows do not share it: each copies its cached prefix into its own columns (`BatchKVCache.add_rows`).

    Args:
        max_bytes: maximum size of the cached keys and values; 0 caches none.

    Attributes:
        bytes: size of the cached keys and values.
        evictions: number of leaves evicted so far.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.evictions = 0
        self._root = _Node((), None, None)
        self._clock = 0

    def get(self, ids: TokenKey, max_tokens: int) -> list[torch.Tensor]:
        """Return the keys and values of the longest cached prefix of at most `max_tokens` tokens.

        Returns:
            Consecutive pieces of (layers, 2, heads, tokens, head size).
        """
        pieces: list[torch.Tensor] = []
        for node, count in self._walk(ids[:max_tokens]):
            assert node.kv is not None  # noqa: S101  # only the root has none
            pieces.append(node.kv[..., :count, :])
        return pieces

    def cached_tokens(self, ids: TokenKey) -> int:
        """Return the length of the longest cached prefix."""
        return sum(count for _, count in self._walk(ids))

    def add(self, ids: TokenKey, copy_kv: Callable[[int], torch.Tensor]) -> None:
        """Cache the keys and values of a token sequence. A prefix that is cached already is not copied again.

        Args:
            ids: the tokens.
            copy_kv: returns a copy of the keys and values of `ids[start:]`, (layers, 2, heads, tokens, head size).
        """
        if not self.max_bytes or not ids:
            return
        self._clock += 1
        parent, start = self._root, 0
        for node, count in self._walk(ids):
            node.last_used = self._clock
            if count < len(node.ids):
                self._split(node, count)
            parent, start = node, start + count
        if start < len(ids):
            leaf = _Node(ids[start:], copy_kv(start), parent, last_used=self._clock)
            parent.children[ids[start]] = leaf
            self.bytes += leaf.bytes
        self._evict()

    def clear(self) -> None:
        """Drop all entries."""
        self._root, self.bytes = _Node((), None, None), 0

    def _walk(self, ids: TokenKey) -> Iterator[tuple[_Node, int]]:
        """Yield the nodes along the cached prefix, each with the number of its tokens that match."""
        node, start = self._root, 0
        while start < len(ids) and (child := node.children.get(ids[start])) is not None:
            count = common_length(child.ids, ids[start : start + len(child.ids)])
            yield child, count
            start += count
            if count < len(child.ids):
                return
            node = child

    def _split(self, node: _Node, count: int) -> None:
        """Split a node after `count` tokens; the second half becomes its child."""
        assert node.kv is not None  # noqa: S101  # only the root has none, and the root has no tokens to split
        # clones, because a view of one half would keep the memory of both
        rest = _Node(node.ids[count:], node.kv[..., count:, :].clone(), node, node.children, node.last_used)
        for child in rest.children.values():
            child.parent = rest
        node.ids, node.kv, node.children = node.ids[:count], node.kv[..., :count, :].clone(), {rest.ids[0]: rest}

    def _evict(self) -> None:
        while self.bytes > self.max_bytes:
            leaf = min(self._leaves(), key=lambda node: node.last_used)
            assert leaf.parent is not None  # noqa: S101  # while bytes are cached, the root is not a leaf
            del leaf.parent.children[leaf.ids[0]]
            self.bytes -= leaf.bytes
            self.evictions += 1

    def _leaves(self) -> Iterator[_Node]:
        pending = [self._root]  # a list instead of recursion: a conversation of 1,000 turns is 1,000 nodes deep
        while pending:
            for child in pending.pop().children.values():
                if child.children:
                    pending.append(child)
                else:
                    yield child


def common_length(one: abc.Sequence[int], other: abc.Sequence[int]) -> int:
    """Return the number of leading tokens that are the same."""
    if one == other:
        return len(one)
    return next(
        (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
