"""`Answer`: what a backend returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from langchain_vipllava.protocol.logprobs import TokenLogprob

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Timings:
    """Where the time of an answer went, in seconds, and what it saved.

    Attributes:
        queued: from the request to the start of its prefill: encoding, building the grammar, and waiting. Loading the
            model does not count.
        prefill: from there to the first token.
        first_token: from the request to the first token.
        decode: from the first token to delivery.
        grammar: the part of `queued` in which the grammar of a constrained answer was built.
        reused_tokens: tokens of the prompt whose keys and values were cached.
    """

    queued: float = 0.0
    prefill: float = 0.0
    first_token: float = 0.0
    decode: float = 0.0
    grammar: float = 0.0
    reused_tokens: int = 0


@dataclass(frozen=True)
class Answer:
    """A model's answer.

    Attributes:
        text: the answer, without surrounding whitespace and without the stop text.
        input_tokens: tokens of the prompt, those of its images included.
        output_tokens: tokens of the answer.
        finish_reason: "stop" (the model or a stop text ended it), "length" (`max_tokens` or the context was reached)
            or "cancelled".
        token_ids: ids of the answer, without the token or the stop text that ended it; None where a backend does not
            know them.
        timings: where the time went; None where a backend does not measure.
        logprobs: a place per token, without those of a stop text; None unless the request asks for them.
        end: the place of the token that ended the answer; None where a stop text, the form of the answer or
            `max_tokens` ended it.
        probability: of the whole answer among all that its form admits, over all ways to write it in tokens; None where
            a backend does not measure it.
    """

    text: str
    input_tokens: int
    output_tokens: int
    finish_reason: FinishReason
    token_ids: tuple[int, ...] | None = None
    timings: Timings | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    end: TokenLogprob | None = None
    probability: float | None = None
