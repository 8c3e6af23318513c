"""Grammars: what an answer must look like, and the tokens that keep to it. The work is llguidance's."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer

from langchain_vipllava.errors import GenerationError, shorten

# A model that is free to pad JSON with spaces may pad it for ever.
_COMPACT: Any = {"whitespace_flexible": False}
_DIGITS, _PLACES = 15, 10
"""Digits that a float keeps of a decimal number, and places behind the point that llguidance can count to."""

_CLOSING_SHARE = 0.4
"""Share of an answer's tokens that is left for bringing it to an end, once the rest is used up."""


@dataclass(frozen=True)
class Grammar:
    """What an answer must look like.

    Attributes:
        text: a grammar as llguidance writes it; see `Grammar.of_schema` and `Grammar.of_lark`.

    Raises:
        GenerationError: it says something that cannot be enforced.
    """

    text: str = field(repr=False)

    def __post_init__(self) -> None:
        wrong = _what_is_wrong(self.text)
        if wrong is not None:
            raise GenerationError(
                f"the schema cannot be enforced while the model writes: {wrong}. Leave that part out of "
                "the schema, or check it in the answer."
            )

    @classmethod
    def of_schema(cls, schema: Mapping[str, Any]) -> Grammar:
        """JSON that fits a JSON schema, without spaces between its parts.

        Raises:
            GenerationError: not a JSON schema, or one with something that cannot be enforced.
        """
        return cls(LLMatcher.grammar_from_json_schema(_to_json(schema), overrides=_COMPACT))

    @classmethod
    def of_alternatives(cls, schemas: Sequence[Mapping[str, Any]], *, or_text: bool) -> Grammar:
        """JSON that fits one of some schemas; or free text, which does not begin like a list.

        Raises:
            GenerationError: as `of_schema`.
        """
        names = [f"json{index}" for index in range(len(schemas))]
        rules = [
            f"{name}: %json {_to_json({**schema, 'x-guidance': _COMPACT})}"
            for name, schema in zip(names, schemas, strict=True)
        ]
        if or_text:
            names.append("TEXT")
            rules.append(r"TEXT: /\s*[^\[\s](.|\n)*/")
        return cls(LLMatcher.grammar_from_lark("\n".join([f"start: {' | '.join(names)}", *rules])))


class GrammarTokenizer:
    """Starts constraints for one model; safe to call from many threads.

    Args:
        tokenizer: the checkpoint's fast tokenizer.
        vocabulary: number of the model's scores, which may be more than the tokenizer has tokens.
        end_ids: tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, end_ids: Sequence[int]) -> None:
        self._tokenizer, self._vocabulary, self._end_ids = tokenizer, vocabulary, list(end_ids)
        self._lock = threading.Lock()

    def start(self, grammar: Grammar, max_tokens: int) -> Constraint:
        """Begin an answer of at most `max_tokens` tokens."""
        with self._lock:
            return Constraint(LLMatcher(self._guide, grammar.text), self._closers, max_tokens)

    @cached_property
    def _guide(self) -> LLTokenizer:
        from llguidance.hf import from_tokenizer  # noqa: PLC0415  # loads transformers, as its caller did

        size = max(self._vocabulary, len(self._tokenizer))
        end = self._end_ids or [self._tokenizer.eos_token_id]
        return from_tokenizer(self._tokenizer, n_vocab=size, eos_token=end)

    @cached_property
    def _closers(self) -> Closers:
        tokens: dict[str, list[int]] = {}
        for token in range(min(self._vocabulary, len(self._tokenizer))):
            text = self._guide.decode_bytes([token]).decode("latin-1")
            tokens.setdefault(text, []).append(token)

        def ids(texts: str) -> np.ndarray:
            return np.array([token for text in texts for token in tokens.get(text, ())], dtype=np.int64)

        ranks = [np.array(self._end_ids, dtype=np.int64), ids("}]"), ids('"'), ids(",:{["), ids("0123456789")]
        return Closers(ranks, quotes=ids('"'), letters=ids("zxq"), breaks=ids("\n"))


@dataclass(frozen=True, eq=False)
class Closers:
    """Tokens that bring JSON to its end.

    Attributes:
        ranks: best first; each an array of token ids.
        quotes: what ends a string.
        letters: letters that no JSON outside a string begins with.
        breaks: line breaks, which only free text may hold: here JSON has none, and those in strings are escaped.
    """

    ranks: list[np.ndarray]
    quotes: np.ndarray
    letters: np.ndarray
    breaks: np.ndarray

    def among(self, allowed: np.ndarray) -> np.ndarray:
        """Those of the allowed tokens, (vocabulary,) bool, that bring JSON nearest to its end; else all of them."""
        if allowed[self.breaks].any():
            return allowed
        in_string = allowed[self.letters].any()
        for tokens in [self.quotes, *self.ranks] if in_string else self.ranks:
            fitting = tokens[allowed[tokens]]
            if len(fitting):
                closing = np.zeros_like(allowed)
                closing[fitting] = True
                return closing
        return allowed


class Constraint:
    """Which tokens may come next in one answer.

    Args:
        matcher: at the beginning of its grammar.
        closers: tokens that bring the answer to its end.
        max_tokens: most tokens of the answer. When less than two fifths of them are left, the answer is brought to
            its end: strings, lists and numbers without a bound would otherwise be cut in the middle.
    """

    def __init__(self, matcher: LLMatcher, closers: Closers, max_tokens: int) -> None:
        self._matcher, self._closers = matcher, closers
        self._left, self._closing = max_tokens, int(_CLOSING_SHARE * max_tokens)

    @property
    def complete(self) -> bool:
        """Whether nothing can follow."""
        return bool(self._matcher.is_stopped())

    def restrict(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores (vocabulary,) with minus infinity for every token that may not come next.

        Raises:
            GenerationError: no token may.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        allowed = np.unpackbits(bits, bitorder="little")[: len(scores)].astype(bool)
        if not allowed.any():
            raise GenerationError(f"no token fits the schema: {self._matcher.get_error() or 'its end is reached'}.")
        if self._left <= self._closing:
            allowed = self._closers.among(allowed)
        return scores.masked_fill(torch.from_numpy(~allowed).to(scores.device), -torch.inf)

    def accept(self, token: int) -> None:
        """Take the token that was chosen.

        Raises:
            GenerationError: it does not fit.
        """
        self._left -= 1
        if not self._matcher.consume_token(token):
            raise GenerationError(f"token {token} does not fit the schema: {self._matcher.get_error()}.")


@lru_cache(256)  # a bound schema comes again with every call
def _what_is_wrong(grammar: str) -> str | None:
    """Why a grammar cannot be enforced; None for one that can."""
    wrong, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    return " ".join(messages) if wrong else None


def _to_json(schema: Mapping[str, Any]) -> str:
    try:
        return json.dumps(_coerce(schema))
    except (TypeError, ValueError) as error:
        raise GenerationError(f"{shorten(schema)} is no JSON schema: {error}.") from error


def _coerce(part: Any) -> Any:
    """A schema that llguidance enforces, and that says the same.

    "anyOf" stands for "oneOf" where a discriminator makes both the same, as pydantic's unions do. Decimals with an
    exclusive bound get a last place: 0.99999999999999999999 is less than 1, and is 1.0 to whoever reads the JSON.
    """
    if isinstance(part, Mapping):
        found = {key: _coerce(value) for key, value in part.items()}
        bounds = [found[name] for name in ("exclusiveMinimum", "exclusiveMaximum") if _is_decimal(found.get(name))]
        if found.get("type") == "number" and bounds and "multipleOf" not in found:
            found["multipleOf"] = _last_place(max(abs(bound) for bound in bounds))
        if "discriminator" in found and "oneOf" in found:
            found["anyOf"] = found.pop("oneOf")
            found.pop("discriminator")
        return found
    return [_coerce(value) for value in part] if isinstance(part, (list, tuple)) else part


def _is_decimal(bound: Any) -> bool:
    return isinstance(bound, int | float) and not isinstance(bound, bool)


def _last_place(bound: float) -> float:
    """What numbers near a bound are written in multiples of, so that a float tells them from it."""
    before = math.floor(math.log10(bound)) if bound >= 1 else 0
    return float(f"1e-{min(max(_DIGITS - 1 - before, 0), _PLACES)}")
