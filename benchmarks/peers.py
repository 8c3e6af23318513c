"""How the job is done without this package: plain `generate`, and transformers' pipeline."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import StoppingCriteria, StoppingCriteriaList, pipeline

from langchain_vipllava import pad_to_square


class _FirstToken(StoppingCriteria):  # type: ignore[misc]  # mypy skips transformers, so the base is Any
    """Notes when the first token is there, and stops nothing."""

    def __init__(self) -> None:
        self.at: float | None = None

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        del scores, kwargs
        self.at = self.at or time.perf_counter()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)


class Generate:
    """`processor(...)` and `model.generate(...)`, a padded image and the same prompt."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor
        processor.tokenizer.padding_side = "left"

    def __call__(self, prompts: Sequence[str], images: Sequence[Image.Image], tokens: int) -> list[list[int]]:
        """Token ids of the answers, all in one batch."""
        squares = [pad_to_square(image) for image in images]
        inputs = self._processor(text=list(prompts), images=squares, padding=True, return_tensors="pt")
        with torch.inference_mode():
            out = self._model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        ids: list[list[int]] = out[:, inputs["input_ids"].shape[1] :].tolist()
        return ids

    def go_on(self, ids: Sequence[int], image: Image.Image, tokens: int) -> list[int]:
        """Token ids of the answer behind these token ids, which hold one image."""
        with torch.inference_mode():
            out = self._model.generate(**self._inputs(ids, image), max_new_tokens=tokens, do_sample=False)
        said: list[int] = out[0, len(ids) :].tolist()
        return said

    def logits(self, ids: Sequence[int], image: Image.Image) -> torch.Tensor:
        """Logits (vocabulary,) of the token behind these token ids, which hold one image."""
        with torch.inference_mode():
            logits: torch.Tensor = self._model(**self._inputs(ids, image), logits_to_keep=1).logits
        return logits[0, -1]

    def _inputs(self, ids: Sequence[int], image: Image.Image) -> dict[str, torch.Tensor]:
        pixels = self._processor.image_processor(images=[pad_to_square(image)], return_tensors="pt")["pixel_values"]
        return {"input_ids": torch.tensor([list(ids)]), "pixel_values": pixels}


class Pipeline:
    """`pipeline("image-text-to-text")`, a prompt at a time or a batch of them."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._pipeline = pipeline("image-text-to-text", model=model, processor=processor)

    def __call__(self, prompts: Sequence[str], images: Sequence[Image.Image], tokens: int, batch: int = 1) -> list[str]:
        """The answers."""
        squares = [pad_to_square(image) for image in images]
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

    def first_token(self, prompt: str, image: Image.Image) -> float:
        """Seconds to the first token of an answer."""
        watch = _FirstToken()
        started = time.perf_counter()
        self._pipeline(
            images=[pad_to_square(image)],
            text=[prompt],
            return_full_text=False,
            generate_kwargs={
                "max_new_tokens": 1,
                "do_sample": False,
                "stopping_criteria": StoppingCriteriaList([watch]),
            },
        )
        return (watch.at or started) - started
