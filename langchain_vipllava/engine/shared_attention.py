"""Attention of rows that share prefixes: each prefix is read once for all of its rows.

A softmax over columns in several places is the mean of the softmax over each place, weighted by the sums of the
exponentials there. So attention over a row's own columns and over each shared prefix run separately, return these sums
as logarithms, and are merged. For a shared prefix, the queries of its rows are one long query: (rows, heads, new, size)
becomes (1, heads, rows * new, size), and one call reads the keys and values once.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from langchain_vipllava.engine.shared_prefix import SharedGroup
from langchain_vipllava.locks import fork_safe_lock

_NAME = "vipllava_shared"

Merge = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def attend_shared(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    groups: abc.Sequence[SharedGroup],
    layer: int,
    *,
    is_causal: bool = False,
) -> torch.Tensor:
    """Compute the attention of rows over their own columns and over the prefixes that they share.

    Args:
        queries: (rows, query heads, new tokens, head size).
        keys: of the rows' own columns, (rows, key and value heads, columns, head size).
        values: like the keys.
        mask: which own columns each new token sees, (rows, 1 or heads, new tokens, columns) bool; None for all.
        groups: the shared prefixes; every new token of their rows sees all of them.
        layer: number of the layer.
        is_causal: without a mask, whether new tokens are the last columns and see those up to their own.

    Returns:
        (rows, query heads, new tokens, head size).
    """
    if mask is None and is_causal:
        mask = torch.ones(queries.shape[2], keys.shape[2], dtype=torch.bool, device=queries.device)
        mask = mask.tril(keys.shape[2] - queries.shape[2])[None, None]
    attended, logs = _attend(queries, keys, values, mask)
    if mask is not None:  # padding sees no column of its own, which may be NaN, and other tokens would read it
        attended = attended.masked_fill(_is_empty(logs)[..., None], 0)
    return merge_groups(queries, attended, logs, groups, layer)


def merge_groups(
    queries: torch.Tensor,
    attended: torch.Tensor,
    logs: torch.Tensor,
    groups: abc.Sequence[SharedGroup],
    layer: int,
    merge: Merge | None = None,
) -> torch.Tensor:
    """Add the attention over shared prefixes to that over the rows' own columns.

    Args:
        queries: (rows, query heads, new tokens, head size).
        attended: over the own columns, likewise.
        logs: logarithm of the sum of exponentials there, (rows, query heads, new tokens).
        groups: the shared prefixes.
        layer: number of the layer.
        merge: what merges two of them: `merge_two`, or the same compiled.
    """
    merge = merge_two if merge is None else merge
    for group in groups:
        keys, values = group.prefix.kv[layer]  # (key and value heads, tokens, head size)
        rows = group.index
        if rows is None:
            attended, logs = merge(attended, logs, *_attend_prefix(queries, keys, values))
        else:
            merged, merged_logs = merge(attended[rows], logs[rows], *_attend_prefix(queries[rows], keys, values))
            attended, logs = attended.index_copy(0, rows, merged), logs.index_copy(0, rows, merged_logs)
    return attended


def merge_two(
    one: torch.Tensor, one_logs: torch.Tensor, other: torch.Tensor, other_logs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Merge the attention over two sets of columns.

    Means are (rows, heads, new, size), logarithms of the sums of exponentials (rows, heads, new), float32. A token that
    sees none of the first columns, such as padding, has -inf or NaN as logarithm there.
    """
    share = torch.sigmoid(other_logs - one_logs)[..., None]  # of the other columns
    empty = _is_empty(one_logs)
    merged = torch.where(empty[..., None], other, torch.lerp(one.float(), other.float(), share).to(one.dtype))
    return merged, torch.where(empty, other_logs, torch.logaddexp(one_logs, other_logs))


def _is_empty(logs: torch.Tensor) -> torch.Tensor:
    return (logs == -torch.inf) | logs.isnan()


def _attend_prefix(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend to a prefix, (key and value heads, tokens, head size), as one long query. Returns as `_attend` does."""
    rows, heads, new, size = queries.shape
    key_value = len(keys)
    # (rows, key and value heads, heads of each, new, size) -> (1, key and value heads, all queries of these, size)
    folded = queries.reshape(rows, key_value, -1, new, size).permute(1, 0, 2, 3, 4).reshape(1, key_value, -1, size)
    attended, logs = _attend(folded, keys[None], values[None], None)
    parts = (key_value, rows, heads // key_value, new)
    attended = attended.reshape(*parts, size).permute(1, 0, 2, 3, 4).reshape(rows, heads, new, size)
    return attended, logs.reshape(parts).permute(1, 0, 2, 3).reshape(rows, heads, new)


def _attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend to columns, and return means and logarithms of sums of exponentials, both as in `merge_two`."""
    scale = queries.shape[-1] ** -0.5
    operations = torch.ops.aten
    repeats = queries.shape[1] // keys.shape[1]
    if repeats > 1:
        keys, values = (tensor.repeat_interleave(repeats, dim=1) for tensor in (keys, values))
    if queries.device.type == "cpu":
        bias = None if mask is None else torch.zeros_like(mask, dtype=queries.dtype).masked_fill(~mask, -torch.inf)
        attended, logs = operations._scaled_dot_product_flash_attention_for_cpu(
            queries, keys, values, attn_mask=bias, scale=scale
        )
        return attended, logs
    if mask is None and _has_flash(queries):
        attended, logs, *_ = operations._scaled_dot_product_flash_attention(queries, keys, values, scale=scale)
        return attended, logs
    scores = (queries @ keys.transpose(2, 3)).float() * scale  # (rows, heads, new, columns)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1).to(values.dtype) @ values, scores.logsumexp(dim=-1)


def _has_flash(queries: torch.Tensor) -> bool:
    """Whether torch's flash attention takes these: 16 bits, on Ampere or newer, and not every head size."""
    if queries.device.type != "cuda" or queries.dtype not in {torch.bfloat16, torch.float16}:
        return False
    size = queries.shape[-1]
    return size % 8 == 0 and size <= 256 and torch.cuda.get_device_capability(queries.device) >= (8, 0)


def _attention_of_modules(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    shared_groups: abc.Sequence[SharedGroup] | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """What the attention modules of transformers call instead of sdpa."""
    if shared_groups is None:  # the owner of the model runs it in another thread
        attended, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, attention_mask, **kwargs)
        return attended, None
    is_causal = attention_mask is None and query.shape[2] > 1
    attended = attend_shared(query, key, value, attention_mask, shared_groups, module.layer_idx, is_causal=is_causal)
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register(_NAME, _attention_of_modules)
AttentionMaskInterface.register(_NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


_readers: dict[int, list[Any]] = {}
"""By the id of a config that is switched: how many forward passes switched it, and what it was before."""
_switching = fork_safe_lock()


@contextmanager
def reading(language_model: Any, groups: abc.Sequence[SharedGroup]) -> Iterator[dict[str, Any]]:
    """Make the attention modules read shared prefixes inside the `with` block. They are set to sdpa.

    Runners of one model may be here at once, in threads of their own: the last one switches back.

    Yields:
        Arguments for the call of the language model.
    """
    if not groups:
        yield {}
        return
    config = language_model.config
    with _switching:
        _readers.setdefault(id(config), [0, config._attn_implementation])[0] += 1
        config._attn_implementation = _NAME
    try:
        yield {"shared_groups": groups}
    finally:
        with _switching:
            readers = _readers[id(config)]
            readers[0] -= 1
            if not readers[0]:
                config._attn_implementation = readers[1]
                del _readers[id(config)]
