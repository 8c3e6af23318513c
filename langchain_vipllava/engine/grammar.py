"""Grammars: what an answer must look like, and the tokens that keep to it. The work is llguidance's."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
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
        text = _to_json(schema)
        try:
            return cls(LLMatcher.grammar_from_json_schema(text, overrides=_COMPACT))
        except ValueError as error:
            raise _no_schema(schema, error) from error

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
        self.renew_lock()

    def renew_lock(self) -> None:
        """Begin with a free lock: at first, and in a process that was forked while it was held."""
        self._lock = threading.Lock()

    def start(self, grammar: Grammar, max_tokens: int) -> Constraint:
        """Begin an answer of at most `max_tokens` tokens."""
        with self._lock:
            return Constraint(LLMatcher(self._guide, grammar.text), self._closers, max_tokens, self._guide.decode_bytes)

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
        printable = "".join(map(chr, range(ord("!"), ord("~") + 1)))
        return Closers(ranks, quotes=ids('"'), singles=ids(printable), breaks=ids("\n"))


@dataclass(frozen=True, eq=False)
class Closers:
    """Tokens that bring JSON to its end.

    Attributes:
        ranks: best first; each an array of token ids.
        quotes: what ends a string.
        singles: the printable characters of ASCII, each by itself.
        breaks: line breaks, which only free text may hold: here JSON has none, and those in strings are escaped.
    """

    ranks: list[np.ndarray]
    quotes: np.ndarray
    singles: np.ndarray
    breaks: np.ndarray

    def among(self, allowed: np.ndarray, *, in_string: bool, may_end: Callable[[int], bool]) -> np.ndarray:
        """Those of the allowed tokens that bring JSON nearest to its end; else all of them.

        Args:
            allowed: (vocabulary,) bool.
            in_string: whether a string is open.
            may_end: whether an open string may end behind a token.
        """
        if allowed[self.breaks].any():
            return allowed
        for tokens in [self.quotes] if in_string else self.ranks:
            fitting = tokens[allowed[tokens]]
            if len(fitting):
                return _only(fitting, allowed)
        if (
            in_string
        ):  # one of a pattern, or of a format: there is always one more digit of a second, but after "Z" none
            fitting = np.array(
                [token for token in self.singles[allowed[self.singles]] if may_end(int(token))], np.int64
            )
            if len(fitting):
                return _only(fitting, allowed)
        return allowed


class Constraint:
    """Which tokens may come next in one answer.

    Args:
        matcher: at the beginning of its grammar.
        closers: tokens that bring the answer to its end.
        max_tokens: most tokens of the answer. When less than two fifths of them are left, the answer is brought to
            its end: strings, lists and numbers without a bound would otherwise be cut in the middle.
        read: the bytes of tokens.
    """

    def __init__(
        self, matcher: LLMatcher, closers: Closers, max_tokens: int, read: Callable[[list[int]], bytes]
    ) -> None:
        self._matcher, self._closers, self._read = matcher, closers, read
        self._left, self._closing = max_tokens, int(_CLOSING_SHARE * max_tokens)
        self._in_string = self._escaped = False

    @property
    def complete(self) -> bool:
        """Whether nothing can follow."""
        return bool(self._matcher.is_stopped())

    def restrict(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores (vocabulary,) with minus infinity for every token that may not come next.

        Raises:
            GenerationError: no token may.
        """
        allowed = _allowed(self._matcher)[: len(scores)]
        if not allowed.any():
            raise GenerationError(f"no token fits the schema: {self._matcher.get_error() or 'its end is reached'}.")
        if self._left <= self._closing:
            allowed = self._closers.among(allowed, in_string=self._in_string, may_end=self._may_end)
        return scores.masked_fill(torch.from_numpy(~allowed).to(scores.device), -torch.inf)

    def accept(self, token: int) -> None:
        """Take the token that was chosen.

        Raises:
            GenerationError: it does not fit.
        """
        self._left -= 1
        if not self._matcher.consume_token(token):
            raise GenerationError(f"token {token} does not fit the schema: {self._matcher.get_error()}.")
        for byte in self._read([token]):
            if self._in_string and not self._escaped and byte == ord("\\"):
                self._escaped = True
            else:
                self._in_string ^= byte == ord('"') and not self._escaped
                self._escaped = False

    def _may_end(self, token: int) -> bool:
        ahead = self._matcher.deep_copy()
        ahead.consume_token(token)
        return bool(_allowed(ahead)[self._closers.quotes].any())


def _allowed(matcher: LLMatcher) -> np.ndarray:
    """Which tokens may come next, (vocabulary,) bool."""
    bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    return np.unpackbits(bits, bitorder="little").astype(bool)


def _only(tokens: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    chosen = np.zeros_like(allowed)
    chosen[tokens] = True
    return chosen


@lru_cache(256)  # a bound schema comes again with every call
def _what_is_wrong(grammar: str) -> str | None:
    """Why a grammar cannot be enforced; None for one that can."""
    try:
        wrong, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    except ValueError as error:
        return str(error)
    return " ".join(messages) if wrong else None


def _to_json(schema: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(_coerce(schema, closed=not any(map(_is_pieced_together, _parts(schema)))), allow_nan=False)
        text.encode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _no_schema(schema, error) from error
    return text


def _no_schema(schema: Mapping[str, Any], error: Exception) -> GenerationError:
    return GenerationError(f"{shorten(schema)} is no JSON schema that can be enforced: {error}.")


_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords whose value has a schema for each of some names, which may be anything."""

_VALUES = ("const", "enum", "default", "examples", "required")
"""Keywords whose value is no schema."""

_ELSEWHERE = ("allOf", "anyOf", "oneOf", "$ref", "if", "not", "dependentSchemas", "patternProperties")
"""Keywords that say more of an object than stands in its "properties"."""


def _coerce(part: Any, *, closed: bool) -> Any:
    """A schema that llguidance enforces, and whose every value fits the schema that was given.

    "anyOf" stands for "oneOf" where a discriminator makes both the same, as pydantic's unions do. Decimals with an
    exclusive bound get a last place: 0.99999999999999999999 is less than 1, and is 1.0 to whoever reads the JSON.
    With `closed`, objects have no properties but the named ones, unless they say so themselves: JSON schema's default
    is an open object, and a model goes on inventing names for as long as it may.
    """
    if isinstance(part, (list, tuple)):
        return [_coerce(value, closed=closed) for value in part]
    if not isinstance(part, Mapping):
        return part
    found: dict[str, Any] = {}
    for key, value in part.items():
        if key in _BY_NAME and isinstance(value, Mapping):
            found[key] = {name: _coerce(inner, closed=closed) for name, inner in value.items()}
        else:
            found[key] = value if key in _VALUES else _coerce(value, closed=closed)
    bounds = [found[name] for name in ("exclusiveMinimum", "exclusiveMaximum") if _is_decimal(found.get(name))]
    if bounds and "multipleOf" not in found and found.get("type") not in ("integer", ["integer"]):
        found["multipleOf"] = _last_place(max(abs(bound) for bound in bounds))
    if "discriminator" in found and "oneOf" in found:
        found["anyOf"] = found.pop("oneOf")
        found.pop("discriminator")
    if closed and isinstance(found.get("properties"), Mapping) and "minProperties" not in found:
        found.setdefault("additionalProperties", False)
    return found


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """A schema and every schema in it."""
    if isinstance(schema, (list, tuple)):
        for one in schema:
            yield from _parts(one)
    elif isinstance(schema, Mapping):
        yield schema
        for key, value in schema.items():
            if key in _BY_NAME and isinstance(value, Mapping):
                yield from _parts(list(value.values()))
            elif key not in _VALUES:
                yield from _parts(value)


def _is_pieced_together(part: Mapping[str, Any]) -> bool:
    """Whether an object is described in several places, so that none may say that there is nothing else."""
    properties, required = part.get("properties"), part.get("required")
    if isinstance(part.get("allOf"), (list, tuple)) and len(part["allOf"]) > 1:
        return True
    if not isinstance(properties, Mapping):
        return False
    unnamed = isinstance(required, (list, tuple)) and any(name not in properties for name in required)
    return unnamed or any(key in part for key in _ELSEWHERE)


def _is_decimal(bound: Any) -> bool:
    return isinstance(bound, int | float) and not isinstance(bound, bool)


def _last_place(bound: float) -> float:
    """What numbers near a bound are written in multiples of, so that a float tells them from it."""
    before = math.floor(math.log10(bound)) if bound >= 1 else 0
    return float(f"1e-{min(max(_DIGITS - 1 - before, 0), _PLACES)}")
