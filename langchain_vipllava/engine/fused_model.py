"""`FusedModel`: the language model as plain functions over fused weights, for few launches and static graphs."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from langchain_vipllava.engine.kv_cache import BatchKVCache
from langchain_vipllava.engine.model_sizes import head_size
from langchain_vipllava.engine.shared_attention import attend_shared

_PREFILL_BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Without cuDNN's attention: each call of it takes the host about 0.4 ms, a fifth of a whole prefill of the 7B on an
H100 (seen in a profile of one)."""


FUSED_ATTENTION = ("sdpa", "eager")
"""Attention implementations of transformers that compute what the functions here do."""


class LayerWeights(NamedTuple):
    """The weights of a layer. Projections of the same input are one matrix: one kernel reads them."""

    input_norm: torch.Tensor
    """(hidden,)"""
    query_key_value: torch.Tensor
    """((query heads + 2 * key and value heads) * head size, hidden)"""
    output: torch.Tensor
    """(hidden, query heads * head size)"""
    mlp_norm: torch.Tensor
    """(hidden,)"""
    gate_up: torch.Tensor
    """(2 * intermediate, hidden)"""
    down: torch.Tensor
    """(hidden, intermediate)"""


class Heads(NamedTuple):
    """What the functions of a layer need to know beside its weights."""

    query: int
    key_value: int
    size: int
    norm_epsilon: float


def project(
    hidden: torch.Tensor, weights: LayerWeights, cos: torch.Tensor, sin: torch.Tensor, heads: Heads
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute queries, keys and values, rotated by their positions.

    Args:
        hidden: (rows, new tokens, hidden).
        weights: of the layer.
        cos: of the positions, (rows, 1, new tokens, head size).
        sin: likewise.
        heads: of the model.

    Returns:
        (rows, heads, new tokens, head size) each.
    """
    normed = _norm(hidden, weights.input_norm, heads)
    states = functional.linear(normed, weights.query_key_value)
    states = states.view(*states.shape[:-1], -1, heads.size).transpose(1, 2)  # (rows, all heads, new tokens, head size)
    rotated, values = torch.split(states, [heads.query + heads.key_value, heads.key_value], dim=1)
    first, second = rotated.chunk(2, dim=-1)
    rotated = rotated * cos + torch.cat((-second, first), dim=-1) * sin
    queries, keys = torch.split(rotated, [heads.query, heads.key_value], dim=1)
    return queries, keys, values


def activate(
    hidden: torch.Tensor, attended: torch.Tensor, weights: LayerWeights, heads: Heads
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add the attention to the residual stream, and compute the activations of the MLP.

    A function of its own, apart from `descend`: fused with the matrix after it, a compiler would compute each
    activation again for every block of that matrix's rows.

    Args:
        hidden: (rows, new tokens, hidden).
        attended: (rows, new tokens, query heads * head size).
        weights: of the layer.
        heads: of the model.

    Returns:
        The new residual stream, like `hidden`, and (rows, new tokens, intermediate).
    """
    hidden = hidden + functional.linear(attended, weights.output)
    gate, up = functional.linear(_norm(hidden, weights.mlp_norm, heads), weights.gate_up).chunk(2, dim=-1)
    return hidden, functional.silu(gate) * up


def descend(hidden: torch.Tensor, activations: torch.Tensor, weights: LayerWeights) -> torch.Tensor:
    """Add the MLP to the residual stream, (rows, new tokens, hidden)."""
    return hidden + functional.linear(activations, weights.down)


def attend_newest(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the attention of the newest tokens of each row, written out.

    Args:
        queries: (rows, query heads, tokens, head size).
        keys: (rows, key and value heads, columns, head size).
        values: like the keys.
        bias: added to the scores: 0 where a token sees a column, else very low; (rows, 1, tokens, columns) float32.

    Returns:
        (rows, query heads, tokens, head size), and the logarithms of the sums of exponentials, (rows, query heads,
        tokens).
    """
    rows, heads, tokens, size = queries.shape
    key_value = keys.shape[1]
    grouped = queries.reshape(rows, key_value, -1, size)  # the queries that share keys and values
    scores = (grouped @ keys.transpose(2, 3)).float() * size**-0.5
    shared = heads != key_value and tokens > 1  # one bias for all of one token's heads needs no copies
    scores = scores + (bias.repeat(1, 1, heads // key_value, 1) if shared else bias)
    weights = scores.softmax(dim=-1).to(values.dtype)  # (rows, key and value heads, queries, columns)
    return (weights @ values).reshape(rows, heads, tokens, size), scores.logsumexp(dim=-1).reshape(rows, heads, tokens)


def write(
    keys: torch.Tensor, values: torch.Tensor, new_keys: torch.Tensor, new_values: torch.Tensor, columns: torch.Tensor
) -> None:
    """Write the newest keys and values, (rows, heads, tokens, head size), to columns of the buffers, (tokens,)."""
    keys.index_copy_(2, columns, new_keys)
    values.index_copy_(2, columns, new_values)


def compute_logits(hidden: torch.Tensor, norm: torch.Tensor, head: torch.Tensor, heads: Heads) -> torch.Tensor:
    """Compute float32 logits, (..., vocabulary), of the last layer's (..., hidden)."""
    return functional.linear(_norm(hidden, norm, heads), head).float()


class FusedModel:
    """The language model of a ViP-LLaVA, run layer by layer without modules.

    The modules keep working: their weights become views of the fused ones, which take their place in memory. What
    changes weights in place, as training does, is seen here; adapters, hooks and other modules that come later are not.

    Args:
        model: a `VipLlavaForConditionalGeneration` for which `why_not_fused` returns None.
    """

    def __init__(self, model: Any) -> None:
        text = model.model.language_model
        config = text.config
        self.embeddings: torch.Tensor = model.get_input_embeddings().weight
        self.device, self.dtype = self.embeddings.device, self.embeddings.dtype
        self.heads = Heads(
            config.num_attention_heads, config.num_key_value_heads, head_size(config), config.rms_norm_eps
        )
        self.layers = [_fuse(layer) for layer in text.layers]
        self.norm: torch.Tensor = text.norm.weight
        self.head: torch.Tensor = model.lm_head.weight
        self._rotary = text.rotary_emb
        # these types rotate all tokens of a pass by frequencies that follow from the last one's position
        self.has_fixed_rotations = getattr(self._rotary, "rope_type", "default") not in ("dynamic", "longrope")

    def rotations(self, hidden: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cosines and sines of positions, (rows, tokens): (rows, 1, tokens, head size) each."""
        cos, sin = self._rotary(hidden, positions)
        return cos[:, None], sin[:, None]

    def forward(
        self,
        embeddings: torch.Tensor,
        positions: torch.Tensor,
        cache: BatchKVCache,
        rows: slice,
        *,
        of_all: bool = False,
    ) -> torch.Tensor:
        """Run the newest tokens of some rows, and write their keys and values into the cache.

        Args:
            embeddings: (rows, new tokens, hidden).
            positions: (rows, new tokens).
            cache: the KV cache.
            rows: its rows.
            of_all: whether the logits after all new tokens are needed.

        Returns:
            Float32 logits after the last token, (rows, vocabulary); `of_all`: (rows, new tokens, vocabulary).
        """
        hidden, new = embeddings, embeddings.shape[1]
        grouped = {} if self.heads.query == self.heads.key_value else {"enable_gqa": True}
        cos, sin = self.rotations(hidden, positions.to(self.device))
        with cache.visible_range(rows, new) as padding, sdpa_kernel(_PREFILL_BACKENDS):
            groups = cache.shared_groups(rows)
            mask = causal_mask(padding, new, cache.visible_columns(rows), self.device)
            for number, (weights, layer) in enumerate(zip(self.layers, cache.layers, strict=True)):
                queries, keys, values = project(hidden, weights, cos, sin, self.heads)
                keys, values = layer.update(keys, values)
                is_causal = mask is None and new > 1
                if groups:
                    attended = attend_shared(queries, keys, values, mask, groups, number, is_causal=is_causal)
                else:
                    attended = functional.scaled_dot_product_attention(
                        queries, keys, values, attn_mask=mask, is_causal=is_causal, **grouped
                    )  # (rows, query heads, new tokens, head size)
                hidden, activations = activate(hidden, attended.transpose(1, 2).flatten(2), weights, self.heads)
                hidden = descend(hidden, activations, weights)
        return compute_logits(hidden if of_all else hidden[:, -1], self.norm, self.head, self.heads)


def why_not_fused(model: Any) -> str | None:
    """Return why a model needs its modules; None if `FusedModel` computes the same."""
    text = model.model.language_model
    config = text.config
    if config._attn_implementation not in FUSED_ATTENTION:
        return f"attention is {config._attn_implementation}"
    if type(model.lm_head) is not torch.nn.Linear or getattr(model.lm_head, "bias", None) is not None:
        return f"its lm_head is a {type(model.lm_head).__name__} or has a bias"
    kinds = {type(module).__name__ for module in text.modules()}
    known = {"LlamaModel", "LlamaDecoderLayer", "LlamaAttention", "LlamaMLP", "LlamaRMSNorm", "LlamaRotaryEmbedding"}
    if other := kinds - known - {"ModuleList", "Embedding", "Linear", "SiLU", "SiLUActivation"}:
        return f"its language model has {', '.join(sorted(other))}"
    if config.hidden_act != "silu" or getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        return "its layers have biases or another activation than silu"
    parameters = [*text.parameters(), *model.lm_head.parameters()]
    if len({(parameter.dtype, parameter.device) for parameter in parameters}) > 1:
        return "its weights have several dtypes or devices"
    if any(hasattr(module, "_hf_hook") for module in model.modules()):
        return "accelerate's hooks run between its modules"
    for module in (*text.modules(), model.lm_head):
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        # those of transformers only record outputs, and stay after one call that asks for these
        if any(not str(getattr(hook, "__module__", "")).startswith("transformers.") for hook in hooks):
            return f"a hook is on a {type(module).__name__}"
        if "forward" in vars(module):
            return f"a {type(module).__name__} has a forward function of its own"
    return None


def causal_mask(padding: torch.Tensor | None, new: int, columns: int, device: torch.device) -> torch.Tensor | None:
    """Return which columns each new token sees, (rows or 1, 1, new tokens, columns) bool.

    Args:
        padding: 1 inside a row, 0 before its start, (rows, columns); None if all are 1.
        new: how many of the last columns are new tokens.
        columns: all columns.
        device: where the mask is.

    Returns:
        The mask; None if every new token sees all columns up to its own, and there are no others or one new token.
    """
    if padding is None and new in (1, columns):
        return None
    causal = torch.ones(new, columns, dtype=torch.bool, device=device).tril(columns - new)
    if padding is None:
        return causal[None, None]
    # padding sees itself: a softmax over nothing would be NaN, which other tokens would read
    itself = torch.zeros_like(causal).diagonal_scatter(torch.ones(new, dtype=torch.bool, device=device), columns - new)
    return (causal & padding.to(device).bool()[:, None] | itself)[:, None]


def _norm(hidden: torch.Tensor, weight: torch.Tensor, heads: Heads) -> torch.Tensor:
    return functional.rms_norm(hidden, weight.shape, weight, heads.norm_epsilon)


def _fuse(layer: Any) -> LayerWeights:
    attention, mlp = layer.self_attn, layer.mlp
    return LayerWeights(
        layer.input_layernorm.weight,
        _join(attention.q_proj, attention.k_proj, attention.v_proj),
        attention.o_proj.weight,
        layer.post_attention_layernorm.weight,
        _join(mlp.gate_proj, mlp.up_proj),
        mlp.down_proj.weight,
    )


def _join(*projections: torch.nn.Linear) -> torch.Tensor:
    """Return the weights of projections as one matrix; theirs become views of its rows."""
    weights = [projection.weight.detach() for projection in projections]
    first, lengths = weights[0], [len(weight) for weight in weights]
    storage = first.untyped_storage().data_ptr()
    offsets = [first.storage_offset() + sum(lengths[:index]) * first.shape[1] for index in range(len(lengths))]
    if all(w.untyped_storage().data_ptr() == storage for w in weights) and offsets == [
        w.storage_offset() for w in weights
    ]:  # another runner has joined them
        return first.as_strided((sum(lengths), first.shape[1]), (first.shape[1], 1))
    joined = torch.cat(weights)
    for projection, part in zip(projections, torch.split(joined, lengths), strict=True):
        projection.weight.data = part  # the parameter stays: an optimizer may hold it
    return joined
