"""`with_names`: the schema of a dict whose names parse as the type of its keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.schemas.narrow_schema import KIND
from langchain_vipllava.schemas.range_patterns import whole_numbers

_MAX_KEY = 10**9
"""Bound of whole numbers as names where the type has none. Chosen: no key of a program is longer."""

_NAMES = ("patternProperties", "additionalProperties", "propertyNames")

_NUMBER = r"-?(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,6})?"


def with_names(written: dict[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of a dict with names for its keys: pydantic leaves names open that are no texts.

    Args:
        written: pydantic's schema of the dict.
        keys: the schema of its keys.

    Raises:
        GenerationError: no name parses as a key, or none can be told from others.
    """
    values = written.get("additionalProperties", next(iter(written.get("patternProperties", {}).values()), True))
    plain = {key: value for key, value in written.items() if key not in _NAMES}
    if "pattern" in keys and keys.keys() & {"minLength", "maxLength"}:
        raise GenerationError("keys of a dict with a pattern and a length; expected the length in the pattern.")
    if isinstance(pattern := keys.get("pattern", _name_pattern(keys)), str):
        return {**plain, "patternProperties": {pattern: values}, "additionalProperties": False}
    listed = [keys["const"]] if "const" in keys else keys.get("enum")
    if keys.get("type") == "boolean":
        listed = ["true", "false"]
    if listed is not None:
        if not all(isinstance(name, str) for name in listed):
            raise _no_names(keys)
        return {**plain, "properties": {str(name): values for name in listed}, "additionalProperties": False}
    if keys.get("type", "string") != "string" or "anyOf" in keys or "oneOf" in keys:
        raise _no_names(keys)
    return written


def _name_pattern(keys: Mapping[str, Any]) -> str | None:
    kind = keys.get("type")
    if kind == "integer" and "enum" not in keys and "const" not in keys:
        if "multipleOf" in keys:
            raise _no_names(keys)
        low = max([-_MAX_KEY, *_bounds(keys, "minimum", 0), *_bounds(keys, "exclusiveMinimum", 1)])
        high = min([max(low, 0) + _MAX_KEY, *_bounds(keys, "maximum", 0), *_bounds(keys, "exclusiveMaximum", -1)])
        names = whole_numbers(min(low, high - _MAX_KEY) if low == -_MAX_KEY else low, high)
        if not names:
            raise _no_names(keys)
        return f"^{names}$"
    if kind == "number":
        if keys.keys() - {"type", "title", "description"}:
            raise _no_names(keys)
        return f"^{_NUMBER}$"
    return None


def _bounds(keys: Mapping[str, Any], name: str, more: int) -> list[int]:
    return [int(keys[name]) + more] if name in keys else []


def _no_names(keys: Mapping[str, Any]) -> GenerationError:
    told = {key: value for key, value in keys.items() if key not in ("title", KIND)}
    return GenerationError(
        f"a dict with keys {shorten(told)}: names in JSON are texts, and none is sure to parse as such a key. Expected "
        "keys of str, int, bool, dates or an Enum of texts, or a list of pairs."
    )
