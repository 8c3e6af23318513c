"""The baselines: plain `generate`, and transformers' pipeline."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList, pipeline

from langchain_vipllava import pad_to_square
from langchain_vipllava.images.image import EncodedImage


class _FirstToken(StoppingCriteria):  # type: ignore[misc]  # mypy skips transformers, so the base is Any
    """Records when the first token is generated; never stops the generation.

    Attributes:
        at: time of the first token by `time.perf_counter`; None before it.
    """

    def __init__(self) -> None:
        self.at: float | None = None

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        del scores, kwargs
        self.at = self.at or time.perf_counter()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)


class Generate:
    """`processor(...)` and `model.generate(...)` on padded images and the same prompts.

    Args:
        model: the model.
        processor: its processor; its padding side is set to left.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor
        processor.tokenizer.padding_side = "left"

    def __call__(
        self, prompts: Sequence[str], images: Sequence[EncodedImage], tokens: int, **how: Any
    ) -> list[list[int]]:
        """Generate the answers' token ids in one batch; `how` are further arguments of `generate`."""
        squares = [pad_to_square(image.decode()) for image in images]
        inputs = self._processor(text=list(prompts), images=squares, padding=True, return_tensors="pt")
        with torch.inference_mode():
            out = self._model.generate(**inputs, max_new_tokens=tokens, do_sample=False, **how)
        ids: list[list[int]] = out[:, inputs["input_ids"].shape[1] :].tolist()
        return ids

    def complete(self, ids: Sequence[int], image: EncodedImage, tokens: int) -> list[int]:
        """Generate the answer's token ids after a prompt's token ids, which hold one image."""
        with torch.inference_mode():
            out = self._model.generate(**self._inputs(ids, image), max_new_tokens=tokens, do_sample=False)
        answer: list[int] = out[0, len(ids) :].tolist()
        return answer

    def logits(self, ids: Sequence[int], image: EncodedImage) -> torch.Tensor:
        """Compute the logits (vocabulary,) of the next token after token ids that hold one image."""
        with torch.inference_mode():
            logits: torch.Tensor = self._model(**self._inputs(ids, image), logits_to_keep=1).logits
        return logits[0, -1]

    def _inputs(self, ids: Sequence[int], image: EncodedImage) -> dict[str, torch.Tensor]:
        square = pad_to_square(image.decode())
        pixels = self._processor.image_processor(images=[square], return_tensors="pt")["pixel_values"]
        return {"input_ids": torch.tensor([list(ids)]), "pixel_values": pixels}


class Pipeline:
    """`pipeline("image-text-to-text")`, with one prompt at a time or in batches.

    Args:
        model: the model.
        processor: its processor.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self._pipeline = pipeline("image-text-to-text", model=model, processor=processor)

    def __call__(
        self, prompts: Sequence[str], images: Sequence[EncodedImage], tokens: int, batch: int = 1
    ) -> list[str]:
        """Generate the answers' texts."""
        squares = [pad_to_square(image.decode()) for image in images]
        answers = []
        for start in range(0, len(prompts), batch):
            out = self._pipeline(
                images=squares[start : start + batch],
                text=list(prompts[start : start + batch]),
                batch_size=batch,
                return_full_text=False,
                generate_kwargs={"max_new_tokens": tokens, "do_sample": False},
            )
            answers += [(one[0] if isinstance(one, list) else one)["generated_text"] for one in out]
        return answers

    def first_token(self, prompt: str, image: EncodedImage) -> float:
        """Measure the seconds to the first token of an answer."""
        first_token = _FirstToken()
        started = time.perf_counter()
        self._pipeline(
            images=[pad_to_square(image.decode())],
            text=[prompt],
            return_full_text=False,
            generate_kwargs={
                "max_new_tokens": 1,
                "do_sample": False,
                "stopping_criteria": StoppingCriteriaList([first_token]),
            },
        )
        return (first_token.at or started) - started
