"""`attend`: attention of one new token per row, by Triton kernels on CUDA.

Why kernels of our own: of torch's, only flash attention splits the columns of a row over the whole GPU, and it takes no
mask, so it cannot be recorded in a graph while rows grow. Compiled, the written-out attention takes 19 us a layer for
one row of the 7B on an H100, a tenth of the step; reading its keys and values takes 4.
"""

from __future__ import annotations

import torch

try:
    import triton
    import triton.language as tl
except ImportError:  # torch brings it where it supports CUDA
    triton = None

_TILE = 32
"""Columns that a program reads at once. Chosen: keys and values of 128 numbers then fit its registers."""

_PROGRAMS = 264
"""Programs that keep a GPU busy: two for each of the 132 multiprocessors of an H100."""


def can_attend(device: torch.device, size: int) -> bool:
    """Whether the kernels work for a head size: on CUDA, for a power of two."""
    return triton is not None and device.type == "cuda" and size & (size - 1) == 0


def attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, starts: torch.Tensor, column: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the attention of the newest token of each row.

    Each program reads a part of the columns of one row and one head, and computes their weighted mean and the logarithm
    of the sum of their weights; a second kernel merges the parts. Sums are float32.

    Args:
        queries: (rows, query heads, 1, head size).
        keys: (rows, key and value heads, columns, head size), contiguous.
        values: like the keys.
        starts: first column of each row, (rows,).
        column: last column of every row, (1,).

    Returns:
        (rows, query heads, 1, head size), and the logarithms of the sums of exponentials, (rows, query heads, 1).
    """
    rows, heads, _, size = queries.shape
    columns = keys.shape[2]
    splits = max(1, min(_PROGRAMS // (rows * heads), columns // _TILE))
    span = -(-columns // (splits * _TILE)) * _TILE  # columns of a part
    means = queries.new_empty((rows * heads, splits, size), dtype=torch.float32)
    sums = queries.new_empty((rows * heads, splits), dtype=torch.float32)
    attended = queries.new_empty((rows, heads, 1, size))
    logs = queries.new_empty((rows, heads, 1), dtype=torch.float32)
    _attend_part[(rows * heads, splits)](
        queries.contiguous(),
        keys,
        values,
        starts,
        column,
        means,
        sums,
        size**-0.5,
        columns,
        span,
        HEADS=heads,
        GROUP=heads // keys.shape[1],
        SIZE=size,
        TILE=_TILE,
    )
    _merge_parts[(rows * heads,)](
        means, sums, attended, logs, splits, SIZE=size, PARTS=1 << (splits - 1).bit_length(), num_warps=2
    )
    return attended, logs


def _attend_part_kernel(
    queries,
    keys,
    values,
    starts,
    column,
    means,
    sums,
    scale,
    columns,
    span,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    SIZE: tl.constexpr,
    TILE: tl.constexpr,
):
    """Compute the part `program_id(1)` of the attention of the row and head `program_id(0)`."""
    head, part = tl.program_id(0), tl.program_id(1)
    start, last = tl.load(starts + head // HEADS), tl.load(column)
    dims = tl.arange(0, SIZE)
    query = tl.load(queries + head * SIZE + dims).to(tl.float32) * scale
    # rows of one key and value head follow each other: (rows, key and value heads, columns, head size)
    base = (head // GROUP).to(tl.int64) * columns * SIZE
    best = -float("inf")
    total = 0.0
    mean = tl.zeros((SIZE,), tl.float32)
    for first in range(part * span, part * span + span, TILE):
        numbers = first + tl.arange(0, TILE)
        seen = (numbers >= start) & (numbers <= last)
        places = base + numbers[:, None] * SIZE + dims[None, :]
        key = tl.load(keys + places, mask=seen[:, None], other=0.0).to(tl.float32)
        value = tl.load(values + places, mask=seen[:, None], other=0.0).to(tl.float32)
        scores = tl.where(seen, tl.sum(key * query[None, :], 1), -float("inf"))
        higher = tl.maximum(best, tl.max(scores, 0))
        shift = tl.where(higher == -float("inf"), 0.0, higher)  # no column seen yet: exp(-inf - 0) is 0, not NaN
        weights = tl.exp(scores - shift)
        kept = tl.exp(best - shift)
        mean = mean * kept + tl.sum(weights[:, None] * value, 0)
        total = total * kept + tl.sum(weights, 0)
        best = higher
    place = head * tl.num_programs(1) + part
    tl.store(means + place * SIZE + dims, mean / tl.maximum(total, 1e-37))
    tl.store(sums + place, tl.where(total > 0, best + tl.log(tl.maximum(total, 1e-37)), -float("inf")))


def _merge_parts_kernel(
    means,
    sums,
    attended,
    merged_sums,
    parts,
    SIZE: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Merge the parts of the row and head `program_id(0)`."""
    head = tl.program_id(0)
    numbers, dims = tl.arange(0, PARTS), tl.arange(0, SIZE)
    logs = tl.load(sums + head * parts + numbers, mask=numbers < parts, other=-float("inf"))
    best = tl.max(logs, 0)
    best = tl.where(best == -float("inf"), 0.0, best)  # a row that is not in use sees nothing
    weights = tl.exp(logs - best)
    total = tl.maximum(tl.sum(weights, 0), 1e-37)
    places = (head * parts + numbers[:, None]) * SIZE + dims[None, :]
    mean = tl.load(means + places, mask=(numbers < parts)[:, None], other=0.0)
    merged = tl.sum(mean * weights[:, None], 0) / total
    tl.store(attended + head * SIZE + dims, merged.to(attended.dtype.element_ty))
    tl.store(merged_sums + head, best + tl.log(total))


if triton is not None:
    _attend_part, _merge_parts = triton.jit(_attend_part_kernel), triton.jit(_merge_parts_kernel)
