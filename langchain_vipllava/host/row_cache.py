"""`RowCache`: the keys and values of all answers that are being written, one row each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

_SPARE_COLUMNS = 64
"""Columns that are made beyond what is needed, so that not every token makes room anew."""


class _RowLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped here
    """One layer: (rows, heads, columns, head size) buffers that are written in place."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, filled: int) -> None:
        super().__init__()
        self.keys, self.values, self.filled = keys, values, filled
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new columns behind the filled ones, and give all filled ones."""
        del args, kwargs
        start, self.filled = self.filled, self.filled + key_states.shape[-2]
        if self.filled > self.keys.shape[-2]:
            self.keys, self.values = (_widen(buffer, self.filled) for buffer in (self.keys, self.values))
        self.keys[:, :, start : self.filled] = key_states
        self.values[:, :, start : self.filled] = value_states
        return self.keys[:, :, : self.filled], self.values[:, :, : self.filled]

    def get_seq_length(self, *args: Any) -> int:
        """Filled columns."""
        del args
        return self.filled


class RowCache(Cache):  # type: ignore[misc]  # transformers is untyped here
    """Rows of different lengths side by side: all end in the same column, the short ones begin later.

    Args:
        rows: keys and values of each row, (layers, 2, heads, tokens, head size); not kept.
    """

    def __init__(self, rows: Sequence[torch.Tensor]) -> None:
        width = max(row.shape[-2] for row in rows)
        layers, _, heads, _, size = rows[0].shape
        shape = (2, len(rows), heads, width + _SPARE_COLUMNS, size)
        buffers = [rows[0].new_zeros(shape) for _ in range(layers)]
        self.starts = [width - row.shape[-2] for row in rows]
        for index, (row, start) in enumerate(zip(rows, self.starts, strict=True)):
            for layer, buffer in enumerate(buffers):
                buffer[:, index, :, start:width] = row[layer]
        super().__init__(layers=[_RowLayer(buffer[0], buffer[1], width) for buffer in buffers])

    @property
    def width(self) -> int:
        """Filled columns."""
        return int(self.layers[0].filled)

    def mask(self, new: int = 0) -> torch.Tensor | None:
        """(rows, columns) mask of filled and `new` columns, 0 before a row begins; None when all rows are full."""
        if not any(self.starts):
            return None
        columns = torch.arange(self.width + new, device=self.layers[0].keys.device)
        starts = torch.tensor(self.starts, device=columns.device)
        return (columns[None] >= starts[:, None]).long()

    def row(self, index: int, start: int = 0) -> torch.Tensor:
        """Keys and values of one row from its token `start` on, (layers, 2, heads, tokens, head size); a copy."""
        first = self.starts[index] + start
        return torch.stack(
            [
                torch.stack((layer.keys[index, :, first : layer.filled], layer.values[index, :, first : layer.filled]))
                for layer in self.layers
            ]
        )

    def changed(self, keep: Sequence[int], new: Sequence[torch.Tensor]) -> RowCache | None:
        """The cache with only some of its rows, and new ones behind them; None without any row."""
        if not keep and not new:
            return None
        return RowCache([*(self.row(index) for index in keep), *new])


def _widen(buffer: torch.Tensor, columns: int) -> torch.Tensor:
    rows, heads, before, size = buffer.shape
    wider = buffer.new_zeros((rows, heads, max(columns + _SPARE_COLUMNS, before * 5 // 4), size))
    wider[:, :, :before] = buffer
    return wider
