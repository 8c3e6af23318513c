"""`PrefixCache`: keys and values of earlier prompts and answers, found by token ids."""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from langchain_vipllava.engine.shared_prefix import SharedPrefix

TokenKey = tuple[int, ...]
"""Token ids. At the place of an image, negative numbers that identify its content."""


@dataclass(eq=False)
class _Node:
    """Tokens that follow those of the parent, with their keys and values."""

    ids: TokenKey
    stored: SharedPrefix | None
    parent: _Node | None
    children: dict[int, _Node] = field(default_factory=dict)
    last_used: int = 0

    @property
    def bytes(self) -> int:
        return 0 if self.stored is None else self.stored.kv.nbytes

    @property
    def kv(self) -> torch.Tensor:
        """Keys and values, (layers, 2, heads, tokens, head size)."""
        assert self.stored is not None  # noqa: S101  # only the root has none
        return self.stored.kv


class PrefixCache:
    """A radix tree over token ids: a prefix that prompts share is stored once. Evicts the least recently used leaves.

    A row that runs alone copies its cached prefix into its own columns (`BatchKVCache.add_rows`), which one attention
    call reads; rows that run together read the tree's (`share`).

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

    def get(self, ids: TokenKey, max_tokens: int, after: int = 0) -> list[torch.Tensor]:
        """Return the keys and values of the longest cached prefix of at most `max_tokens` tokens, without the first.

        Args:
            ids: the tokens.
            max_tokens: end of the prefix.
            after: how many of its first tokens are left out.

        Returns:
            Consecutive pieces of (layers, 2, heads, tokens, head size).
        """
        pieces, start = [], 0
        for node, count in self._walk(ids[:max_tokens]):
            if start + count > after:
                pieces.append(node.kv[..., max(after - start, 0) : count, :])
            start += count
        return pieces

    def share(self, ids: TokenKey, max_tokens: int) -> list[SharedPrefix]:
        """Return what the tree stores of the first `max_tokens` tokens, as whole nodes; splits the last one if needed.

        Returns:
            Consecutive pieces, as many as are cached. What they hold stays valid if the tree splits or evicts them.
        """
        pieces: list[SharedPrefix] = []
        for node, count in self._walk(ids[:max_tokens]):
            node.last_used = self._clock
            if count < len(node.ids):
                self._split(node, count)
            assert node.stored is not None  # noqa: S101  # only the root has none
            pieces.append(node.stored)
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
            leaf = _Node(ids[start:], SharedPrefix(copy_kv(start)), parent, last_used=self._clock)
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
        # clones, because a view of one half would keep the memory of both
        first, second = (SharedPrefix(half.clone()) for half in (node.kv[..., :count, :], node.kv[..., count:, :]))
        rest = _Node(node.ids[count:], second, node, node.children, node.last_used)
        for child in rest.children.values():
            child.parent = rest
        node.ids, node.stored, node.children = node.ids[:count], first, {rest.ids[0]: rest}

    def _evict(self) -> None:
        while self.bytes > self.max_bytes:
            leaf = min(self._leaves(), key=lambda node: node.last_used)
            assert leaf.parent is not None  # noqa: S101  # while bytes are cached, the root is not a leaf
            del leaf.parent.children[leaf.ids[0]]
            self.bytes -= leaf.bytes
            self.evictions += 1

    def nodes(self) -> Iterator[_Node]:
        """Yield every node but the root."""
        pending = [self._root]  # a list instead of recursion: a conversation of 1,000 turns is 1,000 nodes deep
        while pending:
            for child in pending.pop().children.values():
                pending.append(child)
                yield child

    def _leaves(self) -> Iterator[_Node]:
        return (node for node in self.nodes() if not node.children)


def common_length(one: abc.Sequence[int], other: abc.Sequence[int]) -> int:
    """Return the number of leading tokens that are the same."""
    end = min(len(one), len(other))
    for start in range(0, end, _COMPARED_AT_ONCE):
        stop = min(start + _COMPARED_AT_ONCE, end)
        if one[start:stop] != other[start:stop]:
            return next(index for index in range(start, stop) if one[index] != other[index])
    return end


_COMPARED_AT_ONCE = 64
"""Tokens that `common_length` compares in one go. Chosen: comparing slices is faster than a loop over tokens."""
