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

_COLUMN_MULTIPLE = 64
"""Number of columns of the buffers is a multiple of it, so that not every token reallocates them. Chosen, not tuned."""

COMPILED_COLUMN_MULTIPLE = 1024
"""The same if decoding is compiled, where each size is a graph. Chosen: a question about an image (some 600 tokens at
7B) and its answer fit the first size."""

_SPARE_DIVISOR = 8
"""Buffers are allocated with a spare eighth of their columns, for the tokens of the answers. Chosen, not tuned."""

_LEFT_SPARE_COLUMNS = 64
"""Columns before the first rows of an empty cache: a prompt longer by as many can join without moving them. Chosen."""

_MAX_UNUSED_COLUMNS = 256
"""Unused columns before the start of the longest row; with more, all rows move left. Chosen: at 7B they take 128 MiB
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
        self.column: torch.Tensor | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new columns of the visible range, and return the whole range.

        If `column` is set, write that column of every row, and return the whole buffers: see
        `BatchKVCache.full_buffers`.

        Both states are (rows, heads, new columns, head size); both results (rows, heads, visible columns, head size).
        """
        del args, kwargs
        if self.column is not None:
            self.keys.index_copy_(2, self.column, key_states)  # (all rows, heads, 1, head size)
            self.values.index_copy_(2, self.column, value_states)
            return self.keys, self.values
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

    Args:
        devices: device of each layer.
        compiled: whether decoding is compiled: the buffers then take few sizes, as each size is a graph.

    Attributes:
        row_starts: first column of each row.
        width: end column of every row, exclusive.
    """

    def __init__(self, devices: abc.Sequence[torch.device], *, compiled: bool = False) -> None:
        super().__init__(layers=[])
        self._devices, self._compiled = list(devices), compiled
        self._column: torch.Tensor | None = None
        self.row_starts: list[int] = []
        self.width = 0

    def add_rows(
        self, prefixes: abc.Sequence[abc.Sequence[torch.Tensor]], lengths: abc.Sequence[int], shape: KVShape
    ) -> None:
        """Add rows whose first tokens are cached; a forward pass in a `visible_range` computes the others.

        Args:
            prefixes: for each row the cached keys and values, in consecutive pieces of (layers, 2, heads, tokens,
                head size) that are copied. May be empty.
            lengths: tokens of each row, with those that are not computed yet.
            shape: of the keys and values of one token.
        """
        first = len(self.row_starts)
        self._reserve(len(lengths), max(lengths), shape)
        self.row_starts += [self.width - length for length in lengths]
        # attention ignores what is outside a row, but its weight of 0 times a leftover NaN would still be NaN
        for buffer in self._buffers():
            buffer[first : len(self.row_starts), :, : max(self.row_starts[first:])] = 0
            buffer[first : len(self.row_starts), :, self.width :] = 0
        for row, pieces in enumerate(prefixes, first):
            start = self.row_starts[row]
            for piece in pieces:
                end = start + piece.shape[-2]
                for layer, (keys, values) in zip(self.layers, piece, strict=True):
                    layer.keys[row, :, start:end] = keys  # (heads, tokens, head size)
                    layer.values[row, :, start:end] = values
                start = end

    def free_row(self, row: int) -> None:
        """Free a row. The last row moves into its place."""
        last = len(self.row_starts) - 1
        columns = slice(self.row_starts[last], self.width)
        for buffer in self._buffers() if row != last else ():
            buffer[row, :, columns] = buffer[last, :, columns]
            buffer[row, :, : columns.start] = 0
        self.row_starts[row] = self.row_starts[last]
        self.row_starts.pop()
        if not self.row_starts:
            self.width = 0

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

    def append_column(self) -> None:
        """Make every row one token longer; the next forward pass computes it."""
        rows, columns = self.capacity
        unused = min(self.row_starts)
        if unused > _MAX_UNUSED_COLUMNS:
            self._resize(rows, columns, -unused)
        elif self.width == columns:
            self._resize(rows, columns + columns // _SPARE_DIVISOR, 0)
        self.width += 1

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

    @contextmanager
    def full_buffers(self) -> Iterator[None]:
        """Make forward passes inside the `with` block write the last column of every allocated row and see all buffers.

        No shape then depends on how many rows and columns are in use. All layers must be on one device.
        """
        if self._column is None:
            self._column = torch.zeros(1, dtype=torch.long, device=self._devices[0])
            torch._dynamo.mark_static_address(self._column)
        self._column.fill_(self.width - 1)
        for layer in self.layers:
            layer.column = self._column
            torch._dynamo.mark_static_address(layer.keys)
            torch._dynamo.mark_static_address(layer.values)
        try:
            yield
        finally:
            for layer in self.layers:
                layer.column = None

    def copy_row(self, row: int, start: int) -> torch.Tensor:
        """Copy the keys and values of a row from its token `start` on.

        Returns:
            (layers, 2, heads, tokens, head size) on the device of the first layer.
        """
        columns = slice(self.row_starts[row] + start, self.width)
        # (layers * 2, heads, tokens, head size)
        stacked = torch.stack([buffer[row, :, columns].to(self._devices[0]) for buffer in self._buffers()])
        return stacked.view(len(self.layers), 2, *stacked.shape[1:])

    def _buffers(self) -> list[torch.Tensor]:
        """Return keys and values of each layer: (rows, heads, columns, head size) each."""
        return [buffer for layer in self.layers for buffer in (layer.keys, layer.values)]

    def _reserve(self, rows: int, tokens: int, shape: KVShape) -> None:
        """Make room for `rows` more rows of at most `tokens` tokens."""
        if not self.layers:
            empty = (0, shape.heads, 0, shape.head_size)
            self.layers.extend(_RowLayer(empty, shape.dtype, device) for device in self._devices)
        used, (allocated_rows, allocated_columns) = len(self.row_starts), self.capacity
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
        self.width += shift
        self.row_starts = [start + shift for start in self.row_starts]
