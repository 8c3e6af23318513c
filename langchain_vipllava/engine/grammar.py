"""`Grammar` and `Constraint`: what an answer must match, and which tokens may come next, by llguidance."""

from __future__ import annotations

import json
import math
from collections import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from langchain_vipllava.engine.adapted_schema import adapt_schema, is_number
from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.locks import cached_property, fork_safe_lock, run_locked
from langchain_vipllava.protocol.json_schema import subschemas

_COMPACT: Any = {"whitespace_flexible": False}
"""llguidance's option for JSON without whitespace: a model that may pad JSON with spaces may pad it indefinitely."""

_CLOSING_SHARE = 0.4
"""Share of `max_tokens` that is reserved for closing JSON. Chosen, not tuned: 102 of the 256 tokens of the default."""


_LIMITS = LLParserLimits(initial_lexer_fuel=200_000)
"""Measured: with llguidance's default of 1,000,000, the pattern `((a{1000}){1000}){1000}` takes 0.9 seconds and 220 MB
before it is refused. Its other defaults end a step of any pattern and list that we tried within 0.07 seconds."""

_MAX_STEPS = 20_000
"""Remainders that the `multipleOf` of a schema may tell apart. llguidance has a state for each, in its lexer, and no
limit that counts them. Measured: 50,000 take 0.5 seconds, 100,000 1.7, and 1,000,000 minutes."""

_MAX_CHECKED_GRAMMARS = 256
"""Grammars whose check is remembered, as a bound schema comes with every call. Chosen: more than a program
binds."""


@dataclass(frozen=True)
class Grammar:
    """What an answer must match.

    Attributes:
        text: a grammar in llguidance's notation; see `Grammar.from_schema` and `Grammar.from_alternatives`.

    Raises:
        GenerationError: the grammar has a part that llguidance cannot enforce.
    """

    text: str = field(repr=False)

    def __post_init__(self) -> None:
        problem = _find_problem(self.text)
        if problem is not None:
            raise GenerationError(
                f"the schema cannot be enforced during generation: {problem}. Remove that part from the schema, or "
                "check it in the answer."
            )

    @classmethod
    def from_schema(cls, schema: Mapping[str, Any]) -> Grammar:
        """Make a grammar of the JSON values that match a JSON schema, without whitespace between their parts.

        Raises:
            GenerationError: not a JSON schema, or one with a part that cannot be enforced.
        """
        return cls.from_alternatives([schema], or_text=False)

    @classmethod
    def from_alternatives(cls, schemas: abc.Sequence[Mapping[str, Any]], *, or_text: bool) -> Grammar:
        """Make a grammar of the JSON values that match one of several schemas.

        Args:
            schemas: the JSON schemas.
            or_text: whether free text matches too, unless it starts like a JSON list.

        Raises:
            GenerationError: as in `from_schema`.
        """
        names = [f"json{index}" for index in range(len(schemas))]
        rules = [
            f"{name}: %json {_to_json({**schema, 'x-guidance': _COMPACT})}"
            for name, schema in zip(names, schemas, strict=True)
        ]
        if or_text:
            names.append("TEXT")
            rules.append(r"TEXT: /\s*[^\[\s](.|\n)*/")
        # After "ASSISTANT:" training always had a space: a model's likeliest beginnings carry it. The text is stripped.
        return cls(LLMatcher.grammar_from_lark("\n".join([f'start: " "? ({" | ".join(names)})', *rules])))


class ConstraintFactory:
    """Creates the constraints of one model. Thread-safe.

    Args:
        tokenizer: the checkpoint's fast tokenizer.
        vocabulary: number of logits of the model, which may exceed the number of tokens.
        end_ids: tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, end_ids: abc.Sequence[int]) -> None:
        self._tokenizer, self._vocabulary, self._end_ids = tokenizer, vocabulary, list(end_ids)
        self._lock = fork_safe_lock()

    def start(self, grammar: Grammar, max_tokens: int) -> Constraint:
        """Return the constraint of a new answer of at most `max_tokens` tokens.

        Raises:
            GenerationError: the grammar is too complex.
        """
        guide, closing_tokens = run_locked(self._lock, lambda: (self._guide, self._closing_tokens))
        matcher = LLMatcher(guide, grammar.text, log_level=0, limits=_LIMITS)  # seconds, for the largest schemas
        matcher.compute_bitmask()  # the first one takes the longest: here, rather than in the engine's thread
        if matcher.is_error():
            raise GenerationError(f"the schema is too complex: {_first_line(matcher)}. Simplify its patterns.")
        return Constraint(matcher, closing_tokens, max_tokens, guide.decode_bytes)

    @cached_property
    def _guide(self) -> LLTokenizer:
        from llguidance.hf import from_tokenizer  # noqa: PLC0415  # imports transformers

        size = max(self._vocabulary, len(self._tokenizer))
        end = self._end_ids or [self._tokenizer.eos_token_id]
        return from_tokenizer(self._tokenizer, n_vocab=size, eos_token=end)

    @cached_property
    def _closing_tokens(self) -> ClosingTokens:
        by_text: dict[str, list[int]] = {}
        for token in range(min(self._vocabulary, len(self._tokenizer))):
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

    @property
    def is_complete(self) -> bool:
        """Whether the answer cannot go on."""
        return bool(self._matcher.is_stopped())

    def mask(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the logits, (vocabulary,), with minus infinity for every token that may not come next.

        Raises:
            GenerationError: no token may come next.
        """
        allowed = _allowed_tokens(self._matcher)[: len(logits)]
        if not allowed.any():
            raise GenerationError(f"no token fits the schema: {_first_line(self._matcher) or 'it is complete'}.")
        self.admitted = allowed
        if self._tokens_left <= self._close_from:
            allowed = self._closing_tokens.narrow(
                allowed, in_string=self._in_string, may_end_after=self._string_may_end_after
            )
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


@lru_cache(_MAX_CHECKED_GRAMMARS)
def _find_problem(grammar: str) -> str | None:
    """Return why a grammar cannot be enforced; None if it can."""
    try:
        invalid, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    except ValueError as error:
        return str(error)
    return " ".join(messages) if invalid else None


def _to_json(schema: Mapping[str, Any]) -> str:
    try:
        adapted = adapt_schema(schema)
        text = json.dumps(adapted, allow_nan=False)
        text.encode()
        steps = _steps(adapted)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _invalid_schema(schema, error) from error
    if steps > _MAX_STEPS:
        raise GenerationError(
            f"multipleOf tells {steps:,} remainders apart; expected at most {_MAX_STEPS:,} in a schema. Leave it out, "
            "and check it in the answer."
        )
    return text


def _invalid_schema(schema: Mapping[str, Any], error: Exception) -> GenerationError:
    return GenerationError(f"{shorten(schema)} is not a JSON schema that can be enforced: {error}.")


_REFERENCES = ("$ref", "anyOf", "oneOf")
"""Keywords that apply other schemas to the same value."""

_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "type", "$defs", "definitions"})
"""Keywords that constrain no number."""


def _steps(schema: Any) -> int:
    """Return how many remainders all `multipleOf` of a schema tell apart: trailing zeros and decimal places are free.

    Where several schemas may describe one value, every combination of theirs counts.
    """
    schemas = list(subschemas(schema))
    values = [inner["multipleOf"] for inner in schemas if is_number(inner.get("multipleOf"))]
    digits = [Decimal(str(value)).normalize().as_tuple().digits for value in values]
    steps = [max(int("".join(map(str, part))), 1) for part in digits]
    return math.lcm(*steps) if any(map(_is_intersection, schemas)) else sum(steps)


def _is_intersection(schema: Mapping[str, Any]) -> bool:
    """Whether several schemas may describe one value; those beside an annotation do not."""
    constraints = schema.keys() - _ANNOTATIONS
    return "allOf" in schema or (len(constraints) > 1 and not constraints.isdisjoint(_REFERENCES))
