"""Reference answers of transformers' `generate`, and random questions, to compare the engine with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from langchain_vipllava import pad_to_square
from langchain_vipllava.engine.request import GenerationRequest
from langchain_vipllava.prompt.conversation import Conversation
from langchain_vipllava.prompt.formats import FORMATS

WORDS = ["what", "is", "the", "red", "lime", "object", "left of", "describe", "why", "color"]


@dataclass
class PlainGenerate:
    """Calls transformers' `generate`, one prompt at a time, and caches the answers."""

    model: object
    processor: object

    def __post_init__(self):
        self.answers: dict[tuple[str, int], list[int]] = {}

    def ids(self, conversation: Conversation, max_tokens: int) -> list[int]:
        text = FORMATS["user_assistant"].render(conversation).text
        images = [pad_to_square(image.decode()) for image in conversation.images]
        key = (text + "".join(str(hash(image.tobytes())) for image in images), max_tokens)
        if key not in self.answers:
            inputs = self.processor(text=text, images=images or None, return_tensors="pt")
            with torch.inference_mode():
                out = self.model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
            self.answers[key] = [token for token in out[0, inputs["input_ids"].shape[1] :].tolist() if token != 2]
        return self.answers[key]


def request(conversation: Conversation, **settings) -> GenerationRequest:
    return GenerationRequest(FORMATS["user_assistant"].render(conversation), conversation.images, **settings)


def random_question(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(WORDS, rng.integers(2, 8)))
