"""`adapt_schema`: a JSON schema as llguidance enforces it, without the dead ends into which it would lead an answer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache, partial
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from langchain_vipllava.engine.any_value import bound_any_value
from langchain_vipllava.engine.composed_object import merge_object
from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.schemas.json_schema import COMPOSING, is_number, rebuilt, subschemas
from langchain_vipllava.schemas.narrow_schema import MAX_DECIMAL_PLACES

_FLOAT_DIGITS = 15
"""Decimal digits that a float represents exactly."""

_DEFINITIONS: tuple[str, ...] = ("$defs", "definitions")

_MAX_CHECKED_PATTERNS = 256
"""Patterns whose check is remembered. Chosen: more than a program binds."""

_ADD_PROPERTIES = ("allOf", "anyOf", "oneOf", "$ref", "if", "not", "dependentSchemas", "patternProperties")
"""Keywords that may describe properties of an object that its "properties" do not name."""


def adapt_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Adapt a schema to what llguidance enforces. Every value that matches the result matches the original schema.

    - "oneOf" with a discriminator becomes "anyOf": both mean the same there, as in the unions of pydantic.
    - Decimals with an exclusive bound have a maximum number of places, and begin at the next number behind it:
      0.99999999999999999999 is less than 1, but a JSON parser reads it as 1.0, and llguidance admits 1 where
      1 < x <= 1.5.
    - Objects allow only the properties that they name, unless they say otherwise, or several schemas describe one
      object that `merge_object` cannot merge. By default JSON schema allows more, and a model goes on inventing names
      for as long as it may.
    - Values that a schema leaves open have finite numbers, unless several schemas describe one object.
    - A pattern of names that fits no name beyond those of "properties" becomes part of these: llguidance admits a comma
      before a further name, and then none.

    Raises:
        GenerationError: a pattern of names with no possible value: llguidance begins such names, and never ends.
        RecursionError: the schema contains itself as a Python object.
    """
    merged: dict[str, Any] = rebuilt(rebuilt(schema, merge_object), _type_parts)
    closed = not any(map(_is_composed, subschemas(merged)))
    adapted: dict[str, Any] = rebuilt(merged, partial(_adapt, closed=closed))
    if closed:
        adapted = bound_any_value(adapted)
    definitions = {name: adapted[name] for name in _DEFINITIONS if name in adapted}
    for inner in subschemas(adapted):
        patterns = inner.get("patternProperties")
        if isinstance(patterns, Mapping) and inner.get("additionalProperties") is not False:
            _expect_values(patterns, definitions)
    return adapted


def _expect_values(patterns: Mapping[str, Any], definitions: Mapping[str, Any]) -> None:
    for pattern, value in patterns.items():
        impossible = value is False
        if isinstance(value, Mapping):
            grammar = LLMatcher.grammar_from_json_schema(json.dumps({**value, **definitions}))
            impossible = any("Unsatisfiable" in said for said in LLMatcher.validate_grammar_with_warnings(grammar)[1])
        if impossible:
            raise GenerationError(
                f"patternProperties[{shorten(pattern)}] allows no value; a grammar cannot forbid names by a pattern."
                " Name the properties, and set additionalProperties to false."
            )


def _adapt(part: dict[str, Any], *, closed: bool) -> None:
    if part.get("type") not in ("integer", ["integer"]):
        _include_bounds(part)
    if "discriminator" in part and "oneOf" in part:
        part["anyOf"] = part.pop("oneOf")
        part.pop("discriminator")
    properties, least = part.get("properties"), part.get("minProperties", 0)
    if closed and isinstance(properties, Mapping) and is_number(least) and least <= len(properties):
        part.setdefault("additionalProperties", False)
    if part.get("additionalProperties") is False:
        _merge_exhausted_patterns(part)


def _include_bounds(schema: dict[str, Any]) -> None:
    """Limit the places of numbers with exclusive bounds, and write a bound towards zero as the next number inside.

    The other bounds stay: for at most 0.9999999999 llguidance refuses 0.9, which it admits below 1.
    """
    names = [name for name in ("exclusiveMinimum", "exclusiveMaximum") if is_number(schema.get(name))]
    if not names:
        return
    step: Any = schema.get("multipleOf")
    if not is_number(step) or step <= 0:
        step = schema["multipleOf"] = _smallest_step(max(abs(schema[name]) for name in names))
    size = Decimal(repr(step))
    if "exclusiveMinimum" in names and schema["exclusiveMinimum"] >= 0:
        steps = (Decimal(repr(schema.pop("exclusiveMinimum"))) / size).to_integral_value(ROUND_FLOOR) + 1
        schema["minimum"] = max(float(steps * size), schema.get("minimum", 0))
    if "exclusiveMaximum" in names and schema["exclusiveMaximum"] <= 0:
        steps = (Decimal(repr(schema.pop("exclusiveMaximum"))) / size).to_integral_value(ROUND_CEILING) - 1
        schema["maximum"] = min(float(steps * size), schema.get("maximum", 0))


def _merge_exhausted_patterns(schema: dict[str, Any]) -> None:
    properties, patterns = schema.get("properties"), schema.get("patternProperties")
    if not isinstance(properties, Mapping) or not isinstance(patterns, Mapping):
        return
    merged, left = dict(properties), dict(patterns)
    for pattern, value in patterns.items():
        matching = [name for name in properties if _matches(pattern, (name,))]
        if matching and not _matches_more(pattern, tuple(matching)):
            del left[pattern]
            merged.update({name: {"allOf": [merged[name], value]} for name in matching})
    schema["properties"] = merged
    if left:
        schema["patternProperties"] = left
    else:
        del schema["patternProperties"]


def _matches(pattern: str, names: Sequence[str]) -> bool:
    """Whether llguidance admits some names where it asks for a pattern."""
    matcher = _matcher({"type": "object", "patternProperties": {pattern: {"const": 0}}, "additionalProperties": False})
    return bool(matcher.consume_tokens(_tokens(names)))


@lru_cache(_MAX_CHECKED_PATTERNS)
def _matches_more(pattern: str, names: Sequence[str]) -> bool:
    """Whether there are further names that match a pattern."""
    properties = {name: {"const": 0} for name in names}
    matcher = _matcher(
        {"type": "object", "properties": properties, "required": list(names),
         "patternProperties": {pattern: {"const": 0}}, "additionalProperties": False}
    )  # fmt: skip
    may_go_on = matcher.consume_tokens(_tokens(names) + list(b","))
    matcher.compute_bitmask()
    return bool(may_go_on) and not matcher.is_error()


def _matcher(schema: Mapping[str, Any]) -> LLMatcher:
    text = json.dumps({**schema, "x-guidance": {"whitespace_flexible": False}})
    return LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_json_schema(text), log_level=0)


def _tokens(names: Sequence[str]) -> list[int]:
    text = json.dumps(dict.fromkeys(names, 0), separators=(",", ":"), ensure_ascii=False)
    return list(text.removesuffix("}").encode())


def _is_composed(schema: Mapping[str, Any]) -> bool:
    """Whether several parts of a schema describe one object, so that no part may forbid other properties."""
    properties, required = schema.get("properties"), schema.get("required")
    if isinstance(schema.get("allOf"), (list, tuple)) and len(schema["allOf"]) > 1:
        return not _scalar_types(schema)
    if not isinstance(properties, Mapping):
        return False
    requires_others = isinstance(required, (list, tuple)) and any(name not in properties for name in required)
    return requires_others or any(key in schema for key in _ADD_PROPERTIES)


def _type_parts(part: dict[str, Any]) -> None:
    """Write the type of a scalar into each schema of an "allOf" that has none, so that none admits other values."""
    types = _scalar_types(part)
    for inner in part["allOf"] if types else ():
        inner.setdefault("type", types)


def _scalar_types(schema: Mapping[str, Any]) -> list[str]:
    """Return the types of values that all schemas of an "allOf" describe, where none of them is a list or object."""
    parts = [schema, *schema["allOf"]] if isinstance(schema.get("allOf"), (list, tuple)) else []
    if not all(isinstance(part, Mapping) for part in parts) or any(part.keys() & COMPOSING for part in parts[1:]):
        return []
    for part in parts:
        types = part.get("type", [])
        types = [types] if isinstance(types, str) else list(types)
        if types and not {"array", "object"} & {*types}:
            return types
    return []


def _smallest_step(bound: float) -> float:
    """Return the power of ten below which a float near a bound may be rounded to the bound."""
    digits_before_point = math.floor(math.log10(bound)) if bound >= 1 else 0
    return float(f"1e-{min(max(_FLOAT_DIGITS - 1 - digits_before_point, 0), MAX_DECIMAL_PLACES)}")
