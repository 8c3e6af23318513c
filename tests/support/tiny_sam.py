"""A small SAM with random weights, of the real architecture and in the format of the published ones."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    SamConfig,
    SamImageProcessor,
    SamMaskDecoderConfig,
    SamModel,
    SamProcessor,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

SIDE, PATCH, WIDTH = 64, 8, 16


def make_sam() -> tuple[Any, Any]:
    """Return a model and its processor."""
    torch.manual_seed(0)
    vision = SamVisionConfig(
        hidden_size=32,
        output_channels=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
        window_size=4,
        global_attn_indexes=[1],
        mlp_dim=64,
        num_pos_feats=WIDTH // 2,
    )
    prompts = SamPromptEncoderConfig(hidden_size=WIDTH, image_size=SIDE, patch_size=PATCH, mask_input_channels=4)
    decoder = SamMaskDecoderConfig(
        hidden_size=WIDTH, mlp_dim=32, num_hidden_layers=2, num_attention_heads=2, iou_head_hidden_dim=WIDTH
    )
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    square = {"height": SIDE, "width": SIDE}
    images = SamImageProcessor(
        size={"longest_edge": SIDE},
        pad_size=square,
        mask_size={"longest_edge": SIDE // 4},
        mask_pad_size={"height": SIDE // 4, "width": SIDE // 4},
    )
    return SamModel(config).eval(), SamProcessor(images)
