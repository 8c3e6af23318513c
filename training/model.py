"""The architecture of the bundled checkpoint: all parts of ViP-LLaVA 7B, about two thousand times smaller."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch.nn import functional
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    PreTrainedTokenizerFast,
    VipLlavaConfig,
    VipLlavaForConditionalGeneration,
)

IMAGE_SIZE = 208
PATCH_SIZE = 16
GRID = IMAGE_SIZE // PATCH_SIZE
IMAGE_TOKENS = GRID * GRID
FEATURE_LAYERS = [-1, -2, -3, -4, 1]  # five, as in ViP-LLaVA
_ASLEEP = 0.8  # cosine with a byte token's embedding; those of words that are answers have at most 0.2
TEXT_CONTEXT = 640  # text tokens in addition to the image
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def vision_config() -> CLIPVisionConfig:
    """Return the vision tower's configuration: 208 px, patches of 16 px, 169 image tokens."""
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
    """Build a vision tower with random weights."""
    return CLIPVisionModel._from_config(vision_config(), attn_implementation=fast_attention())


def build_model(tokenizer: PreTrainedTokenizerFast) -> VipLlavaForConditionalGeneration:
    """Build the whole model with random weights, for the vocabulary and special tokens of a tokenizer."""
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=432,
        num_hidden_layers=4,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=IMAGE_TOKENS + TEXT_CONTEXT,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = VipLlavaConfig(
        vision_config=vision_config(),
        text_config=text,
        image_token_index=tokenizer.image_token_id,
        vision_feature_layer=FEATURE_LAYERS,
        image_seq_length=IMAGE_TOKENS,
        tie_word_embeddings=True,
    )
    return VipLlavaForConditionalGeneration._from_config(config, attn_implementation=fast_attention())


def read_weights(init: Path) -> dict[str, torch.Tensor]:
    """Read weights for `training.train.Learner`, to continue training from.

    Position embeddings for another image size are interpolated.

    Args:
        init: a `talk.pt`, which includes the auxiliary heads, or the folder of an exported checkpoint.

    Returns:
        State dict of a `Learner`, without auxiliary heads for an exported checkpoint.
    """
    if init.suffix == ".pt":
        weights = dict(torch.load(init, map_location="cpu")["learner"])
    else:
        model = VipLlavaForConditionalGeneration.from_pretrained(init).float()
        weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, value in weights.items():
        if name.endswith("position_embedding.weight") and len(value) != IMAGE_TOKENS + 1:
            weights[name] = torch.cat([value[:1], _interpolate(value[1:])])
    return weights


def wake_tokens(weights: dict[str, torch.Tensor], tokenizer: PreTrainedTokenizerFast) -> None:
    """Let tokens that were never part of an answer become one, in place.

    Training pushes all of them along one direction, away from every answer. A new kind of answers needs hundreds of
    steps to turn each of them around, and meanwhile the model hardly tells one from another in a question. Byte tokens
    stay: no answer has them.

    Args:
        weights: state dict of a `Learner`; input and output embeddings are the same.
        tokenizer: tokenizer of the model.
    """
    name = "model.model.language_model.embed_tokens.weight"
    rows, byte_token = weights[name], tokenizer.convert_tokens_to_ids("<0x41>")
    asleep = functional.cosine_similarity(rows, rows[byte_token][None]) > _ASLEEP
    size = rows[~asleep].norm(dim=1).median()
    asleep[[index for piece, index in tokenizer.get_vocab().items() if piece.startswith("<0x")]] = False
    rows[asleep] = size * functional.normalize(rows[asleep] - rows[asleep].mean(dim=0), dim=1)
    weights["model.lm_head.weight"] = rows


def part_of(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Select the weights whose names start with `prefix`, and remove it."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _interpolate(positions: torch.Tensor) -> torch.Tensor:
    """Resize the position embeddings of a square grid, (old * old, width), to GRID * GRID."""
    old = math.isqrt(len(positions))
    grid = positions.T.reshape(1, -1, old, old)
    return functional.interpolate(grid, (GRID, GRID), mode="bicubic").reshape(-1, IMAGE_TOKENS).T.contiguous()


def has_bfloat16() -> bool:
    """Return whether the CPU has bfloat16 arithmetic; without it, bfloat16 is many times slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def best_device() -> torch.device:
    """Return the CUDA GPU, if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half_precision(device: torch.device) -> AbstractContextManager[object]:
    """Autocast to bfloat16 on a GPU, and on a CPU that has bfloat16 arithmetic."""
    fast = device.type == "cuda" or has_bfloat16()
    return torch.autocast(device.type, torch.bfloat16) if fast else nullcontext()


def fast_attention() -> str:
    """Return the fastest attention for training: sdpa, or eager in bfloat16 on a CPU, where sdpa is slow."""
    return "eager" if has_bfloat16() and not torch.cuda.is_available() else "sdpa"


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    """Normalize pixels (B, 3, H, W), uint8, as the processor does."""
    mean, std = (torch.tensor(values, device=pixels.device)[:, None, None] * 255 for values in (CLIP_MEAN, CLIP_STD))
    return (pixels.float() - mean) / std
