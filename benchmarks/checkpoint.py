"""A ViP-LLaVA of about 130 million random weights, and test images."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, CLIPVisionConfig, LlamaConfig, VipLlavaConfig, VipLlavaForConditionalGeneration

from langchain_vipllava.engine.packed_linear import pack_where_faster
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.protocol.load_options import BUNDLED_FOLDER

SIDE, PATCH = 336, 14  # 576 image tokens, as at 7B


def make_processor() -> Any:
    """Make a processor with the 7B's image size and the bundled checkpoint's tokenizer."""
    processor = AutoProcessor.from_pretrained(BUNDLED_FOLDER)
    processor.image_processor.size = {"shortest_edge": SIDE}
    processor.image_processor.crop_size = {"height": SIDE, "width": SIDE}
    processor.patch_size = PATCH
    return processor


def make_parts(seed: int = 0) -> tuple[Any, Any]:
    """Make the model (float32, evaluation mode) and its processor."""
    torch.manual_seed(seed)
    processor = make_processor()
    tokenizer = processor.tokenizer
    config = VipLlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=512,
            intermediate_size=2048,
            num_hidden_layers=12,
            num_attention_heads=8,
            image_size=SIDE,
            patch_size=PATCH,
        ).to_dict(),
        text_config=LlamaConfig(
            hidden_size=768,
            intermediate_size=2048,
            num_hidden_layers=12,
            num_attention_heads=12,
            vocab_size=len(tokenizer),
            max_position_embeddings=4096,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ).to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(SIDE // PATCH) ** 2,
        vision_feature_layers=[-2, -5, -8, -11, 6],
    )
    model = VipLlavaForConditionalGeneration(config).eval()
    with torch.no_grad():  # larger than the default initialization, or answers would repeat a single token
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
        # no EOS, so that every answer has exactly the requested length
        model.lm_head.weight[tokenizer.eos_token_id] = 0
    model.generation_config.eos_token_id = None
    model.config.text_config.eos_token_id = None
    return model, processor


def as_loaded(model: Any) -> Any:
    """Return a copy of a model as this package runs it after loading it from a folder."""
    copied = copy.deepcopy(model)
    pack_where_faster(copied)
    return copied


def make_image(seed: int, size: tuple[int, int] = (640, 480)) -> EncodedImage:
    """Make a smooth random image."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (math.ceil(size[1] / 40), math.ceil(size[0] / 40), 3), dtype=np.uint8)
    return EncodedImage.from_pixels(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))
