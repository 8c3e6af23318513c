"""Whether the model runner answers on a GPU what plain `generate` answers, with a small model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.answering import QUESTIONS, ask_together, make_request, token_ids
from benchmarks.checkpoint import make_image, make_parts
from benchmarks.gpu_check import Check
from langchain_vipllava import pad_to_square
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.prompt.conversation import Conversation, Turn

TOKENS = 24


def float32(check: Check) -> None:
    """Compare float32 answers, which must be the same."""
    _compare(check, torch.float32, "all")


def bfloat16(check: Check) -> None:
    """Compare bfloat16 answers: with 8 bits of precision, a step that rounds in another order may choose another token.

    Plain `generate` differs from itself in the same way when it batches; that is measured beside it.
    """
    _compare(check, torch.bfloat16, "as many as plain generate batched")


def conversations(count: int, images: int) -> list[Conversation]:
    """Make different questions about some images."""
    return [
        Conversation((Turn(f"{QUESTIONS[index % 9]} {index}", (make_image(index % images),)),))
        for index in range(count)
    ]


def _compare(check: Check, dtype: torch.dtype, goal: str) -> None:
    model, processor = make_parts()
    model = model.to(check.device, dtype)
    for images in (1, 16):
        asked = conversations(16, images)
        encoder = ModelRunner(model, processor, compile_decode=False).encoder
        expected = [_plain(model, processor, encoder, [one])[0] for one in asked]
        what = f"{str(dtype)[6:]}, 16 answers about {images} image{'s' if images > 1 else ''}"
        for compiled in (False, True):
            for batch in (1, 4, 16) if check.shape == "7b" else (4,):
                runner = ModelRunner(model, processor, compile_decode=compiled)
                found: list[list[int]] = []
                for start in range(0, len(asked), batch):
                    part = asked[start : start + batch]
                    found += [token_ids(answer) for answer in ask_together(runner, part, [TOKENS] * len(part))]
                result = f"{_same(expected, found)} of 16 those of plain generate"
                check.add(f"{what}, {batch} at once, {'compiled' if compiled else 'not compiled'}", result, "", goal)
        if dtype != torch.float32:
            batched = _plain(model, processor, encoder, asked)
            check.add(f"{what}, plain generate in one batch", f"{_same(expected, batched)} of 16 those of one by one")


def _same(expected: Sequence[list[int]], found: Sequence[list[int]]) -> int:
    return sum(one == other for one, other in zip(expected, found, strict=True))


def _plain(model: Any, processor: Any, encoder: Any, asked: Sequence[Conversation]) -> list[list[int]]:
    """Generate the answers of `model.generate` to the same token ids, in one batch, left-padded."""
    prompts = [list(encoder.encode(make_request(one, TOKENS)).ids) for one in asked]
    width = max(map(len, prompts))
    padding = processor.tokenizer.pad_token_id
    ids = torch.tensor([[padding] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    squares = [pad_to_square(one.images[0].decode()) for one in asked]
    pixels = processor.image_processor(images=squares, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            pixel_values=pixels.to(model.device, model.dtype),
            max_new_tokens=TOKENS,
            do_sample=False,
        )
    answers: list[list[int]] = out[:, width:].tolist()
    return answers
