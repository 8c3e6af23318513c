"""`BatchKVCache`: the keys and values of all answers that are being written, one row each."""

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


@dataclass(frozen=True)
class _Window:
    """What a forward pass sees: some rows, some columns of them, the last `new` of which it computes."""

    rows: slice
    columns: slice
    new: int


class _RowLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped here
    """One layer: (rows, heads, columns, head size) buffers, written in place; room for more rows than are in use."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.dtype, self.device, self.is_initialized = dtype, device, True
        self.window: _Window | None = None
        self.column: torch.Tensor | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new columns of the window, and give all of it.

        With `column` set, write there in every row, and give whole buffers: see `BatchKVCache.whole`.
        """
        del args, kwargs
        if self.column is not None:
            self.keys.index_copy_(2, self.column, key_states)
            self.values.index_copy_(2, self.column, value_states)
            return self.keys, self.values
        assert self.window is not None  # noqa: S101  # BatchKVCache.window is around every forward pass
        rows, columns = self.window.rows, self.window.columns
        self.keys[rows, :, columns.stop - self.window.new : columns.stop] = key_states
        self.values[rows, :, columns.stop - self.window.new : columns.stop] = value_states
        return self.keys[rows, :, columns], self.values[rows, :, columns]

    def get_seq_length(self, *args: Any) -> int:
        """Columns that are seen and not new."""
        del args
        seen = self.window
        return 0 if seen is None else seen.columns.stop - seen.columns.start - seen.new

    def resize(self, rows: int, columns: int, kept: tuple[int, int], shift: int) -> None:
        """Move the first kept (rows, columns) into buffers of another size, `shift` columns to the right or left."""
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_zeros((rows, old.shape[1], columns, old.shape[3]))
            moved = old[: kept[0], :, max(-shift, 0) : kept[1]]
            new[: kept[0], :, max(shift, 0) : max(shift, 0) + moved.shape[2]] = moved
            setattr(self, name, new)


@dataclass(frozen=True)
class KVShape:
    """The keys and values of one token in one layer: (heads, size) each."""

    heads: int
    size: int
    dtype: torch.dtype


class BatchKVCache(Cache):  # type: ignore[misc]  # transformers is untyped here
    """Rows of different lengths side by side: all end in the same column, the short ones begin later.

    Args:
        devices: device of each layer.
        grain: columns are made in multiples of it.

    Attributes:
        starts: column in which each row begins.
        width: column behind the end of all rows.
    """

    def __init__(self, devices: Sequence[torch.device], grain: int = _GRAIN) -> None:
        super().__init__(layers=[])
        self._devices, self._grain = list(devices), grain
        self._column: torch.Tensor | None = None
        self.starts: list[int] = []
        self.width = 0

    def add(self, prefixes: Sequence[Sequence[torch.Tensor]], lengths: Sequence[int], shape: KVShape) -> None:
        """Add rows, of which only the beginning is known; the rest is computed next, in a `window`.

        Args:
            prefixes: of each row the keys and values that are known, in pieces that follow each other, (layers, 2,
                heads, tokens, head size); copied. May be empty.
            lengths: tokens of each row, those included that are not known.
            shape: of one token's keys and values.
        """
        first = len(self.starts)
        self._make_room(len(lengths), max(lengths), shape)
        self.starts += [self.width - length for length in lengths]
        for buffer in self._buffers():  # nothing that stood there before is seen, but not-a-number times 0 is no 0
            buffer[first : len(self.starts), :, : max(self.starts[first:])] = 0
            buffer[first : len(self.starts), :, self.width :] = 0
        for row, pieces in enumerate(prefixes, first):
            start = self.starts[row]
            for piece in pieces:
                end = start + piece.shape[-2]
                for layer, (keys, values) in zip(self.layers, piece, strict=True):
                    layer.keys[row, :, start:end] = keys
                    layer.values[row, :, start:end] = values
                start = end

    def drop(self, row: int) -> None:
        """Take a row out; the last row takes its place."""
        last = len(self.starts) - 1
        place = slice(self.starts[last], self.width)
        for buffer in self._buffers() if row != last else ():
            buffer[row, :, place] = buffer[last, :, place]
            buffer[row, :, : place.start] = 0
        self.starts[row] = self.starts[last]
        self.starts.pop()
        if not self.starts:
            self.width = 0

    @property
    def capacity(self) -> tuple[int, int]:
        """Rows and columns that there is room for."""
        if not self.layers:
            return 0, 0
        keys = self.layers[0].keys
        return int(keys.shape[0]), int(keys.shape[2])

    @property
    def bytes(self) -> int:
        """Size of the buffers."""
        return sum(buffer.nbytes for buffer in self._buffers())

    def add_column(self) -> None:
        """Make every row a token longer, which is computed next."""
        rows, columns = self.capacity
        unused = min(self.starts)
        if unused > _MOST_UNUSED:
            self._resize(rows, columns, -unused)
        elif self.width == columns:
            self._resize(rows, columns + columns // 8, 0)
        self.width += 1

    @contextmanager
    def window(self, rows: slice, new: int) -> Iterator[torch.Tensor | None]:
        """Meanwhile, a forward pass sees some rows only, and computes their last `new` columns.

        Gives:
            (rows, columns seen) of 1, and 0 in front of a row's beginning; None when there is no 0.
        """
        starts = self.starts[rows]
        columns = slice(min(starts), self.width)
        for layer in self.layers:
            layer.window = _Window(rows, columns, new)
        try:
            numbers = torch.arange(columns.start, columns.stop)
            alike = min(starts) == max(starts)  # attention is faster without a mask
            yield None if alike else (numbers[None] >= torch.tensor(starts)[:, None]).long()
        finally:
            for layer in self.layers:
                layer.window = None

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Meanwhile, a forward pass writes the last column of every row there is room for, and sees whole buffers.

        So no shape depends on how many rows and columns are filled. All layers are on one device.
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

    def columns(self, row: int, start: int) -> torch.Tensor:
        """Keys and values of a row from its n-th token on, (layers, 2, heads, tokens, head size).

        A copy, on the first layer's device.
        """
        place = slice(self.starts[row] + start, self.width)
        stacked = torch.stack([buffer[row, :, place].to(self._devices[0]) for buffer in self._buffers()])
        return stacked.view(len(self.layers), 2, *stacked.shape[1:])

    def _buffers(self) -> list[torch.Tensor]:
        """Keys and values of each layer."""
        return [buffer for layer in self.layers for buffer in (layer.keys, layer.values)]

    def _make_room(self, rows: int, tokens: int, shape: KVShape) -> None:
        """Make room for further rows of at most `tokens` tokens."""
        if not self.layers:
            nothing = (0, shape.heads, 0, shape.size)
            self.layers.extend(_RowLayer(nothing, shape.dtype, device) for device in self._devices)
        used, room = len(self.starts), self.capacity
        # in front of the first rows, some columns for longer ones that come later: or all had to move
        shift = max(tokens - self.width, 0) if used else tokens + _GRAIN
        need_rows, need_columns = used + rows, self.width + shift + 1
        if need_rows <= room[0] and need_columns <= room[1] and not (shift and used):
            self.width += shift
        elif self._grain > _GRAIN:  # few sizes, each of which is compiled
            self._resize(1 << (need_rows - 1).bit_length(), need_columns, shift)
        else:  # and behind them, for the answers, and turns that follow
            self._resize(need_rows, need_columns + need_columns // 8, shift)

    def _resize(self, rows: int, columns: int, shift: int) -> None:
        """Move all rows into buffers of another size, to the right or left, and their end with them."""
        columns = -(-columns // self._grain) * self._grain
        for layer in self.layers:
            layer.resize(rows, columns, (len(self.starts), self.width), shift)
        self.width += shift
        self.starts = [start + shift for start in self.starts]
