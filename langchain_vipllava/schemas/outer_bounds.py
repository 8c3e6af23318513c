"""Bounds that stand behind a validator or around a union, where pydantic's JSON schema says them in its own words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_KEYWORDS: Mapping[str, str] = {
    "ge": "minimum",
    "le": "maximum",
    "gt": "exclusiveMinimum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
"""Keywords of JSON schema by the names that pydantic writes in their place."""

_LOWER = frozenset({"minimum", "exclusiveMinimum", "minItems"})


def with_outer_bounds(written: Mapping[str, Any]) -> dict[str, Any]:
    """Give bounds to every number and list that a part of a schema may be.

    pydantic writes "ge" and the like there, which JSON schema does not know, and "minLength" for a list.

    Args:
        written: pydantic's JSON schema of a type such as `Annotated[int | float, Field(ge=0, le=1)]`.

    Example:
        >>> with_outer_bounds({"anyOf": [{"type": "integer"}, {"type": "null"}], "ge": 0.5})
        {'anyOf': [{'type': 'integer', 'minimum': 1}, {'type': 'null'}]}
    """
    bounds = {
        keyword: written[name]
        for name, keyword in _KEYWORDS.items()
        if isinstance(written.get(name), (int, float)) and not isinstance(written[name], bool)
    }
    lengths = {
        of_list: written[of_text]
        for of_text, of_list in (("minLength", "minItems"), ("maxLength", "maxItems"))
        if "anyOf" in written and of_text in written
    }
    if not bounds and not lengths:
        return dict(written)
    bounds |= lengths
    return _bounded({key: value for key, value in written.items() if _KEYWORDS.get(key) not in bounds}, bounds)


def _bounded(part: Mapping[str, Any], bounds: Mapping[str, float]) -> dict[str, Any]:
    if isinstance(part.get("anyOf"), list):
        return {**part, "anyOf": [_bounded(one, bounds) for one in part["anyOf"]]}
    is_list = part.get("type") == "array"
    if not is_list and part.get("type") not in ("integer", "number"):
        return dict(part)
    bounded = dict(part)
    for keyword, value in bounds.items():
        if keyword.endswith("Items") != is_list:
            continue
        bound = _whole(keyword, value) if part["type"] == "integer" else value
        if keyword in part and keyword != "multipleOf":
            bound = (max if keyword in _LOWER else min)(bound, part[keyword])
        bounded[keyword] = bound
    return bounded


def _whole(keyword: str, value: float) -> float:
    """Return the bound that whole numbers have with a bound that is none."""
    if keyword == "multipleOf" or value == int(value):
        return value
    return math.ceil(value) if keyword in ("minimum", "exclusiveMaximum") else math.floor(value)


def with_outer_pattern(written: Mapping[str, Any], last_step: Mapping[str, Any]) -> dict[str, Any]:
    """Give a text the pattern that pydantic checks behind a validator, and does not write.

    Args:
        written: JSON schema of the first step.
        last_step: core schema of the last one.
    """
    inner = last_step.get("schema") if last_step.get("type") == "function-wrap" else None
    pattern = inner.get("pattern") if isinstance(inner, Mapping) else None
    if isinstance(pattern, re.Pattern):
        pattern = pattern.pattern
    return _patterned(written, pattern) if isinstance(pattern, str) else dict(written)


def _patterned(part: Mapping[str, Any], pattern: str) -> dict[str, Any]:
    if isinstance(part.get("anyOf"), list):
        return {**part, "anyOf": [_patterned(one, pattern) for one in part["anyOf"]]}
    is_free = part.get("type") == "string" and "pattern" not in part and part.get("format", "binary") == "binary"
    return {**part, "pattern": pattern} if is_free else dict(part)
