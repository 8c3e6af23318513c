"""`Constraint`: which tokens may come next in an answer that must match a grammar, by llguidance.

No torch at import: a backend that asks a server follows an answer here too.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from tokenizers import Tokenizer

from langchain_vipllava.engine.grammar import LIMITS, Grammar
from langchain_vipllava.errors import GenerationError
from langchain_vipllava.locks import cached_property, fork_safe_lock, run_locked

if TYPE_CHECKING:
    import torch

_CLOSING_SHARE = 0.4
"""Share of `max_tokens` that is reserved for closing JSON. Chosen, not tuned: 102 of the 256 tokens of the default."""


class ConstraintFactory:
    """Creates the constraints of one model. Thread-safe.

    Args:
        tokenizer: the checkpoint's fast tokenizer, as transformers or tokenizers loads it.
        vocabulary: number of logits of the model, which may exceed the number of tokens.
        end_ids: tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, end_ids: abc.Sequence[int]) -> None:
        self._tokenizer, self._vocabulary, self._end_ids = tokenizer, vocabulary, list(end_ids)
        self._size = int(getattr(tokenizer, "backend_tokenizer", tokenizer).get_vocab_size())
        self._lock = fork_safe_lock()

    def start(self, grammar: Grammar, max_tokens: int) -> Constraint:
        """Return the constraint of a new answer of at most `max_tokens` tokens.

        Raises:
            GenerationError: the grammar is too complex.
        """
        guide, closing_tokens = run_locked(self._lock, lambda: (self._guide, self._closing_tokens))
        matcher = LLMatcher(guide, grammar.text, log_level=0, limits=LIMITS)  # seconds, for the largest schemas
        matcher.compute_bitmask()  # the first one takes the longest: here, rather than in the engine's thread
        if matcher.is_error():
            raise GenerationError(f"the schema is too complex: {_first_line(matcher)}. Simplify its patterns.")
        return Constraint(matcher, closing_tokens, max_tokens, guide.decode_bytes)

    @cached_property
    def _guide(self) -> LLTokenizer:
        backend = getattr(self._tokenizer, "backend_tokenizer", self._tokenizer)
        tokenizer = Tokenizer.from_str(backend.to_str())
        tokenizer.no_padding()
        tokenizer.no_truncation()
        size = max(self._vocabulary, int(tokenizer.get_vocab_size()))
        end = self._end_ids or [self._tokenizer.eos_token_id]
        return LLTokenizer(tokenizer.to_str(), n_vocab=size, eos_token=end)

    @cached_property
    def _closing_tokens(self) -> ClosingTokens:
        by_text: dict[str, list[int]] = {}
        for token in range(min(self._vocabulary, self._size)):
            text = self._guide.decode_bytes([token]).decode("latin-1")
            by_text.setdefault(text, []).append(token)

        def ids(characters: str) -> np.ndarray:
            return np.array([token for text in characters for token in by_text.get(text, ())], dtype=np.int64)

        ranks = [np.array(self._end_ids, dtype=np.int64), ids("}]"), ids('"'), ids(",:{["), ids("0123456789")]
        printable = "".join(map(chr, range(ord("!"), ord("~") + 1)))
        return ClosingTokens(ranks, quotes=ids('"'), printable=ids(printable), newlines=ids("\n"))


@dataclass(frozen=True, eq=False)
class ClosingTokens:
    """Tokens that bring a JSON value to its end.

    Attributes:
        ranks: arrays of token ids, the most effective first.
        quotes: tokens that end a string.
        printable: tokens of one printable ASCII character each.
        newlines: tokens of a line break. Only free text allows them: compact JSON escapes those in strings.
    """

    ranks: list[np.ndarray]
    quotes: np.ndarray
    printable: np.ndarray
    newlines: np.ndarray

    def narrow(self, allowed: np.ndarray, *, in_string: bool, may_end_after: Callable[[int], bool]) -> np.ndarray:
        """Return those of the allowed tokens that bring JSON closest to its end; all of them if none does.

        Args:
            allowed: (vocabulary,) bool.
            in_string: whether a string is open.
            may_end_after: whether an open string may end after a token.
        """
        if allowed[self.newlines].any():
            return allowed
        for tokens in [self.quotes] if in_string else self.ranks:
            closing = tokens[allowed[tokens]]
            if len(closing):
                return _mask_of(closing, allowed)
        if in_string:
            # The string has a pattern or a format, and must not end here. A time, for example, may always get one more
            # digit of its seconds, but ends after "Z": take a character after which the string may end.
            candidates = self.printable[allowed[self.printable]]
            closing = np.array([token for token in candidates if may_end_after(int(token))], np.int64)
            if len(closing):
                return _mask_of(closing, allowed)
        return allowed


class Constraint:
    """Which tokens may come next in one answer.

    When `_CLOSING_SHARE` of its tokens is left, the answer is brought to its end. Otherwise `max_tokens` would cut
    strings, lists and numbers without a bound in the middle.

    Args:
        matcher: at the start of its grammar.
        closing_tokens: tokens that bring the answer to its end.
        max_tokens: maximum number of tokens of the answer.
        decode_bytes: returns the bytes of tokens.

    Attributes:
        admitted: which tokens the grammar admitted when `mask` was last called, (vocabulary,) bool, also where only
            closing ones were left.
    """

    def __init__(
        self,
        matcher: LLMatcher,
        closing_tokens: ClosingTokens,
        max_tokens: int,
        decode_bytes: Callable[[list[int]], bytes],
    ) -> None:
        self._matcher, self._closing_tokens, self._decode_bytes = matcher, closing_tokens, decode_bytes
        self._tokens_left, self._close_from = max_tokens, int(_CLOSING_SHARE * max_tokens)
        self._in_string = self._escaped = False
        self.admitted: np.ndarray | None = None

    def fork(self) -> Constraint:
        """Return one at the same place of the answer, which goes on by itself."""
        return Constraint(self._matcher.deep_copy(), self._closing_tokens, self._tokens_left, self._decode_bytes)

    @property
    def is_complete(self) -> bool:
        """Whether the answer cannot go on."""
        return bool(self._matcher.is_stopped())

    @property
    def free_tokens(self) -> int:
        """Number of tokens that are left before the answer is brought to its end."""
        return max(self._tokens_left - self._close_from, 0)

    @property
    def is_free_text(self) -> bool:
        """Whether the answer is text, which needs no end: only that allows a line break."""
        return bool(_allowed_tokens(self._matcher)[self._closing_tokens.newlines].any())

    def allowed(self) -> np.ndarray:
        """Return which tokens may come next, (vocabulary,) bool.

        Raises:
            GenerationError: no token may come next.
        """
        allowed = _allowed_tokens(self._matcher)
        if not allowed.any():
            raise GenerationError(f"no token fits the schema: {_first_line(self._matcher) or 'it is complete'}.")
        self.admitted = allowed
        if self._tokens_left <= self._close_from:
            allowed = self._closing_tokens.narrow(
                allowed, in_string=self._in_string, may_end_after=self._string_may_end_after
            )
        return allowed

    def forced(self) -> list[int]:
        """Return the tokens that must come next, each the only one that may: the name of the next key, for example.

        llguidance finds text that the grammar leaves no choice about, and admits only the tokens that the tokenizer
        makes of it. The last ones are left out where what follows could join them to a longer token.
        """
        return [int(token) for token in self._matcher.compute_ff_tokens()]

    def mask(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the logits, (vocabulary,), with minus infinity for every token that may not come next.

        Raises:
            GenerationError: no token may come next.
        """
        import torch  # noqa: PLC0415  # a backend that asks a server has no logits

        allowed = self.allowed()[: len(logits)]
        self.admitted = None if self.admitted is None else self.admitted[: len(logits)]
        return logits.masked_fill(torch.from_numpy(~allowed).to(logits.device), -torch.inf)

    def accept(self, token: int) -> None:
        """Advance by the token that was chosen.

        Raises:
            GenerationError: the token may not come next.
        """
        self._tokens_left -= 1
        if not self._matcher.consume_token(token):
            raise GenerationError(f"token {token} does not fit the schema: {_first_line(self._matcher)}.")
        for byte in self._decode_bytes([token]):
            if self._in_string and not self._escaped and byte == ord("\\"):
                self._escaped = True
            else:
                self._in_string ^= byte == ord('"') and not self._escaped
                self._escaped = False

    def _string_may_end_after(self, token: int) -> bool:
        copy = self._matcher.deep_copy()
        copy.consume_token(token)
        return bool(_allowed_tokens(copy)[self._closing_tokens.quotes].any())


def _first_line(matcher: LLMatcher) -> str:
    """What is wrong with a matcher; the rest is its state."""
    return (matcher.get_error().splitlines() or [""])[0]


def _allowed_tokens(matcher: LLMatcher) -> np.ndarray:
    """Return which tokens may come next, (vocabulary,) bool."""
    bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    return np.unpackbits(bits, bitorder="little").astype(bool)


def _mask_of(tokens: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    mask = np.zeros_like(allowed)
    mask[tokens] = True
    return mask
