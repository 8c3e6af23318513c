"""Sizes that follow from a checkpoint's config."""

from __future__ import annotations

from typing import Any


def image_tokens(config: Any) -> int:
    """Return the number of tokens of an image: one for each patch."""
    return int(config.vision_config.image_size // config.vision_config.patch_size) ** 2


def head_size(text_config: Any) -> int:
    """Return the size of an attention head; configs without `head_dim` divide the hidden size by the heads."""
    return int(getattr(text_config, "head_dim", None) or text_config.hidden_size // text_config.num_attention_heads)


def kv_values_per_token(text_config: Any) -> int:
    """Return how many numbers the keys and values of one token are, in all layers."""
    return int(2 * text_config.num_hidden_layers * text_config.num_key_value_heads * head_size(text_config))
