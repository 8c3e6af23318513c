"""Checkpoints of the 7B's shape with random weights on disk, written layer by layer, so that no model is ever held."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import VipLlavaForConditionalGeneration

from benchmarks.checkpoint import make_processor
from langchain_vipllava.engine.loading import published_config

SPREAD = 0.02
"""Standard deviation of the weights, as transformers initializes a Llama."""

OFFSETS = 2**24
"""Places in the numbers drawn at which a weight may begin."""


def write_shape(folder: Path, layers: int = 32) -> Path:
    """Write a checkpoint with the vision tower, the sizes and the vocabulary of the 7B, in bfloat16: 13.2 GiB.

    Args:
        folder: where; made if it is not there.
        layers: of the language model; the 7B has 32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    processor = make_processor()
    processor.save_pretrained(folder)
    config: Any = published_config("llava-hf/vip-llava-7b-hf")
    config.text_config.num_hidden_layers = layers
    config.text_config.eos_token_id = None  # every answer has the length that is asked for
    config.image_token_index = config.image_token_id = processor.tokenizer.convert_tokens_to_ids("<image>")
    config.dtype = config.text_config.dtype = config.vision_config.dtype = torch.bfloat16
    config.save_pretrained(folder)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in VipLlavaForConditionalGeneration(config).state_dict().items()}
    largest = max(shape.numel() for shape in shapes.values())
    drawn = torch.randn(largest + OFFSETS, generator=torch.Generator().manual_seed(0))
    drawn = (SPREAD * drawn).to(torch.bfloat16)  # each weight is a part of it: drawing 7 billion numbers takes minutes
    files: dict[str, list[str]] = defaultdict(list)
    for name in shapes:
        layer = re.search(r"language_model\.layers\.(\d+)", name)
        files[f"model-{layer[1] if layer else 'others'}.safetensors"].append(name)
    for number, (file, names) in enumerate(files.items()):
        weights = {name: _draw(name, shapes[name], drawn, number + place) for place, name in enumerate(names)}
        save_file(weights, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, names in files.items() for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def _draw(name: str, shape: torch.Size, drawn: torch.Tensor, seed: int) -> torch.Tensor:
    if "norm" in name:  # also CLIP's, whose biases are drawn: they are added
        return torch.ones(shape, dtype=torch.bfloat16)
    start = 7919 * seed % OFFSETS  # a prime, so that no two weights begin at the same number
    return drawn[start : start + shape.numel()].reshape(shape).clone()
