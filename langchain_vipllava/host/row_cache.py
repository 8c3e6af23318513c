"""`RowCache`: the keys and values of all answers that are being written, one row each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

_GRAIN = 64
"""Columns are made in multiples of it, so that not every token makes room anew."""

_MOST_UNUSED = 256
"""Columns in front of every row's beginning that are put up with before all rows are moved."""


class _RowLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped here
    """One layer: (rows, heads, columns, head size) buffers, written in place; room for more rows than are in use."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, grain: int) -> None:
        super().__init__()
        self.grain = grain
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.dtype, self.device, self.is_initialized = dtype, device, True
        self.rows = self.filled = 0
        self.column: torch.Tensor | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new columns behind the filled ones, and give all filled ones of the rows in use.

        With `column` set, write there in every row, and give whole buffers: see `RowCache.whole`.
        """
        del args, kwargs
        if self.column is not None:
            self.keys.index_copy_(2, self.column, key_states)
            self.values.index_copy_(2, self.column, value_states)
            return self.keys, self.values
        start, self.filled = self.filled, self.filled + key_states.shape[-2]
        if self.filled > self.keys.shape[-2]:
            self.resize(self.keys.shape[0], max(self.filled, self.filled * 9 // 8))
        self.keys[: self.rows, :, start : self.filled] = key_states
        self.values[: self.rows, :, start : self.filled] = value_states
        return self.keys[: self.rows, :, : self.filled], self.values[: self.rows, :, : self.filled]

    def get_seq_length(self, *args: Any) -> int:
        """Filled columns."""
        del args
        return self.filled

    def resize(self, rows: int, columns: int, shift: int = 0) -> None:
        """Move everything into buffers of another size, `shift` columns to the right (negative: to the left).

        Args:
            rows: rows that there is room for.
            columns: columns that there is room for, at least; rounded up to the grain.
            shift: how far to move.
        """
        columns = -(-columns // self.grain) * self.grain
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_zeros((rows, old.shape[1], columns, old.shape[3]))
            kept = old[: self.rows, :, max(-shift, 0) : self.filled]
            new[: self.rows, :, max(shift, 0) : max(shift, 0) + kept.shape[2]] = kept
            setattr(self, name, new)


@dataclass(frozen=True)
class KVShape:
    """The keys and values of one token in one layer: (heads, size) each."""

    heads: int
    size: int
    dtype: torch.dtype


class RowCache(Cache):  # type: ignore[misc]  # transformers is untyped here
    """Rows of different lengths side by side: all end in the same column, the short ones begin later.

    Args:
        devices: device of each layer.
        grain: columns are made in multiples of it.
    """

    def __init__(self, devices: Sequence[torch.device], grain: int = _GRAIN) -> None:
        super().__init__(layers=[])
        self._devices, self._grain = list(devices), grain
        self._column: torch.Tensor | None = None
        self.starts: list[int] = []

    @property
    def width(self) -> int:
        """Filled columns."""
        return int(self.layers[0].filled) if self.layers else 0

    def add(self, rows: Sequence[Sequence[torch.Tensor]], shape: KVShape, more: int = 0) -> None:
        """Add rows.

        Args:
            rows: of each the keys and values in pieces that follow each other, (layers, 2, heads, tokens, head size);
                copied. A row may be empty.
            shape: of one token's keys and values.
            more: columns that will be written next.
        """
        lengths = [sum(piece.shape[-2] for piece in pieces) for pieces in rows]
        self._make_room(len(rows), max(lengths, default=0), shape, more)
        for pieces, length in zip(rows, lengths, strict=True):
            start = self.width - length
            self.starts.append(start)
            for piece in pieces:
                end = start + piece.shape[-2]
                for layer, (keys, values) in zip(self.layers, piece, strict=True):
                    layer.keys[layer.rows, :, start:end] = keys
                    layer.values[layer.rows, :, start:end] = values
                start = end
            for layer in self.layers:
                layer.rows += 1

    def take(self, other: RowCache, rows: Sequence[Sequence[tuple[int, int]]], shape: KVShape) -> None:
        """Add the rows of another cache, of each only some ranges (start, end) of columns, one behind the other."""
        lengths = [sum(end - start for start, end in ranges) for ranges in rows]
        self._make_room(len(rows), max(lengths), shape)
        for number, (ranges, length) in enumerate(zip(rows, lengths, strict=True)):
            to = self.width - length
            self.starts.append(to)
            for start, end in ranges:
                for layer, theirs in zip(self.layers, other.layers, strict=True):
                    layer.keys[layer.rows, :, to : to + end - start] = theirs.keys[number, :, start:end]
                    layer.values[layer.rows, :, to : to + end - start] = theirs.values[number, :, start:end]
                to += end - start
            for layer in self.layers:
                layer.rows += 1

    def drop(self, row: int) -> None:
        """Take a row out; the last row takes its place."""
        last = len(self.starts) - 1
        for layer in self.layers:
            if row != last:
                layer.keys[row], layer.values[row] = layer.keys[last], layer.values[last]
            layer.rows -= 1
        self.starts[row] = self.starts[last]
        self.starts.pop()
        unused = min(self.starts, default=self.width)
        if not self.starts:
            self.crop_to(0)
        elif unused > _MOST_UNUSED:
            self._shift(-unused)

    @property
    def capacity(self) -> tuple[int, int]:
        """Rows and columns that there is room for."""
        keys = self.layers[0].keys
        return int(keys.shape[0]), int(keys.shape[2])

    def make_column(self) -> None:
        """Make room for one more column."""
        rows, columns = self.capacity
        if self.width == columns:
            for layer in self.layers:
                layer.resize(rows, columns + 1)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Meanwhile, a forward pass writes one column of every row there is room for, and sees whole buffers.

        So no shape depends on how many rows and columns are filled. All layers are on one device.
        """
        if self._column is None:
            self._column = torch.zeros(1, dtype=torch.long, device=self._devices[0])
            torch._dynamo.mark_static_address(self._column)
        self._column.fill_(self.width)
        for layer in self.layers:
            layer.column = self._column
            torch._dynamo.mark_static_address(layer.keys)
            torch._dynamo.mark_static_address(layer.values)
        try:
            yield
        finally:
            for layer in self.layers:
                layer.column = None
        for layer in self.layers:
            layer.filled += 1

    def crop_to(self, width: int) -> None:
        """Forget the columns behind `width`."""
        for layer in self.layers:
            layer.filled = min(layer.filled, width)

    def mask(self, new: int = 0) -> torch.Tensor | None:
        """(rows, filled + new columns) of 1, and 0 in front of a row's beginning; None when there is no 0."""
        if not any(self.starts):
            return None
        columns = torch.arange(self.width + new)
        return (columns[None] >= torch.tensor(self.starts)[:, None]).long()

    def columns(self, row: int, start: int, end: int) -> torch.Tensor:
        """Keys and values of some columns of a row, (layers, 2, heads, end - start, head size).

        A copy, on the first layer's device.
        """
        both = [buffer[row, :, start:end] for layer in self.layers for buffer in (layer.keys, layer.values)]
        stacked = torch.stack([part.to(self._devices[0]) for part in both])
        return stacked.view(len(self.layers), 2, *stacked.shape[1:])

    def _make_room(self, rows: int, tokens: int, shape: KVShape, more: int = 0) -> None:
        """Make the buffers large enough for further rows of at most `tokens` tokens, and `more` columns behind them."""
        if not self.layers:
            nothing = (0, shape.heads, 0, shape.size)
            self.layers.extend(_RowLayer(nothing, shape.dtype, device, self._grain) for device in self._devices)
        shift = max(tokens - self.width, 0)
        for layer in self.layers:
            enough = max(layer.rows + rows, layer.keys.shape[0])
            columns = layer.filled + shift + more
            if enough > layer.keys.shape[0] or columns >= layer.keys.shape[2] or (shift and layer.rows):
                if self._grain > _GRAIN:  # few sizes, each of which is compiled
                    enough = 1 << (enough - 1).bit_length()
                layer.resize(enough, max(columns + 1, layer.keys.shape[2]), shift)
            layer.filled += shift
        self.starts = [start + shift for start in self.starts]

    def _shift(self, by: int) -> None:
        """Move all rows to the right (or left), and the end with them."""
        for layer in self.layers:
            layer.resize(layer.keys.shape[0], layer.filled + by + 1, by)
            layer.filled += by
        self.starts = [start + by for start in self.starts]
