"""The architecture of the bundled checkpoint: a ViP-LLaVA in every part, two thousand times smaller."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    VipLlavaConfig,
    VipLlavaForConditionalGeneration,
)

IMAGE_SIZE = 160
PATCH_SIZE = 16
GRID = IMAGE_SIZE // PATCH_SIZE
IMAGE_TOKENS = GRID * GRID
FEATURE_LAYERS = [-1, -2, -3, -4, 1]  # five, as in ViP-LLaVA
TEXT_CONTEXT = 640  # text tokens beside the picture
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def vision_config() -> CLIPVisionConfig:
    """The vision tower: 160 px, patches of 16 px, 100 image tokens."""
    return CLIPVisionConfig(
        hidden_size=192,
        intermediate_size=576,
        num_hidden_layers=5,
        num_attention_heads=3,
        projection_dim=192,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        hidden_act="quick_gelu",
        initializer_range=0.02,
        initializer_factor=1.0,
    )


def build_vision() -> CLIPVisionModel:
    """A vision tower with random weights."""
    return CLIPVisionModel._from_config(vision_config(), attn_implementation="sdpa")


def build_model(vocab_size: int, image_token: int, bos: int, eos: int, pad: int) -> VipLlavaForConditionalGeneration:
    """The whole model with random weights.

    Args:
        vocab_size: pieces of the tokenizer, special tokens included.
        image_token: id of `<image>`.
        bos: id of `<s>`.
        eos: id of `</s>`.
        pad: id of `<pad>`.
    """
    text = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=160,
        intermediate_size=432,
        num_hidden_layers=4,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=IMAGE_TOKENS + TEXT_CONTEXT,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    config = VipLlavaConfig(
        vision_config=vision_config(),
        text_config=text,
        image_token_index=image_token,
        vision_feature_layer=FEATURE_LAYERS,
        image_seq_length=IMAGE_TOKENS,
        tie_word_embeddings=True,
    )
    return VipLlavaForConditionalGeneration._from_config(config, attn_implementation="sdpa")


def load_model(folder: Path) -> VipLlavaForConditionalGeneration:
    """An exported checkpoint, to train it on."""
    model = VipLlavaForConditionalGeneration.from_pretrained(folder, attn_implementation="sdpa")
    return model.float().train()


def computes_in_half() -> bool:
    """Whether the CPU computes in bfloat16; without, that is many times slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def half_precision() -> AbstractContextManager[object]:
    """Autocast to bfloat16 where the CPU computes in it."""
    return torch.autocast("cpu", torch.bfloat16) if computes_in_half() else nullcontext()


def masked_attention() -> str:
    """The attention that is fast with a mask: sdpa, but in bfloat16 on a CPU, where it is many times slower, eager."""
    return "eager" if computes_in_half() else "sdpa"


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) uint8 to CLIP's scale, as the processor does."""
    mean = torch.tensor(CLIP_MEAN)[:, None, None] * 255
    std = torch.tensor(CLIP_STD)[:, None, None] * 255
    return (pixels.float() - mean) / std
