"""Walking through a JSON schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MAPS_OF_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords whose value maps arbitrary names to schemas."""

PLAIN_VALUES = ("const", "enum", "default", "examples", "example", "required", "discriminator")
"""Keywords whose value is not a schema."""


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
            elif key not in PLAIN_VALUES:
                yield from subschemas(value)
