"""`check_export`: load an exported folder again, and compare what it makes of prompts and images with the engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig, AutoProcessor

from langchain_vipllava.engine.encoding import PromptEncoder
from langchain_vipllava.engine.image_processor import pillow_processor
from langchain_vipllava.engine.model_sizes import feature_layers
from langchain_vipllava.engine.request import GenerationRequest
from langchain_vipllava.errors import CheckpointError, describe_error, shorten
from langchain_vipllava.prompt.conversation import Conversation
from langchain_vipllava.prompt.formats import FORMATS, IMAGE_TOKEN, Prompt, PromptFormatName, Segment
from langchain_vipllava.serving.prompt_cases import case_image, chat_messages, prompt_cases

_MAX_DIFFERENCE = 1e-5
"""Largest difference of two pixel values, which are some -2 to 3. Chosen: rounding of float32; a resize by another
library differs by 0.015, one of 255 steps."""


def check_export(folder: Path, config: Any, processor: Any) -> tuple[str, ...]:
    """Check an exported folder, and return what was checked, in words.

    Args:
        folder: the export.
        config: the checkpoint's, from which it was made.
        processor: the checkpoint's `LlavaProcessor`.

    Raises:
        CheckpointError: the folder does not load, or says something else than the checkpoint.
    """
    try:
        exported_config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        exported = AutoProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise CheckpointError(f"the export does not load again: {describe_error(error)}") from error
    encoder = PromptEncoder(processor, config)
    return (
        _check_config(folder, exported_config, config),
        _check_image(exported, encoder),
        _check_texts(exported, encoder),
        _check_ids(exported, encoder),
    )


def _check_config(folder: Path, exported: Any, config: Any) -> str:
    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    layers = written["vision_feature_layer"]
    if written["vision_feature_layers"] != layers:
        raise CheckpointError("the two keys of the vision layers differ in the exported config.json.")
    for name, read in (("vision_feature_layer", feature_layers), ("image_token_id", attrgetter("image_token_id"))):
        ours, theirs = read(config), read(exported)
        if ours != theirs:
            raise CheckpointError(f"the exported config has {name}={shorten(theirs)}; expected {shorten(ours)}.")
    return f"config: vision layers {layers} under both names"


def _check_image(exported: Any, encoder: PromptEncoder) -> str:
    image = case_image()
    request = GenerationRequest(Prompt((Segment(IMAGE_TOKEN, "image"),)), images=(image,))
    expected = encoder.encode(request).images[0].pixels.numpy()
    pixels = pillow_processor(exported.image_processor)(images=[image.decode()], return_tensors="np")["pixel_values"][0]
    if pixels.shape != expected.shape or float(np.abs(pixels - expected).max()) > _MAX_DIFFERENCE:
        raise CheckpointError(
            f"the exported image processor makes other pixels of a wide image than the engine ({pixels.shape} beside "
            f"{expected.shape}); expected CLIP's settings in the checkpoint's preprocessor_config.json."
        )
    return f"image processor: pads to a square, then {encoder.side} px, {encoder.image_tokens} tokens"


def _check_texts(exported: Any, encoder: PromptEncoder) -> str:
    begin = "".join(encoder.tokenizer.convert_ids_to_tokens(encoder.encode_text(Prompt(()))))
    for name, conversation in _cases():
        for trailing in (False, True):
            asked = _answered(conversation) if trailing else conversation
            expected = begin + FORMATS[name].render(asked, allow_partial=trailing).text
            rendered = exported.apply_chat_template(
                chat_messages(asked), tokenize=False, add_generation_prompt=not trailing, prompt_format=name
            )
            if rendered != expected:
                raise CheckpointError(
                    f"the exported chat template renders {shorten(rendered)} in {name}; expected {shorten(expected)}."
                )
    return f"chat template: {2 * len(prompt_cases())} prompts in each of {', '.join(FORMATS)}"


def _check_ids(exported: Any, encoder: PromptEncoder) -> str:
    """Check that tokenizing a whole prompt makes the ids of the training, as the engine does piece by piece."""
    different = []
    for name, conversation in _cases():
        prompt = FORMATS[name].render(conversation)
        text = exported.apply_chat_template(
            chat_messages(conversation), tokenize=False, add_generation_prompt=True, prompt_format=name
        )
        pieces = text.split(exported.image_token)
        expanded = (exported.image_token * encoder.image_tokens).join(pieces)
        ids = exported.tokenizer(expanded, add_special_tokens=False)["input_ids"]
        if tuple(ids) != encoder.encode_text(prompt):
            different.append(name)
    if different:
        raise CheckpointError(
            f"the exported tokenizer makes other token ids of a whole prompt than the training, in {different[0]}; "
            "expected Llama's tokenizer, with a space in front of a text."
        )
    return "tokenizer: token ids of the training in all of them"


def _cases() -> Iterator[tuple[PromptFormatName, Conversation]]:
    for name in FORMATS:
        for conversation in prompt_cases():
            yield name, conversation


def _answered(conversation: Conversation) -> Conversation:
    *before, last = conversation.turns
    return replace(conversation, turns=(*before, replace(last, answer="Yes.")))
