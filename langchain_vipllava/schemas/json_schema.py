"""Walking through a JSON schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

MAPS_OF_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords whose value maps arbitrary names to schemas."""

PLAIN_VALUES = ("const", "enum", "default", "examples", "example", "required", "discriminator")
"""Keywords whose value is not a schema."""

COMPOSING = frozenset({"$ref", "allOf", "anyOf", "oneOf", "not", "if", "then", "else"})
"""Keywords that apply further schemas to the same value."""

TIGHTER: Mapping[str, Callable[[Any, Any], Any]] = {
    "minimum": max, "exclusiveMinimum": max, "minLength": max, "minItems": max, "minProperties": max,
    "maximum": min, "exclusiveMaximum": min, "maxLength": min, "maxItems": min, "maxProperties": min,
}  # fmt: skip
"""Keywords of two schemas of one value of which the tighter one holds."""


def is_plain(keyword: Any) -> bool:
    """Whether the value of a keyword is not a schema."""
    return keyword in PLAIN_VALUES or str(keyword).startswith("x-")


def is_number(value: Any) -> bool:
    """Whether a value is a number, and not a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


_BESIDE_REFERENCE = frozenset(
    {"$ref", "$defs", "definitions", "title", "description", "default", "examples", "$schema", "$id", "$comment"}
)
"""Keywords that constrain nothing beside a reference."""


def subschemas(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a schema and every schema inside it."""
    if isinstance(schema, (list, tuple)):
        for item in schema:
            yield from subschemas(item)
    elif isinstance(schema, Mapping):
        yield schema
        for key, value in schema.items():
            if key in MAPS_OF_SCHEMAS and isinstance(value, Mapping):
                yield from subschemas(list(value.values()))
            elif not is_plain(key):
                yield from subschemas(value)


def rebuilt(schema: Any, change: Callable[[dict[str, Any]], None]) -> Any:
    """Copy a schema, and change the copy of every schema inside it in place, the inner ones first."""
    if isinstance(schema, (list, tuple)):
        return [rebuilt(item, change) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    copy: dict[str, Any] = {}
    for key, value in schema.items():
        if key in MAPS_OF_SCHEMAS and isinstance(value, Mapping):
            copy[key] = {name: rebuilt(inner, change) for name, inner in value.items()}
        else:
            copy[key] = value if is_plain(key) else rebuilt(value, change)
    change(copy)
    return copy


def referred(schema: Mapping[str, Any], reference: str) -> Any:
    """Return what a reference such as `#/$defs/Node` refers to; None where there is nothing, or it is elsewhere.

    A name of a JSON pointer writes `/` as `~1` and `~` as `~0`, in a fragment of a URI percent-encoded.
    """
    if not reference.startswith("#"):
        return None
    place: Any = schema
    for part in reference.removeprefix("#").split("/")[1:]:
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(place, (list, tuple)):
            place = place[int(name)] if name.isdecimal() and int(name) < len(place) else None
        else:
            place = place.get(name) if isinstance(place, Mapping) else None
    return None if "/" not in reference and reference != "#" else place


def inlined(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Replace a reference at the top by what it refers to; one beside other constraints stays."""
    seen: list[str] = []
    top = schema
    while isinstance(reference := top.get("$ref"), str) and reference not in seen:
        definition = referred(schema, reference)
        if not isinstance(definition, Mapping) or definition is schema or not top.keys() <= _BESIDE_REFERENCE:
            return top
        seen.append(reference)
        top = {**definition, **{name: schema[name] for name in ("$defs", "definitions") if name in schema}}
    return top
