"""Bounds that stand behind a validator or around a union, where pydantic's JSON schema says them in its own words."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.schemas.json_schema import TIGHTER, is_number

BOUNDS: Mapping[str, str] = {
    "ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum", "multiple_of": "multipleOf",
}  # fmt: skip
"""Keywords of JSON schema by the names that pydantic writes in their place."""

_HOLDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "ge": operator.ge, "le": operator.le, "gt": operator.gt, "lt": operator.lt,
    "multiple_of": lambda value, step: value % step == 0,
    "minLength": lambda value, length: len(value) >= length, "maxLength": lambda value, length: len(value) <= length,
}  # fmt: skip
_SIZES: Mapping[str, tuple[str, str]] = {
    "string": ("minLength", "maxLength"), "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}  # fmt: skip
_LENGTHS = _SIZES["string"]
_MAX_WHOLE_DIGITS = 18
"""Digits in front of the point that the grammar (llguidance) counts to. Measured: 19 are refused."""

_SAYS_TYPE = frozenset({"type", "$ref", "allOf", "not", "if", "pattern", "format"})


def place_outer(part: dict[str, Any]) -> None:
    """Give lengths and bounds of a union to its options, in a schema that pydantic wrote. Changes the part.

    Raises:
        GenerationError: JSON schema has no such length or bound of an option, or no option is left.
    """
    _place_outer_lengths(part)
    place_outer_bounds(part)


def place_outer_bounds(part: dict[str, Any]) -> None:
    """Give the bounds of a union to its options, in the words of JSON schema. Changes the part.

    pydantic writes "ge" and the like there, which are no keywords, so readers pass over them. Options that are never
    within bounds, such as texts, are left out: pydantic takes none of their values.

    Args:
        part: pydantic's JSON schema of a type such as `Annotated[int | float, Field(ge=0, le=1)]`.

    Raises:
        GenerationError: JSON schema has no such bound of an option, or no option is left.

    Example:
        >>> part = {"anyOf": [{"type": "integer"}, {"type": "string"}], "ge": 0.5}
        >>> place_outer_bounds(part)
        >>> part
        {'anyOf': [{'type': 'integer', 'minimum': 1}]}
    """
    _count_digits(part)
    _place(part, {name: part.pop(name) for name in BOUNDS if name in part}, _bound_number)


def _place_outer_lengths(part: dict[str, Any]) -> None:
    """Give the lengths of a union to its options, and write those of lists and dicts as theirs. Changes the part.

    pydantic writes "minLength" there, which is the keyword of a text alone. In base64, its lengths are of bytes.

    Raises:
        GenerationError: JSON schema has no such length of an option, or no option is left.
    """
    if part.get("format") in ("base64", "base64url"):
        _count_base64(part)
    kind = part.get("type", "string")
    if "anyOf" in part or (isinstance(kind, str) and kind != "string"):
        _place(part, {name: part.pop(name) for name in _LENGTHS if name in part}, _bound_size)


def _count_digits(part: dict[str, Any]) -> None:
    """Write the digits of a decimal as bounds and steps, within those that the part has."""
    digits, places = part.pop("max_digits", None), part.pop("decimal_places", None)
    if not digits and places is None:
        return
    places = min(places or 0, digits) if digits else places  # zeros behind the point are digits
    part.setdefault("multiple_of", float(f"1e-{places}"))
    if digits:
        largest = largest_decimal(digits, places)
        part["ge"], part["le"] = max(part.get("ge", -largest), -largest), min(part.get("le", largest), largest)


def largest_decimal(digits: int, places: int) -> float:
    """Return the largest number of `digits` digits, with `places` of them behind the point."""
    return float(10 ** min(digits - places, _MAX_WHOLE_DIGITS)) - 10.0**-places


def _place(part: dict[str, Any], bounds: Mapping[str, Any], bound: Callable[..., dict[str, Any] | None]) -> None:
    for name, given in bounds.items():
        value = float(given) if isinstance(given, (Decimal, Fraction)) else given
        if not is_number(value):
            raise _refusal(name, value)
        bounded = _bounded(part, name, value, bound)
        if bounded is None:
            raise _refusal(name, value)
        part.clear()
        part.update(bounded)


def _bounded(part: Any, name: str, value: float, bound: Callable[..., dict[str, Any] | None]) -> dict[str, Any] | None:
    """Return a part within a bound; None where none of its values is."""
    if not isinstance(part, Mapping):
        raise _refusal(name, value)
    for key in ("anyOf", "oneOf"):
        if isinstance(part.get(key), (list, tuple)):
            options = [_bounded(option, name, value, bound) for option in part[key]]
            kept = [option for option in options if option is not None]
            return {**part, key: kept} if kept else None
    listed = [part["const"]] if "const" in part else part.get("enum", _values_of_type(part))
    if listed is not None:
        values = [one for one in listed if _holds(name, one, value)]
        left = {key: inner for key, inner in part.items() if key not in ("const", "type")}
        return {**left, "enum": values} if values else None
    return bound(dict(part), name, value)


def _values_of_type(part: Mapping[str, Any]) -> list[Any] | None:
    few: Mapping[str, list[Any]] = {"boolean": [False, True], "null": [None]}
    return few.get(str(part.get("type")))


def _holds(name: str, value: Any, bound: Any) -> bool:
    try:
        return _HOLDS[name](value, bound)
    except TypeError:
        return False


def _bound_number(part: dict[str, Any], name: str, value: float) -> dict[str, Any] | None:
    if not part.keys() & _SAYS_TYPE:
        part["type"] = "number"
    kind = str(part.get("type"))
    if kind in _SIZES:
        return None
    if kind not in ("integer", "number"):
        raise _refusal(name, value)
    keyword = BOUNDS[name]
    if not math.isfinite(value):
        return part if _HOLDS[name](1, value) else None
    limit = _whole(keyword, value) if kind == "integer" else value
    own = part.get(keyword, limit)
    if keyword == "multipleOf" and (not limit or (limit % own and own % limit)):
        raise _refusal(name, value)
    return {**part, keyword: TIGHTER.get(keyword, max)(limit, own)}


def _whole(keyword: str, value: float) -> float:
    """Return the bound that whole numbers have with a bound that is none."""
    if keyword == "multipleOf" or value == int(value):
        return value
    return math.ceil(value) if keyword in ("minimum", "exclusiveMaximum") else math.floor(value)


def _bound_size(part: dict[str, Any], name: str, length: int) -> dict[str, Any] | None:
    if part.get("type") in ("integer", "number"):
        return None
    names = _SIZES.get(str(part.get("type")))
    if names is None or part.keys() & {"format", "pattern"}:
        raise _refusal(name, length)
    keyword = names[_LENGTHS.index(name)]
    return {**part, keyword: TIGHTER[keyword](length, part.get(keyword, length))}


def _count_base64(part: dict[str, Any]) -> None:
    """Write a length in bytes as one in characters: each four are three bytes."""
    if "minLength" in part:
        part["minLength"] = -(-part["minLength"] // 3) * 4
    if "maxLength" in part:
        part["maxLength"] = part["maxLength"] // 3 * 4


def _refusal(name: str, bound: Any) -> GenerationError:
    return GenerationError(
        f"{name}={shorten(bound)} of a type that has no such bound in JSON schema; expected it at the type inside, as "
        "in Annotated[int, Field(ge=1)] | str, or leave it out and check it in the answer."
    )


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
    """Return a part with a pattern. pydantic takes no value that is no text: such options are left out."""
    if isinstance(part.get("anyOf"), list):
        texts = [one for one in part["anyOf"] if one.get("type", "string") == "string"]
        return {**part, "anyOf": [_patterned(one, pattern) for one in texts or part["anyOf"]]}
    has_own = part.keys() & {"pattern", "enum", "const"} or part.get("format", "binary") != "binary"
    return dict(part) if has_own or part.get("type") != "string" else {**part, "pattern": pattern}
