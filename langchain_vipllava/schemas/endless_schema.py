"""`refuse_endless`: schemas that only a value without an end fits, such as a node that requires a node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_vipllava.errors import GenerationError
from langchain_vipllava.schemas.json_schema import referred, subschemas


def refuse_endless(schema: Mapping[str, Any]) -> None:
    """Check that some finite value may fit a schema that contains itself.

    A grammar of such a schema leads an answer on until `max_tokens` cuts it. What else keeps values from fitting is
    not looked at.

    Raises:
        GenerationError: every value contains another one.
        RecursionError: the schema contains itself as a Python object.
    """
    references = {reference for reference in _references(schema) if referred(schema, reference) is not None}
    finite: set[str] = set()
    while True:  # from what is finite without a reference to what is finite by those
        unknown = references - finite
        found = {name for name in unknown if _is_finite(referred(schema, name), finite, references)}
        if not found:
            break
        finite |= found
    if not _is_finite(schema, finite, references):
        names = ", ".join(
            sorted(reference.rsplit("/", 1)[-1].strip("#") or "itself" for reference in references - finite)
        )
        raise GenerationError(
            f"the schema requires {names or 'a part'} again and again, without an end; make that part optional, or a "
            "list that may be empty."
        )


def _references(schema: Any) -> set[str]:
    return {part["$ref"] for part in subschemas(schema) if isinstance(part.get("$ref"), str)}


def _is_finite(part: Any, finite: set[str], references: set[str]) -> bool:
    """Whether some value of a part needs none of the references that are not known to be finite."""
    if not isinstance(part, Mapping):
        return True
    if "const" in part or "enum" in part:
        return True
    parts: list[Any] = list(part.get("allOf") or ()) if isinstance(part.get("allOf"), (list, tuple)) else []
    types = part.get("type")
    may_be_else = isinstance(types, (list, tuple)) and bool(set(types) - {"object", "array"})
    if not may_be_else:
        parts += _required_parts(part)
    reference = part.get("$ref")
    if reference in references and reference not in finite:
        return False
    for key in ("anyOf", "oneOf"):
        options = part.get(key)
        if isinstance(options, (list, tuple)) and options:
            parts.append({"enum": []} if any(_is_finite(one, finite, references) for one in options) else None)
    return all(one is not None and _is_finite(one, finite, references) for one in parts)


def _required_parts(part: Mapping[str, Any]) -> list[Any]:
    properties, required = part.get("properties"), part.get("required")
    parts = []
    if isinstance(properties, Mapping) and isinstance(required, (list, tuple)):
        parts += [properties[name] for name in required if isinstance(name, str) and name in properties]
    least = part.get("minItems")
    if isinstance(least, int) and least > 0:
        first = part.get("prefixItems")
        first = list(first[:least]) if isinstance(first, (list, tuple)) else []
        parts += first
        if least > len(first) and isinstance(part.get("items"), Mapping):
            parts.append(part["items"])
    return parts
