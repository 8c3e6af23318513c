"""What goes into the model host and what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import TYPE_CHECKING, Literal

from langchain_vipllava.errors import GenerationError
from langchain_vipllava.images.load import ImageSource
from langchain_vipllava.prompt.formats import Prompt

if TYPE_CHECKING:
    from langchain_vipllava.engine.grammar import Grammar

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: 0 takes the likeliest token (greedy), higher is more varied.
        top_p: keep the likeliest tokens that together have this probability, in (0, 1].
        top_k: keep this many of the likeliest tokens, None for all.
        seed: the same request with the same seed gives the same answer, alone or batched.

    Raises:
        GenerationError: a value out of range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        warm = _is_a(self.temperature, Real) and 0 <= self.temperature <= 100
        _expect(warm, "temperature", self.temperature, "0 (greedy) to 100")
        _expect(_is_a(self.top_p, Real) and 0 < self.top_p <= 1, "top_p", self.top_p, "more than 0 and at most 1")
        some = self.top_k is None or (_is_a(self.top_k, Integral) and self.top_k >= 1)
        _expect(some, "top_k", self.top_k, "a whole number of at least 1, or None")
        seeded = self.seed is None or (_is_a(self.seed, Integral) and -(2**63) <= self.seed < 2**63)
        _expect(seeded, "seed", self.seed, "a whole number of at most 63 bits, or None")


@dataclass(frozen=True)
class GenerationRequest:
    """One question to the model.

    Attributes:
        prompt: what the model reads.
        images: one per `<image>` of the prompt, in order.
        max_tokens: most tokens of the answer.
        stop: texts that end the answer; they are not part of it.
        sampling: how tokens are chosen.
        image_fit: how an image becomes square.
        grammar: what the answer must look like; None for free text.

    Raises:
        GenerationError: `max_tokens` below 1, an empty stop text.
    """

    prompt: Prompt
    images: tuple[ImageSource, ...] = field(default=(), repr=False)
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    image_fit: str = "pad"
    grammar: Grammar | None = None

    def __post_init__(self) -> None:
        some = _is_a(self.max_tokens, Integral) and self.max_tokens >= 1
        _expect(some, "max_tokens", self.max_tokens, "a whole number of at least 1")
        texts = all(isinstance(text, str) and text for text in self.stop)
        _expect(texts, "stop", self.stop, "texts that are not empty")
        _expect(self.image_fit in ("pad", "center_crop"), "image_fit", self.image_fit, "'pad' or 'center_crop'")


@dataclass(frozen=True)
class Timings:
    """Where the time of an answer went, in seconds.

    Attributes:
        queued: until the model began with it.
        prefill: from there to its first token.
        first_token: from the call to its first token.
        decode: from its first token to its last.
        reused_tokens: tokens of the prompt that were known from before, and not computed.
    """

    queued: float = 0.0
    prefill: float = 0.0
    first_token: float = 0.0
    decode: float = 0.0
    reused_tokens: int = 0


@dataclass(frozen=True)
class GenerationResult:
    """The model's answer.

    Attributes:
        ids: token ids of the answer, without the token that ended it.
        text: the answer, without whitespace around it and without the stop text.
        input_tokens: tokens of the prompt, those of its images included.
        finish_reason: "stop" (the model or a stop text ended it), "length" (`max_tokens` or the
            context was reached) or "cancelled".
        timings: where the time went.
    """

    ids: tuple[int, ...]
    text: str
    input_tokens: int
    finish_reason: FinishReason
    timings: Timings = field(default_factory=Timings, compare=False)

    @property
    def output_tokens(self) -> int:
        """Tokens of the answer."""
        return len(self.ids)


def _is_a(value: object, kind: type) -> bool:
    """Whether a value is a number of a kind; True and False are none."""
    return isinstance(value, kind) and not isinstance(value, bool)


def _expect(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise GenerationError(f"{name}={value!r}; expected {expected}.")
