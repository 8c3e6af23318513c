"""`merge_object`: an object that several schemas describe, as one schema that names all of its properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_vipllava.schemas.json_schema import TIGHTER

_ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "deprecated", "$comment", "$schema", "$id", "$defs", "definitions",
     "x-guidance"}
)  # fmt: skip
"""Keywords that constrain no object; the last is an option of llguidance."""

_OBJECT = frozenset({"type", "properties", "required"})
_SEVERAL = frozenset({"properties", "patternProperties", "additionalProperties", "items", "prefixItems", "allOf",
                      "anyOf", "oneOf", "if", "then", "else", "not", "$ref"})  # fmt: skip
"""Keywords of a property that mean something else beside those of another schema of it."""


def merge_object(part: dict[str, Any]) -> None:
    """Move what "allOf", "anyOf" and "oneOf" say about an object into one schema, or one for each option.

    Only then may the schema allow the named properties alone: otherwise no part of it knows the names of the others,
    and a model goes on inventing some. Schemas with references, or with other keywords than those of `_OBJECT`, stay.
    """
    if "allOf" in part and not _merge_all(part):
        return
    keys = [key for key in ("anyOf", "oneOf") if key in part]
    if len(keys) == 1 and part.keys() & {"properties", "required"}:
        _merge_options(part, keys[0])


def _merge_all(part: dict[str, Any]) -> bool:
    own = {key: part[key] for key in _OBJECT if key in part}
    merged: dict[str, Any] | None = own
    for inner in part["allOf"] if isinstance(part["allOf"], (list, tuple)) else [None]:
        merged = None if merged is None else _both(merged, inner)
    if merged is None or not part.keys() <= _OBJECT | _ANNOTATIONS | {"allOf", "anyOf", "oneOf"}:
        return False
    del part["allOf"]
    part.update(merged)
    return True


def _merge_options(part: dict[str, Any], key: str) -> None:
    options = part[key]
    if not isinstance(options, (list, tuple)) or not part.keys() <= _OBJECT | _ANNOTATIONS | {key}:
        return
    own = {name: part[name] for name in _OBJECT if name in part}
    merged = [_both(_without_others(own, options, one) if key == "oneOf" else own, one) for one in options]
    if any(one is None for one in merged):
        return
    for name in own:
        del part[name]
    part[key] = merged


def _without_others(own: Mapping[str, Any], options: Sequence[Any], option: Any) -> dict[str, Any]:
    """Leave out what only other options of a "oneOf" require: with it, the object would fit these too."""
    if not all(isinstance(one, Mapping) for one in options):
        return dict(own)
    kept = {*own.get("required", ()), *option.get("required", ()), *option.get("properties", ())}
    others = {name for one in options for name in one.get("required", ())} - kept
    return {
        **own,
        "properties": {name: value for name, value in own.get("properties", {}).items() if name not in others},
    }


def _both(first: dict[str, Any], second: Any) -> dict[str, Any] | None:
    """Return the schema of objects that fit two; None where they cannot be merged."""
    if not isinstance(second, Mapping) or not second.keys() <= _OBJECT | _ANNOTATIONS:
        return None
    for one in (first, second):
        if one.get("type", "object") != "object" or not isinstance(one.get("required", []), (list, tuple)):
            return None
        if not isinstance(one.get("properties", {}), Mapping):
            return None
    properties = dict(first.get("properties", {}))
    for name, value in second.get("properties", {}).items():
        merged = _both_values(properties[name], value) if name in properties else value
        if merged is None:
            return None
        properties[name] = merged
    required = dict.fromkeys([*first.get("required", ()), *second.get("required", ())])
    typed = {"type": "object"} if "type" in first or "type" in second else {}
    return {**typed, "properties": properties, **({"required": list(required)} if required else {})}


def _both_values(first: Any, second: Any) -> Any:
    anything: tuple[Any, ...] = (True, {})
    if first in (*anything, second):
        return second
    if second in anything:
        return first
    if not isinstance(first, Mapping) or not isinstance(second, Mapping):
        return None
    if (first.keys() | second.keys()) & _SEVERAL:
        return None
    same = first.keys() & second.keys() - _ANNOTATIONS
    if any(first[key] != second[key] for key in same - TIGHTER.keys()):
        return None
    return {**first, **second, **{key: TIGHTER[key](first[key], second[key]) for key in same & TIGHTER.keys()}}
