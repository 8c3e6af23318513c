"""`bound_any_value`: where a schema admits any value, one whose numbers a program can use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_vipllava.schemas.json_schema import COMPOSING, MAPS_OF_SCHEMAS, rebuilt
from langchain_vipllava.schemas.narrow_schema import KIND, MAX_NUMBER

_NAME = "AnyValue"
"""Name of the definition. A schema that has one of this name already keeps it under its own."""

_ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$schema", "$id",
     "$defs", "definitions", KIND}
)  # fmt: skip
_ELSEWHERE = COMPOSING | {"type", "enum", "const"}
"""Keywords that say which values there are: without one of them, every type is admitted."""

_VALUES = ("items", "additionalProperties")
_LISTS = ("anyOf", "oneOf", "prefixItems")


def bound_any_value(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Bound the numbers in values that a schema leaves open: JSON admits 1e999 there, which is no float, and integers
    of a thousand digits.

    Lists without `items` and objects that allow further names hold such values. A schema in which several parts
    describe one object must not go through here: llguidance does not intersect this definition with itself.
    """
    definitions = schema.get("$defs") or {}
    name = next(name for name in (_NAME + "_" * index for index in range(len(definitions) + 1))
                if name not in definitions)  # fmt: skip
    reference = {"$ref": f"#/$defs/{name}"}

    def bound(part: dict[str, Any]) -> None:
        for key in MAPS_OF_SCHEMAS:
            if isinstance(part.get(key), Mapping):
                part[key] = {name: reference if _is_open(value) else value for name, value in part[key].items()}
        for key in _LISTS:
            if isinstance(part.get(key), (list, tuple)):
                part[key] = [reference if _is_open(value) else value for value in part[key]]
        for key in _VALUES:
            if _is_open(part.get(key)):
                part[key] = reference
        if not _is_open(part):
            _bound_untyped(part)
            _bound_contents(part, reference)

    bounded: dict[str, Any] = rebuilt(schema, bound)
    anything = {"minimum": -MAX_NUMBER, "maximum": MAX_NUMBER, "items": reference, "additionalProperties": reference}
    if _is_open(bounded):
        bounded |= anything
    if bounded == schema:  # nothing is open
        return bounded
    return {**bounded, "$defs": {**(bounded.get("$defs") or {}), name: anything}}


def _is_open(value: Any) -> bool:
    return value is True or (isinstance(value, Mapping) and value.keys() <= _ANNOTATIONS)


def _bound_untyped(part: dict[str, Any]) -> None:
    if part.keys() & _ELSEWHERE:
        return
    if not part.keys() & {"minimum", "exclusiveMinimum"}:
        part["minimum"] = -MAX_NUMBER
    if not part.keys() & {"maximum", "exclusiveMaximum"}:
        part["maximum"] = MAX_NUMBER


def _bound_contents(part: dict[str, Any], reference: Mapping[str, Any]) -> None:
    """Write what lists and objects hold where a part says nothing about it."""
    types = part.get("type", [] if part.keys() & _ELSEWHERE else ["array", "object"])
    types = types if isinstance(types, (list, tuple)) else [types]
    if "array" in types and "items" not in part:
        part["items"] = reference
    if "object" in types and "additionalProperties" not in part:
        part["additionalProperties"] = reference
