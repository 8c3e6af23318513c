"""The language model of a ViP-LLaVA, under the names and in the layout of a GGUF file for llama.cpp."""

from __future__ import annotations

from typing import Any

import numpy as np

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
"""Parts of a decoder layer, and their names in GGUF."""


def interleave(rows: np.ndarray, heads: int) -> np.ndarray:
    """Reorder the rows of a query or key projection as llama.cpp's LLaMA wants them.

    It rotates neighbors of a head, where transformers rotates an element of the first half with one of the second.
    """
    halves = rows.reshape(heads, 2, len(rows) // heads // 2, -1)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)


def gguf_weights(model: Any) -> dict[str, Any]:
    """Collect the language model's weights and shape under their names in GGUF, the shape as scalars."""
    config, text = model.config.text_config, model.model.language_model
    theta = getattr(config, "rope_theta", None) or config.rope_parameters["rope_theta"]
    shape = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.dimension_count": config.hidden_size // config.num_attention_heads,
        "rope.freq_base": float(theta),
        "vocab_size": config.vocab_size,
    }
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    weights = {f"llama.{name}": np.array(value) for name, value in shape.items()}
    outer = {"token_embd": text.embed_tokens, "output_norm": text.norm, "output": model.lm_head}
    weights |= {f"{name}.weight": part.weight.detach().numpy() for name, part in outer.items()}
    for number, layer in enumerate(text.layers):
        for ours, theirs in NAMES.items():
            rows = layer.get_submodule(ours).weight.detach().numpy()
            weights[f"blk.{number}.{theirs}.weight"] = interleave(rows, heads[theirs]) if theirs in heads else rows
    return weights
