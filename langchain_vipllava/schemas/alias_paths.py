"""`with_paths`: the JSON schema of a class some of whose fields are read from a path (pydantic's `AliasPath`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class PathField:
    """A field that is read from a path.

    Attributes:
        path: names of objects and indices of lists, from the class on.
        schema: JSON schema of the field.
        required: whether the field has no default.
    """

    path: Path
    schema: Any
    required: bool


def path_of(alias: Any) -> Path | None:
    """Return the path of a field; None where a name of its own is read too, which pydantic's schema has.

    Args:
        alias: pydantic's `validation_alias` of the core schema: a name, a path, or a list of paths.
    """
    if not isinstance(alias, list) or not alias:
        return None
    paths = alias if isinstance(alias[0], list) else [alias]
    return None if any(len(path) == 1 for path in paths) else tuple(paths[0])


def with_paths(written: Mapping[str, Any], fields: Iterable[PathField]) -> dict[str, Any]:
    """Add fields with paths to the JSON schema of the others.

    Example:
        >>> field = PathField(("size", 0), {"type": "integer"}, True)
        >>> with_paths({"type": "object", "properties": {}}, [field])["properties"]["size"]["prefixItems"]
        [{'type': 'integer'}]
    """
    whole = dict(written)
    for field in fields:
        whole = _add(whole, field.path, field.schema, required=field.required)
    return whole


def _add(part: Mapping[str, Any], path: Path, field: Any, *, required: bool) -> dict[str, Any]:
    """Add a field. What is there for this field alone holds it: pydantic forbids an empty object as an extra."""
    if not path:
        return dict(field)
    required = required or not part
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        return _add_item(part, step, rest, field, required=required)
    properties = dict(part.get("properties", {}))
    properties[step] = _add(properties.get(step, {}), rest, field, required=required)
    names = list(dict.fromkeys([*part.get("required", ()), *([step] if required else ())]))
    return {**part, "type": "object", "properties": properties, **({"required": names} if names else {})}


def _add_item(part: Mapping[str, Any], index: int, rest: Path, field: Any, *, required: bool) -> dict[str, Any]:
    """Add an item; a negative index counts from the end, and the list ends with what it counts to."""
    items = list(part.get("prefixItems", ()))
    if index < 0:
        index += max(len(items), -index)
    items += [{}] * (index + 1 - len(items))
    items[index] = _add(items[index], rest, field, required=required)
    least = max(part.get("minItems", 0), len(items) if required else 0)
    return {**part, "type": "array", "prefixItems": items, "minItems": least, "maxItems": len(items)}
