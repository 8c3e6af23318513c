"""`PrefixCache`: keys and values of what was computed before, found again by token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

TokenKey = tuple[int, ...]
"""Token ids; where an image stands, negative numbers that tell this image from every other."""


@dataclass(eq=False)
class _Node:
    """Tokens that follow the parent's, with their keys and values, (layers, 2, heads, tokens, head size)."""

    ids: TokenKey
    kv: torch.Tensor | None
    parent: _Node | None
    children: dict[int, _Node] = field(default_factory=dict)
    used: int = 0

    @property
    def bytes(self) -> int:
        return 0 if self.kv is None else self.kv.numel() * self.kv.element_size()


class PrefixCache:
    """A tree of token ids: what two prompts share is kept once.

    The least recently used leaves go first when there are too many bytes.

    Args:
        max_bytes: bound of the keys and values kept; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.evictions = 0
        self._root = _Node((), None, None)
        self._clock = 0

    def find(self, ids: TokenKey, most: int) -> list[torch.Tensor]:
        """Keys and values of the longest known prefix of at most `most` tokens, in pieces that follow each other."""
        parts: list[torch.Tensor] = []
        for node, count in self._walk(ids[:most]):
            assert node.kv is not None  # noqa: S101  # only the root has none
            parts.append(node.kv[..., :count, :])
        return parts

    def known(self, ids: TokenKey) -> int:
        """Length of the longest known prefix, in tokens."""
        return sum(count for _, count in self._walk(ids))

    def add(self, ids: TokenKey, copy: Callable[[int], torch.Tensor]) -> None:
        """Keep the keys and values of a prefix; what is known is not kept twice.

        Args:
            ids: the prefix.
            copy: gives the keys and values of `ids[start:]`, in memory of their own.
        """
        if not self.max_bytes or not ids:
            return
        self._clock += 1
        node, done = self._root, 0
        for step, count in self._walk(ids):
            step.used = self._clock
            if count < len(step.ids):
                self._split(step, count)
            node, done = step, done + count
        if done < len(ids):
            leaf = _Node(ids[done:], copy(done), node, used=self._clock)
            node.children[ids[done]] = leaf
            self.bytes += leaf.bytes
        self._evict()

    def clear(self) -> None:
        """Forget everything."""
        self._root, self.bytes = _Node((), None, None), 0

    def _walk(self, ids: TokenKey) -> Iterator[tuple[_Node, int]]:
        """Nodes along the known prefix, each with how many of its tokens belong to it."""
        node, done = self._root, 0
        while done < len(ids) and (child := node.children.get(ids[done])) is not None:
            count = common_length(child.ids, ids[done : done + len(child.ids)])
            yield child, count
            done += count
            if count < len(child.ids):
                return
            node = child

    def _split(self, node: _Node, count: int) -> None:
        """Cut a node in two; the second half becomes its child."""
        assert node.kv is not None  # noqa: S101  # only the root has none, and it has no tokens to cut
        rest = _Node(node.ids[count:], node.kv[..., count:, :].clone(), node, node.children, node.used)
        for child in rest.children.values():
            child.parent = rest
        node.ids, node.kv, node.children = node.ids[:count], node.kv[..., :count, :].clone(), {rest.ids[0]: rest}

    def _evict(self) -> None:
        while self.bytes > self.max_bytes:
            leaf = min(self._leaves(self._root), key=lambda node: node.used)
            assert leaf.parent is not None  # noqa: S101  # the root is no leaf while bytes are kept
            del leaf.parent.children[leaf.ids[0]]
            self.bytes -= leaf.bytes
            self.evictions += 1

    def _leaves(self, node: _Node) -> Iterator[_Node]:
        inner = [node]  # a list of its own: a conversation of a thousand turns is a thousand nodes deep
        while inner:
            for child in inner.pop().children.values():
                if child.children:
                    inner.append(child)
                else:
                    yield child


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading tokens are the same."""
    if one == other:
        return len(one)
    return next(
        (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
