"""Leaves out the last vision layers, which the projector does not read."""

from __future__ import annotations

from typing import Any

from langchain_vipllava.errors import CheckpointError, shorten


def leave_out_unused_layers(model: Any) -> None:
    """Delete the vision layers after the last one that the projector reads. Changes the model and its config.

    The features stay the same, bit for bit: a published checkpoint reads the layers -2, -5, -8, -11 and 6 of 24, and
    computes the last one for nothing. The layers that it reads are then counted from the first.

    Args:
        model: a `VipLlavaForConditionalGeneration` that no other code holds.

    Raises:
        CheckpointError: the config selects layers that the tower does not have.
    """
    tower = model.model.vision_tower
    layers = next((module for name, module in tower.named_modules() if name.endswith("encoder.layers")), None)
    names = [name for name in ("vision_feature_layer", "vision_feature_layers") if hasattr(model.config, name)]
    read = getattr(model.config, names[0])
    states = 1 + len(layers or ())  # the first one is the input of the first layer
    if layers is None:
        return  # a tower of another kind
    if not all(-states <= index < states for index in read):
        raise CheckpointError(
            f"the config selects the vision layers {shorten(read)}; expected numbers from {-states} to {states - 1}: "
            f"the vision tower has {len(layers)} layers. Correct vision_feature_layer in config.json."
        )
    counted = [index % states for index in read]
    del layers[max(counted) :]
    for name in names:
        setattr(model.config, name, list(counted))
    for config in (model.config.vision_config, tower.config):
        config.num_hidden_layers = len(layers)
