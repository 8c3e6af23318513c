"""The probability of a value, summed over every way to write it in tokens, by plain forward passes of transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from langchain_core.messages import BaseMessage

from langchain_vipllava import ChatVipLlava, pad_to_square
from langchain_vipllava.backends.local import compile_request
from langchain_vipllava.engine.constraint import Constraint
from tests.support.engine import RequestRecorder

_ROWS = 64
"""Rows of one forward pass."""


@dataclass
class _Way:
    """A beginning of the value: its tokens, and how likely they are."""

    ids: tuple[int, ...]
    share: float
    data: bytes = b""


@dataclass
class BruteForce:
    """Follows every way that the grammar admits to write a value, however unlikely, unless `least` leaves it out.

    Attributes:
        llm: the chat model whose settings, checkpoint and grammar are used.
        least: ways less likely than this are left out.
        left_out: probability of what was left out in the last sum, at most.
    """

    llm: ChatVipLlava
    least: float = 0.0
    left_out: float = 0.0

    def probability(self, messages: list[BaseMessage], text: str, divisor: float = 1.0, **settings: Any) -> float:
        """Return the probability of an answer among all that the form of the answer admits."""
        recorder = RequestRecorder(self.llm.model)
        self.llm.model_copy(update={"given_backend": recorder}).invoke(messages, **settings)
        self._request = compile_request(recorder.requests[0])
        runner = self.llm.backend.runner
        inputs = runner.processor(
            text=self._request.prompt.text,
            images=[pad_to_square(image.decode()) for image in self._request.images] or None,
            return_tensors="pt",
        )
        inputs.pop("token_type_ids", None)
        self.left_out, total, ways = 0.0, 0.0, [_Way((), 1.0)]
        while ways:
            following: list[_Way] = []
            for start in range(0, len(ways), _ROWS):
                chunk = ways[start : start + _ROWS]
                for way, logits in zip(chunk, self._logits(inputs, chunk), strict=True):
                    ended, longer = self._follow(way, logits / divisor, text.encode())
                    total += ended
                    following += longer
            self.left_out += sum(way.share for way in following if way.share < self.least)
            ways = [way for way in following if way.share >= self.least]
        return total

    def _logits(self, inputs: Any, ways: list[_Way]) -> torch.Tensor:
        rows = {key: value.expand(len(ways), *value.shape[1:]) for key, value in inputs.items()}
        answers = torch.tensor([way.ids for way in ways], dtype=torch.long).reshape(len(ways), -1)
        rows["input_ids"] = torch.cat([rows["input_ids"], answers], dim=1)
        rows["attention_mask"] = torch.ones_like(rows["input_ids"])
        with torch.inference_mode():
            return self.llm.backend.runner.model(**rows).logits[:, -1].float()

    def _follow(self, way: _Way, logits: torch.Tensor, text: bytes) -> tuple[float, list[_Way]]:
        """The probability that the answer ends here, and the ways on."""
        constraint = self._constraint()
        for token in way.ids:
            constraint.accept(token)
        shares = constraint.mask(logits).softmax(dim=-1)
        ended, longer = 0.0, []
        end_ids = self.llm.backend.runner._end_ids
        for token in constraint.admitted.nonzero()[0].tolist():
            share = way.share * float(shares[token])
            if token in end_ids:
                ended += share if way.data.strip() == text else 0.0
                continue
            _, data = self.llm.backend.runner._token_texts.of(token)
            data = way.data + (data or b"\xff")
            if not text.startswith(data.lstrip()):
                continue
            after = self._constraint()
            for each in (*way.ids, token):
                after.accept(each)
            if after.is_complete:
                ended += share if data.strip() == text else 0.0
            else:
                longer.append(_Way((*way.ids, token), share, data))
        return ended, longer

    def _constraint(self) -> Constraint:
        return self.llm.backend.runner._constraints.start(self._request.grammar, 10_000)
