"""`TokenLogprob`: how likely a token of an answer was, and what else could have come."""

from __future__ import annotations

from dataclasses import dataclass

MAX_TOP_LOGPROBS = 20
"""Alternatives of a token that can be asked for: as many as OpenAI's API returns."""

LEAST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON has no word for. OpenAI's API has the same value for very unlikely tokens."""


@dataclass(frozen=True)
class Choice:
    r"""A token that could come at some place of an answer.

    Attributes:
        token: its text; bytes that are no text by themselves as `\xe2`, a special token by its name.
        logprob: natural logarithm of its probability, at least LEAST_LOGPROB.
        data: its bytes; None for a special token, which stands for no text.
    """

    token: str
    logprob: float
    data: bytes | None = None


@dataclass(frozen=True)
class TokenLogprob(Choice):
    """A token of an answer, with the probabilities of its place.

    Attributes:
        token, logprob, data: of the token itself. The probabilities are the model's own, whatever the temperature and
            the form of the answer: the softmax of its logits.
        top: the likeliest tokens at this place, the likeliest first.
        admitted: the likeliest tokens that the form of the answer admits at this place, the token itself always among
            them. Their probabilities are shares of all that it admits. None where a backend does not know them.
    """

    top: tuple[Choice, ...] = ()
    admitted: tuple[Choice, ...] | None = None


@dataclass(frozen=True)
class AnswerPiece:
    """A piece of a streamed answer, for a request that asks for log-probabilities.

    Attributes:
        text: the piece.
        logprobs: its tokens: those whose text begins in it.
    """

    text: str
    logprobs: tuple[TokenLogprob, ...]
