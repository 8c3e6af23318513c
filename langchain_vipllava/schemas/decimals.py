"""`decimal_numbers`: the JSON schema of numbers that parse as a `Decimal` within its bounds, digits and places."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from langchain_vipllava.errors import GenerationError
from langchain_vipllava.schemas.narrow_schema import MAX_DECIMAL_PLACES, MAX_NUMBER
from langchain_vipllava.schemas.outer_bounds import BOUNDS, largest_decimal

_MAX_STEPS = 10**12
"""Largest multiple of a step. Arguments of calls are read as floats: 15 digits are exact, and a step has some."""


def decimal_numbers(schema: Any) -> dict[str, Any]:
    """Return the schema of a decimal.

    Args:
        schema: pydantic's core schema of it.

    Raises:
        GenerationError: more decimal places than a grammar counts.
    """
    given: Mapping[str, Any] = schema  # a TypedDict wants its keys spelled out
    bounds = {name: float(given[key]) for key, name in BOUNDS.items() if given.get(key) is not None}
    places, digits = schema.get("decimal_places"), schema.get("max_digits")
    if places is not None and places > MAX_DECIMAL_PLACES:
        raise GenerationError(
            f"decimal_places={places} of a Decimal; expected at most {MAX_DECIMAL_PLACES}: a grammar counts no "
            "more. Leave it out, or check it in the answer."
        )
    if digits is not None:
        places = None if places is None else min(places, digits)  # zeros behind the point count
        largest = largest_decimal(digits, places or 0)
        bounds["maximum"] = min(bounds.get("maximum", largest), largest)
        bounds["minimum"] = max(bounds.get("minimum", -largest), -largest)
        places = 0 if places is None else places
    if schema.get("multiple_of") is not None:
        limit = float(Decimal(str(schema["multiple_of"])) * _MAX_STEPS)
        if limit < MAX_NUMBER:
            bounds.update({} if bounds.keys() & {"minimum", "exclusiveMinimum"} else {"minimum": -limit})
            bounds.update({} if bounds.keys() & {"maximum", "exclusiveMaximum"} else {"maximum": limit})
    elif places is not None:
        bounds["multipleOf"] = float(f"1e-{places}")
    number = {"type": "number", **bounds}
    return _without_zero(number) if places and places == digits else number


def _without_zero(number: Mapping[str, Any]) -> dict[str, Any]:
    """Leave zero out, which has a digit in front of the point."""
    step = number["multipleOf"]
    below = {**number, "maximum": min(number["maximum"], -step)}
    above = {**number, "minimum": max(number["minimum"], step)}
    return {"anyOf": [one for one in (below, above) if one["minimum"] <= one["maximum"]]}
