"""`Sampling`: how the next token is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real

from langchain_vipllava.errors import GenerationError


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: 0 takes the most likely token (greedy); higher values give more variety. At most 100.
        top_p: sample from the most likely tokens that together have this probability, in (0, 1].
        top_k: sample from this many of the most likely tokens; None for all.
        seed: equal requests with equal seeds get equal answers, alone or batched; None for a random one.

    Raises:
        GenerationError: a value out of range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        in_range = is_number(self.temperature, Real) and 0 <= self.temperature <= 100
        expect(in_range, "temperature", self.temperature, "0 (greedy) to 100")
        expect(is_number(self.top_p, Real) and 0 < self.top_p <= 1, "top_p", self.top_p, "more than 0 and at most 1")
        positive = self.top_k is None or (is_number(self.top_k, Integral) and self.top_k >= 1)
        expect(positive, "top_k", self.top_k, "a whole number of at least 1, or None")
        fits = self.seed is None or (is_number(self.seed, Integral) and -(2**63) <= self.seed < 2**63)
        expect(fits, "seed", self.seed, "an integer from -2**63 to 2**63 - 1, or None")


def is_number(value: object, kind: type) -> bool:
    """Whether a value is a number of a kind; True and False are not."""
    return isinstance(value, kind) and not isinstance(value, bool)


def expect(condition: bool, name: str, value: object, expected: str) -> None:
    """Raise a GenerationError that names a setting, unless a condition holds."""
    if not condition:
        raise GenerationError(f"{name}={value!r}; expected {expected}.")
