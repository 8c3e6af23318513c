"""Sizes that follow from a checkpoint's config."""

from __future__ import annotations

from typing import Any

from langchain_vipllava.errors import CheckpointError


def image_tokens(config: Any) -> int:
    """Return the number of tokens of an image: one for each patch."""
    return int(config.vision_config.image_size // config.vision_config.patch_size) ** 2


def feature_layers(config: Any) -> list[int]:
    """Return the vision layers that the projector reads; the name differs between versions of transformers."""
    layers = getattr(config, "vision_feature_layer", None) or config.vision_feature_layers
    return [layers] if isinstance(layers, int) else list(layers)


def check_projector(features: object, config: Any) -> None:
    """Check that the projector reads as many vision features as the config selects.

    Args:
        features: the number that it reads, by its weights.
        config: the checkpoint's.

    Raises:
        CheckpointError: it reads another number.
    """
    layers = feature_layers(config)
    width = config.vision_config.hidden_size * len(layers)
    if features != width:
        raise CheckpointError(
            f"the projector reads {features} vision features, but the config selects {width} (vision_feature_layer="
            f"{layers}); correct vision_feature_layer in config.json."
        )


def head_size(text_config: Any) -> int:
    """Return the size of an attention head; configs without `head_dim` divide the hidden size by the heads."""
    return int(getattr(text_config, "head_dim", None) or text_config.hidden_size // text_config.num_attention_heads)


def kv_values_per_token(text_config: Any) -> int:
    """Return how many numbers the keys and values of one token are, in all layers."""
    return int(2 * text_config.num_hidden_layers * text_config.num_key_value_heads * head_size(text_config))
