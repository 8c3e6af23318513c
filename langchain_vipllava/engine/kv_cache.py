"""`BatchKVCache`: the keys and values of all running sequences, one row each."""

from __future__ import annotations

import inspect
from collections import abc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

from langchain_vipllava.engine.shared_prefix import SharedGroup, SharedPrefix, group_rows

_COLUMN_MULTIPLE = 8
"""Number of columns of the buffers is a multiple of it, so that not every token reallocates them. Chosen: of 16 rows
that share an image, a larger one would be a good part of their memory."""

COMPILED_COLUMN_MULTIPLE = 256
"""The same if decoding is compiled, where each size is recorded as a graph of its own. Chosen: attention reads all
columns, so fewer cost less; the answer to a question about an image (some 600 tokens at 7B) fits the first size."""

_SPARE_DIVISOR = 8
"""Buffers are allocated with a spare eighth of their columns, for the tokens of the answers. Chosen, not tuned."""

_LEFT_SPARE_COLUMNS = 64
"""Columns before the first rows of an empty cache: a prompt longer by as many can join without moving them. Chosen."""

_MAX_UNUSED_COLUMNS = 64
"""Unused columns before the start of the longest row; with more, all rows move left. Chosen: at 7B they take 32 MiB
per row (512 KiB per token)."""


def cache_argument(language_model: Any) -> str:
    """Return the name of the argument with which a language model takes a cache.

    transformers 5.24 renamed `past_key_values` to `cache`, and drops the older name in 5.40.
    """
    return "cache" if "cache" in inspect.signature(language_model.forward).parameters else "past_key_values"


@dataclass(frozen=True)
class _VisibleRange:
    """What a forward pass sees: some rows, some of their columns, of which it computes the last `new`."""

    rows: slice
    columns: slice
    new: int


class _RowLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped here
    """One layer: (rows, heads, columns, head size) buffers, written in place, that may have unused rows and columns."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.dtype, self.device, self.is_initialized = dtype, device, True
        self.visible: _VisibleRange | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new columns of the visible range, and return the whole range.

        Both states are (rows, heads, new columns, head size); both results (rows, heads, visible columns, head size).
        """
        del args, kwargs
        assert self.visible is not None  # noqa: S101  # every forward pass runs inside BatchKVCache.visible_range
        rows, columns = self.visible.rows, self.visible.columns
        self.keys[rows, :, columns.stop - self.visible.new : columns.stop] = key_states
        self.values[rows, :, columns.stop - self.visible.new : columns.stop] = value_states
        return self.keys[rows, :, columns], self.values[rows, :, columns]

    def get_seq_length(self, *args: Any) -> int:
        """Return the number of visible columns that are not new."""
        del args
        visible = self.visible
        return 0 if visible is None else visible.columns.stop - visible.columns.start - visible.new

    def resize(self, rows: int, columns: int, used: tuple[int, int], shift: int) -> None:
        """Reallocate the buffers with `rows` and `columns`.

        Args:
            rows: new number of rows.
            columns: new number of columns.
            used: rows and columns whose content is copied.
            shift: columns by which the content moves, to the right if positive.
        """
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_zeros((rows, old.shape[1], columns, old.shape[3]))
            moved = old[: used[0], :, max(-shift, 0) : used[1]]
            new[: used[0], :, max(shift, 0) : max(shift, 0) + moved.shape[2]] = moved
            setattr(self, name, new)


@dataclass(frozen=True)
class KVShape:
    """The keys and the values of one token in one layer: (heads, head size) each."""

    heads: int
    head_size: int
    dtype: torch.dtype


class BatchKVCache(Cache):  # type: ignore[misc]  # transformers is untyped here
    """A left-padded batch: every row ends at column `width` (exclusive).

    A row's first tokens may be elsewhere, in prefixes that it shares with other rows; its columns hold the others.

    Args:
        devices: device of each layer.
        compiled: whether decoding is compiled: the buffers then take few sizes, as each size is a graph.

    Attributes:
        row_starts: first column of each row.
        row_prefixes: the shared prefixes of each row, in the order of its tokens.
        width: end column of every row, exclusive.
        version: how often the buffers were allocated.
    """

    def __init__(self, devices: abc.Sequence[torch.device], *, compiled: bool = False) -> None:
        super().__init__(layers=[])
        self._devices, self._compiled = list(devices), compiled
        self.version = 0
        self.row_starts: list[int] = []
        self.row_prefixes: list[tuple[SharedPrefix, ...]] = []
        self.width = 0

    def add_rows(
        self,
        prefixes: abc.Sequence[abc.Sequence[torch.Tensor]],
        lengths: abc.Sequence[int],
        shape: KVShape,
        shared: abc.Sequence[abc.Sequence[SharedPrefix]] | None = None,
    ) -> None:
        """Add rows whose first tokens are cached; a forward pass in a `visible_range` computes the others.

        Args:
            prefixes: for each row the cached keys and values behind those that it shares, in consecutive pieces of
                (layers, 2, heads, tokens, head size) that are copied. May be empty.
            lengths: tokens of each row behind those that it shares, with those that are not computed yet.
            shape: of the keys and values of one token.
            shared: the prefixes that each row shares; none by default.
        """
        first = len(self.row_starts)
        self._reserve(len(lengths), max(lengths), shape)
        self.row_starts += [self.width - length for length in lengths]
        self.row_prefixes += [tuple(row) for row in shared] if shared is not None else [()] * len(lengths)
        # attention ignores what is outside a row, but its weight of 0 times a leftover NaN would still be NaN
        new, end = slice(first, len(self.row_starts)), max(self.row_starts[first:])
        torch._foreach_zero_([buffer[new, :, :end] for buffer in self._buffers()])
        torch._foreach_zero_([buffer[new, :, self.width :] for buffer in self._buffers()])
        for row, pieces in enumerate(prefixes, first):
            start = self.row_starts[row]
            for piece in pieces:
                end = start + piece.shape[-2]
                torch._foreach_copy_(
                    [buffer[row, :, start:end] for buffer in self._buffers()],  # (heads, tokens, head size) each
                    list(piece.flatten(0, 1).unbind()),
                )
                start = end

    def share(self, row: int, prefixes: abc.Sequence[SharedPrefix]) -> None:
        """Make a row read its first tokens from shared prefixes, which hold what its own columns and prefixes hold.

        Args:
            row: the row.
            prefixes: with at least as many tokens as those that it shares already.
        """
        self.row_starts[row] += sum(p.tokens for p in prefixes) - self.shared_tokens(row)
        self.row_prefixes[row] = tuple(prefixes)

    def shared_tokens(self, row: int) -> int:
        """Return how many of a row's first tokens are in shared prefixes."""
        return sum(prefix.tokens for prefix in self.row_prefixes[row])

    def length(self, row: int) -> int:
        """Return the number of a row's tokens."""
        return self.shared_tokens(row) + self.width - self.row_starts[row]

    def shared_groups(self, rows: slice) -> tuple[SharedGroup, ...]:
        """Return which of some rows read which shared prefixes."""
        return group_rows(self.row_prefixes[rows])

    def free_row(self, row: int) -> None:
        """Free a row. The last row moves into its place."""
        last = len(self.row_starts) - 1
        columns = slice(self.row_starts[last], self.width)
        for buffer in self._buffers() if row != last else ():
            buffer[row, :, columns] = buffer[last, :, columns]
            buffer[row, :, : columns.start] = 0
        self.row_starts[row], self.row_prefixes[row] = self.row_starts[last], self.row_prefixes[last]
        self.row_starts.pop()
        self.row_prefixes.pop()
        if not self.row_starts:
            self.width = 0
        elif not self._compiled and 4 * last <= 3 * self.capacity[0]:
            self._resize(last, self.capacity[1], 0)  # what the prefix cache keeps of freed rows takes memory too

    @property
    def capacity(self) -> tuple[int, int]:
        """Allocated rows and columns."""
        if not self.layers:
            return 0, 0
        keys = self.layers[0].keys
        return int(keys.shape[0]), int(keys.shape[2])

    @property
    def bytes(self) -> int:
        """Size of the buffers."""
        return sum(buffer.nbytes for buffer in self._buffers())

    def append_columns(self, count: int) -> None:
        """Make every row some tokens longer; the next forward pass computes them."""
        rows, columns = self.capacity
        unused = min(self.row_starts)
        if unused > _MAX_UNUSED_COLUMNS:
            needed = self.width - unused + count
            self._resize(rows, needed + needed // _SPARE_DIVISOR, -unused)
        elif self.width + count > columns:
            needed = self.width + count
            self._resize(rows, needed + needed // _SPARE_DIVISOR, 0)
        self.width += count

    @contextmanager
    def visible_range(self, rows: slice, new: int) -> Iterator[torch.Tensor | None]:
        """Limit forward passes inside the `with` block to some rows, of which they compute the last `new` columns.

        Yields:
            The attention mask, (rows, visible columns): 1 inside a row, 0 before its start. None if all are 1.
        """
        starts = self.row_starts[rows]
        columns = slice(min(starts), self.width)
        for layer in self.layers:
            layer.visible = _VisibleRange(rows, columns, new)
        try:
            indices = torch.arange(columns.start, columns.stop)  # (columns,)
            aligned = min(starts) == max(starts)  # attention is faster without a mask
            yield None if aligned else (indices[None] >= torch.tensor(starts)[:, None]).long()  # (rows, columns)
        finally:
            for layer in self.layers:
                layer.visible = None

    def visible_columns(self, rows: slice) -> int:
        """Return how many columns the longest of some rows has."""
        return self.width - min(self.row_starts[rows])

    def copy_row(self, row: int, end: int, start: int) -> torch.Tensor:
        """Copy the keys and values of a row, from its token `start` to its token `end`, exclusive.

        Returns:
            (layers, 2, heads, tokens, head size) on the device of the first layer.
        """
        shared = self.shared_tokens(row)
        first = self.row_starts[row] - shared  # where column 0 of the row would be, if it shared nothing
        columns = slice(first + max(start, shared), first + end)
        # (layers * 2, heads, tokens, head size)
        own = torch.stack([buffer[row, :, columns].to(self._devices[0]) for buffer in self._buffers()])
        own = own.view(len(self.layers), 2, *own.shape[1:])
        if start >= shared:
            return own
        prefix = torch.cat([prefix.kv for prefix in self.row_prefixes[row]], dim=-2)
        return torch.cat([prefix[..., start:end, :], own], dim=-2)

    def _buffers(self) -> list[torch.Tensor]:
        """Return keys and values of each layer: (rows, heads, columns, head size) each."""
        return [buffer for layer in self.layers for buffer in (layer.keys, layer.values)]

    def _reserve(self, rows: int, tokens: int, shape: KVShape) -> None:
        """Make room for `rows` more rows of at most `tokens` tokens."""
        if not self.layers:
            empty = (0, shape.heads, 0, shape.head_size)
            self.layers.extend(_RowLayer(empty, shape.dtype, device) for device in self._devices)
        used, (allocated_rows, allocated_columns) = len(self.row_starts), self.capacity
        longest = max(tokens, self.width - min(self.row_starts, default=self.width))
        if used and self.width - longest > _MAX_UNUSED_COLUMNS:  # such as those of tokens that are now shared
            shift = longest - self.width
        else:
            shift = max(tokens - self.width, 0) if used else tokens + _LEFT_SPARE_COLUMNS
        needed_rows, needed_columns = used + rows, self.width + shift + 1
        if needed_rows <= allocated_rows and needed_columns <= allocated_columns and not (shift and used):
            self.width += shift
        elif self._compiled:
            self._resize(1 << (needed_rows - 1).bit_length(), needed_columns, shift)
        else:
            self._resize(needed_rows, needed_columns + needed_columns // _SPARE_DIVISOR, shift)

    def _resize(self, rows: int, columns: int, shift: int) -> None:
        """Reallocate all buffers and move their content, and with it `width`, by `shift` columns."""
        multiple = COMPILED_COLUMN_MULTIPLE if self._compiled else _COLUMN_MULTIPLE
        columns = -(-columns // multiple) * multiple  # rounded up
        for layer in self.layers:
            layer.resize(rows, columns, (len(self.row_starts), self.width), shift)
        self.version += 1
        self.width += shift
        self.row_starts = [start + shift for start in self.row_starts]
