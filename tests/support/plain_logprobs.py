"""Reference log-probabilities of a plain forward pass of transformers, without the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from langchain_core.messages import AIMessage, BaseMessage
from transformers import AutoProcessor, VipLlavaForConditionalGeneration

from langchain_vipllava import ChatVipLlava, pad_to_square
from langchain_vipllava.backends.local import compile_request
from tests.support.engine import RequestRecorder

TOLERANCE = 2e-4
"""Largest difference between a log-probability of the engine and one of a plain forward pass: other sums of float32."""


@dataclass
class PlainLogprobs:
    """A checkpoint, loaded by plain transformers."""

    folder: str

    def __post_init__(self) -> None:
        self.model = VipLlavaForConditionalGeneration.from_pretrained(self.folder).eval()
        self.processor = AutoProcessor.from_pretrained(self.folder)

    def of(self, llm: ChatVipLlava, messages: list[BaseMessage], answer: AIMessage, **settings: Any) -> torch.Tensor:
        """Return the log-probabilities at each token of an answer, (tokens, vocabulary), by one forward pass."""
        recorder = RequestRecorder(llm.model)
        llm.model_copy(update={"given_backend": recorder}).invoke(messages, **settings)
        request = compile_request(recorder.requests[0])
        images = [pad_to_square(image.decode()) for image in request.images]
        inputs = self.processor(text=request.prompt.text, images=images or None, return_tensors="pt")
        ids = torch.tensor([answer.response_metadata["token_ids"]])
        inputs["input_ids"] = torch.cat([inputs["input_ids"], ids], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            logits = self.model(**inputs).logits[0].float()
        return logits.log_softmax(dim=-1)[-ids.shape[1] - 1 : -1]
