"""`RowCache`: the keys and values of all answers that are being written, one row each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

_SPARE_COLUMNS = 64
"""Columns made beyond what is needed, so that not every token makes room anew."""

_MOST_UNUSED = 256
"""Columns in front of every row's beginning that are put up with before all rows are moved."""


class _RowLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped here
    """One layer: (rows, heads, columns, head size) buffers, written in place; room for more rows than are in use."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.dtype, self.device, self.is_initialized = dtype, device, True
        self.rows = self.filled = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new columns behind the filled ones, and give all filled ones of the rows in use."""
        del args, kwargs
        start, self.filled = self.filled, self.filled + key_states.shape[-2]
        if self.filled > self.keys.shape[-2]:
            self.resize(self.keys.shape[0], max(self.filled + _SPARE_COLUMNS, self.filled * 9 // 8))
        self.keys[: self.rows, :, start : self.filled] = key_states
        self.values[: self.rows, :, start : self.filled] = value_states
        return self.keys[: self.rows, :, : self.filled], self.values[: self.rows, :, : self.filled]

    def get_seq_length(self, *args: Any) -> int:
        """Filled columns."""
        del args
        return self.filled

    def resize(self, rows: int, columns: int, shift: int = 0) -> None:
        """Move everything into buffers of another size, `shift` columns to the right (negative: to the left)."""
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_zeros((rows, old.shape[1], columns, old.shape[3]))
            kept = old[: self.rows, :, max(-shift, 0) : self.filled]
            new[: self.rows, :, max(shift, 0) : max(shift, 0) + kept.shape[2]] = kept
            setattr(self, name, new)


class RowCache(Cache):  # type: ignore[misc]  # transformers is untyped here
    """Rows of different lengths side by side: all end in the same column, the short ones begin later.

    Args:
        devices: device of each layer.
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        super().__init__(layers=[])
        self._devices = list(devices)
        self.starts: list[int] = []

    @property
    def width(self) -> int:
        """Filled columns."""
        return int(self.layers[0].filled) if self.layers else 0

    def add(self, kv: torch.Tensor) -> None:
        """Add a row.

        Args:
            kv: keys and values, (layers, 2, heads, tokens, head size); copied.
        """
        tokens = kv.shape[-2]
        self._make_room(kv)
        for layer, (keys, values) in zip(self.layers, kv, strict=True):
            row, start = layer.rows, layer.filled - tokens
            layer.keys[row, :, start : layer.filled] = keys
            layer.values[row, :, start : layer.filled] = values
            layer.rows += 1
        self.starts.append(self.width - tokens)

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

    def row(self, row: int) -> torch.Tensor:
        """Keys and values of a row, (layers, 2, heads, tokens, head size); a copy."""
        return self.columns(row, self.starts[row], self.width)

    def columns(self, row: int, start: int, end: int) -> torch.Tensor:
        """Keys and values of some columns of a row; a copy, on the first layer's device."""
        both = [buffer[row, :, start:end] for layer in self.layers for buffer in (layer.keys, layer.values)]
        stacked = torch.stack([part.to(self._devices[0]) for part in both])
        return stacked.view(len(self.layers), 2, *stacked.shape[1:])

    def _make_room(self, kv: torch.Tensor) -> None:
        _, _, heads, tokens, size = kv.shape
        if not self.layers:
            shape = (1, heads, tokens + _SPARE_COLUMNS, size)
            self.layers.extend(_RowLayer(shape, kv.dtype, device) for device in self._devices)
        if tokens > self.width and not self.starts:
            for layer in self.layers:
                if tokens > layer.keys.shape[2]:
                    layer.resize(layer.keys.shape[0], tokens + _SPARE_COLUMNS)
                layer.filled = tokens
        elif tokens > self.width:
            self._shift(tokens - self.width)
        for layer in self.layers:
            if layer.rows == layer.keys.shape[0]:
                layer.resize(2 * layer.rows, layer.keys.shape[2])

    def _shift(self, by: int) -> None:
        """Move all rows to the right (or left), and the end with them."""
        for layer in self.layers:
            layer.resize(layer.keys.shape[0], layer.filled + by + _SPARE_COLUMNS, by)
            layer.filled += by
        self.starts = [start + by for start in self.starts]
