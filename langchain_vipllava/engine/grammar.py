"""`Grammar`: what an answer must match, for llguidance. No torch: a backend that asks a server uses it too."""

from __future__ import annotations

import json
import math
import re
from collections import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher, LLParserLimits

from langchain_vipllava.engine.adapted_schema import adapt_schema
from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.schemas.json_schema import is_number, rebuilt, subschemas
from langchain_vipllava.schemas.narrow_schema import MAX_DECIMAL_PLACES
from langchain_vipllava.text import cut

_COMPACT: Any = {"whitespace_flexible": False}
"""llguidance's option for JSON without whitespace: a model that may pad JSON with spaces may pad it indefinitely."""

LIMITS = LLParserLimits(initial_lexer_fuel=200_000)
"""Measured: with llguidance's default of 1,000,000, the pattern `((a{1000}){1000}){1000}` takes 0.9 seconds and 220 MB
before it is refused. Its other defaults end a step of any pattern and list that we tried within 0.07 seconds."""

_MAX_STEPS = 20_000
"""Remainders that the `multipleOf` of a schema may tell apart. llguidance has a state for each, in its lexer, and no
limit that counts them. Measured: 50,000 take 0.5 seconds, 100,000 1.7, and 1,000,000 minutes."""

_PLACE = re.compile(r"^at \d+\(\d+\): (?:failed to compile JSON schema: )?")
_MAX_PROBLEM = 200
"""Characters of llguidance's message. Chosen: its own are shorter, and what it quotes of a schema may be long."""

_MAX_CHECKED_GRAMMARS = 256
"""Grammars whose check is remembered, as a bound schema comes with every call. Chosen: more than a program
binds."""


@dataclass(frozen=True)
class Grammar:
    """What an answer must match.

    Attributes:
        text: a grammar as Lark text, in llguidance's notation; see `Grammar.from_schema` and
            `Grammar.from_alternatives`.

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
        rules = [f"{name}: %json {_to_json(schema)}" for name, schema in zip(names, schemas, strict=True)]
        if or_text:
            names.append("TEXT")
            rules.append(r"TEXT: /\s*[^\[\s](.|\n)*/")
        # After "ASSISTANT:" training always had a space: a model's likeliest beginnings carry it. The text is stripped.
        return cls(LLMatcher.grammar_from_lark("\n".join([f'start: " "? ({" | ".join(names)})', *rules])))

    @classmethod
    def from_text(cls, text: str) -> Grammar:
        """Make a grammar of one text alone.

        Raises:
            GenerationError: the text cannot be written.
        """
        return cls(LLMatcher.grammar_from_lark(f'start: " "? TEXT\nTEXT: {json.dumps(text, ensure_ascii=False)}'))


@lru_cache(_MAX_CHECKED_GRAMMARS)
def _find_problem(grammar: str) -> str | None:
    """Return why a grammar cannot be enforced; None if it can."""
    try:
        invalid, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    except ValueError as error:
        return str(error)
    return _problem_text(" ".join(messages)) if invalid else None


def _problem_text(message: str) -> str:
    """Return what is wrong with a schema: the rest of llguidance's message is its grammar."""
    lines = message.splitlines() or [""]
    line = _PLACE.sub("", lines[0])
    if "regex parse error" in line:  # then the pattern, a mark below its place, and the reason
        reason = next((said.removeprefix("error: ") for said in lines if said.startswith("error: ")), "not a pattern")
        return cut(f"the pattern {' '.join(lines[1:2]).strip()}: {reason}", _MAX_PROBLEM)
    if "oneOf" in line:
        return "one value may fit several options of a oneOf; write anyOf, or let each require what no other one has"
    if "too many digits" in line:
        return (
            f"multipleOf has more than {MAX_DECIMAL_PLACES} decimal places, or no float near it is exact enough (0.23)"
        )
    return cut(line, _MAX_PROBLEM).removesuffix(".")


def _to_json(schema: Mapping[str, Any]) -> str:
    try:
        adapted = {**adapt_schema(schema), "x-guidance": _COMPACT}
        steps = _steps(adapted)
        text = json.dumps(rebuilt(adapted, _count_exactly), allow_nan=False)
        text.encode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _invalid_schema(schema, error) from error
    if steps > _MAX_STEPS:
        raise GenerationError(
            f"multipleOf tells {steps:,} remainders apart; expected at most {_MAX_STEPS:,} in a schema. Leave it out, "
            "and check it in the answer."
        )
    return text


_MAX_NEAR_FLOATS = 8
"""Floats on each side of a step that are tried. Chosen: each of ten products rounds by half a one at most."""


def _count_exactly(part: dict[str, Any]) -> None:
    step = part.get("multipleOf")
    if isinstance(step, float) and math.isfinite(step) and step > 0:
        part["multipleOf"] = _countable(step)


@lru_cache(_MAX_CHECKED_GRAMMARS)
def _countable(step: float) -> float:
    """Return the float near a step such as 0.07 that llguidance counts in; the step itself where there is none.

    It multiplies by 10 until no fraction is left, and 0.07 never gets there: 0.7000000000000001, 7.000000000000001.
    The float before it gives 0.7 and 7, so that the numbers are multiples of 0.07 all the same.
    """
    lower = higher = step
    for _ in range(_MAX_NEAR_FLOATS):
        for near in (lower, higher):
            if _find_problem(LLMatcher.grammar_from_json_schema(json.dumps({"multipleOf": near}))) is None:
                return near
        lower, higher = math.nextafter(lower, 0), math.nextafter(higher, math.inf)
    return step


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
