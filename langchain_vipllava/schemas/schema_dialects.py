"""`in_one_dialect`: a JSON schema of any draft, of OpenAPI or of Google, in the words of draft 2020-12."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urljoin

from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.schemas.json_schema import MAPS_OF_SCHEMAS, is_plain, rebuilt, referred, subschemas
from langchain_vipllava.schemas.outer_bounds import place_outer_bounds

_TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")

_MEANT: Mapping[str, str] = {
    "str": "string", "text": "string", "int": "integer", "long": "integer", "float": "number", "double": "number",
    "decimal": "number", "bool": "boolean", "list": "array", "tuple": "array", "set": "array", "dict": "object",
    "map": "object", "none": "null", "nonetype": "null",
}  # fmt: skip
"""What programming languages call the types."""

_INTEGERS: Mapping[str, tuple[int, int]] = {
    **{f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32)},
    **{f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32)},
}
"""Formats of integers, and their bounds. 64 bits are more than an integer has here."""

_ABOUT: tuple[str, ...] = ("title", "description", "default", "$defs", "definitions")
"""Keywords that stay beside a union when a part becomes one of its options."""

_REQUIRED = "x-required"
"""Where a property keeps that it is required until its object is written."""

_IN_POINTERS = "/~!$&'()*+,;=:@"
"""Characters that a JSON pointer in a URI holds as they are."""


def in_one_dialect(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Write a schema in the words of draft 2020-12, which is what validators and grammars read. Others pass over what
    they do not know, so that it would be lost.

    - OpenAPI's and Google's `nullable` is the type "null"; Google's `STRING` is "string"; `propertyOrdering` is the
      order of the properties; `int32` and the like are bounds.
    - Draft 7's list in `items` is `prefixItems`, and its `additionalItems` are `items`.
    - Draft 4's `exclusiveMinimum: true` is the number; `required: true` of a property is in its object's list.
    - OpenAPI's `discriminator` is required, also where a class has a default for it: without it, no reader can tell
      what it reads.
    - Bounds that pydantic writes around a union, such as `ge`, are those of its numbers.
    - References by `$id` and `$anchor` are JSON pointers.

    Raises:
        GenerationError: an unknown type, or a bound around a union that none of its options has.
        RecursionError: the schema contains itself as a Python object.
    """
    translated: dict[str, Any] = rebuilt(_with_pointers(schema), _translate)
    for part in list(subschemas(translated)):
        discriminator = part.get("discriminator")
        name = discriminator.get("propertyName") if isinstance(discriminator, Mapping) else None
        if isinstance(name, str):
            for option in _options(part):
                _require_tag(translated, option, name, set())
    return translated


def _translate(part: dict[str, Any]) -> None:
    _name_types(part)
    _list_required(part)
    _split_items(part)
    _move_exclusive(part, "minimum", "exclusiveMinimum")
    _move_exclusive(part, "maximum", "exclusiveMaximum")
    _bound_integer(part)
    _order_properties(part)
    place_outer_bounds(part)
    if isinstance(part.get("id"), str):  # of draft 4
        del part["id"]
    if part.pop("nullable", None) is True:
        _admit_null(part)


def _options(part: Mapping[str, Any]) -> Iterator[Any]:
    for key in ("anyOf", "oneOf"):
        if isinstance(part.get(key), (list, tuple)):
            yield from part[key]


def _require_tag(root: Mapping[str, Any], part: Any, name: str, seen: set[str]) -> None:
    """Require a property of an option, or of the options that it has itself. Changes the schema in place."""
    reference = part.get("$ref") if isinstance(part, dict) else None
    if isinstance(reference, str) and reference not in seen:
        _require_tag(root, referred(root, reference), name, {*seen, reference})
    if isinstance(part, dict):
        for option in _options(part):
            _require_tag(root, option, name, seen)
        if isinstance(part.get("properties"), Mapping) and name in part["properties"]:
            required = part.get("required")
            listed = required if isinstance(required, (list, tuple)) else ()
            part["required"] = list(dict.fromkeys([*listed, name]))


def _name_types(part: dict[str, Any]) -> None:
    if "type" in part:
        types = part["type"]
        if isinstance(types, (list, tuple)):
            part["type"] = ["null" if one is None else _type(one) for one in types]  # YAML reads null as None
        else:
            part["type"] = _type(types)


def _type(given: Any) -> str:
    name = given.__name__ if isinstance(given, type) else given
    if isinstance(name, str) and name.lower() in _TYPES:
        return name.lower()
    meant = _MEANT.get(name.lower()) if isinstance(name, str) else None
    raise GenerationError(
        f"type {shorten(given)} in a schema; "
        + (f"did you mean {meant!r}?" if meant else f"expected one of {', '.join(_TYPES)}. Leave it out for any type.")
    )


def _list_required(part: dict[str, Any]) -> None:
    if isinstance(part.get("required"), bool):
        part[_REQUIRED] = part.pop("required")
    properties = part.get("properties")
    if not isinstance(properties, Mapping):
        return
    said = [name for name, value in properties.items() if isinstance(value, dict) and value.pop(_REQUIRED, False)]
    if said:
        part["required"] = list(dict.fromkeys([*part.get("required", ()), *said]))


def _split_items(part: dict[str, Any]) -> None:
    rest = part.pop("additionalItems", None)
    if isinstance(part.get("items"), (list, tuple)):
        part["prefixItems"] = list(part.pop("items"))
        if rest is not None:
            part["items"] = rest


def _move_exclusive(part: dict[str, Any], bound: str, exclusive: str) -> None:
    if isinstance(part.get(exclusive), bool) and part.pop(exclusive) and bound in part:
        part[exclusive] = part.pop(bound)


def _bound_integer(part: dict[str, Any]) -> None:
    types = part.get("type")
    bounds = _INTEGERS.get(str(part.get("format")))
    if bounds is None or "integer" not in (types if isinstance(types, list) else [types]):
        return
    for name, bound, tighter in (("minimum", bounds[0], max), ("maximum", bounds[1], min)):
        given = part.get(name, bound)
        part[name] = tighter(given, bound) if isinstance(given, (int, float)) else given


def _order_properties(part: dict[str, Any]) -> None:
    order, properties = part.pop("propertyOrdering", None), part.get("properties")
    if isinstance(order, (list, tuple)) and isinstance(properties, Mapping):
        first = [name for name in order if isinstance(name, str) and name in properties]
        part["properties"] = {name: properties[name] for name in dict.fromkeys([*first, *properties])}


def _admit_null(part: dict[str, Any]) -> None:
    if "const" in part:
        part["enum"] = [part.pop("const")]
    if isinstance(enum := part.get("enum"), (list, tuple)) and None not in enum:
        part["enum"] = [*enum, None]
    if isinstance(types := part.get("type"), (str, list)):
        part["type"] = list(dict.fromkeys([*([types] if isinstance(types, str) else types), "null"]))
    options = next((key for key in ("anyOf", "oneOf") if isinstance(part.get(key), (list, tuple))), None)
    if options is not None:
        part[options] = [*part[options], {"type": "null"}]
    elif part.keys() & {"$ref", "allOf"}:
        about = {key: part.pop(key) for key in _ABOUT if key in part}
        inner = dict(part)
        part.clear()
        part.update({**about, "anyOf": [inner, {"type": "null"}]})


def _with_pointers(schema: Mapping[str, Any]) -> Any:
    """Replace references by name by pointers from the root, and leave the names out."""
    root = str(schema.get("$id", ""))
    places: dict[str, str] = {}
    for path, base, part in _placed(schema, "#", ("#", root)):
        if isinstance(part.get("$anchor"), str):
            places[f"{base[1]}#{part['$anchor']}"] = path
        if isinstance(part.get("$id"), str):
            places[base[1]] = path
    return _pointed(schema, ("#", root), places)


def _pointed(part: Any, base: tuple[str, str], places: Mapping[str, str]) -> Any:
    if isinstance(part, (list, tuple)):
        return [_pointed(one, base, places) for one in part]
    if not isinstance(part, Mapping):
        return part
    base = _base_of(part, base, places)
    copy: dict[str, Any] = {}
    for key, value in part.items():
        if key in MAPS_OF_SCHEMAS and isinstance(value, Mapping):
            copy[key] = {name: _pointed(inner, base, places) for name, inner in value.items()}
        elif key == "$ref" and isinstance(value, str):
            copy[key] = _pointer(value, base, places)
        elif not (key in ("$id", "$anchor") and isinstance(value, str)):
            copy[key] = value if is_plain(key) else _pointed(value, base, places)
    return copy


def _base_of(part: Mapping[str, Any], base: tuple[str, str], places: Mapping[str, str]) -> tuple[str, str]:
    """Return the place and the address of the document that a part belongs to: one with an `$id` is its own."""
    if not isinstance(part.get("$id"), str) or part["$id"].startswith("#"):
        return base
    address = urljoin(base[1], part["$id"])
    return places.get(address, base[0]), address


def _pointer(reference: str, base: tuple[str, str], places: Mapping[str, str]) -> str:
    if reference == "#" or reference.startswith("#/"):
        return base[0] + quote(unquote(reference.removeprefix("#")), safe=_IN_POINTERS)
    address, _, fragment = reference.partition("#")
    document = urljoin(base[1], address) if address else base[1]
    if fragment and not fragment.startswith("/"):
        return places.get(f"{document}#{fragment}", reference)
    return places[document] + fragment if document in places else reference


def _placed(part: Any, path: str, base: tuple[str, str]) -> Iterator[tuple[str, tuple[str, str], Mapping[str, Any]]]:
    """Yield every schema inside a schema with its pointer and the document that it belongs to."""
    if isinstance(part, (list, tuple)):
        for index, inner in enumerate(part):
            yield from _placed(inner, f"{path}/{index}", base)
    elif isinstance(part, Mapping):
        if isinstance(part.get("$id"), str) and not part["$id"].startswith("#"):
            base = (path, urljoin(base[1], part["$id"]))
        yield path, base, part
        for key, value in part.items():
            if key in MAPS_OF_SCHEMAS and isinstance(value, Mapping):
                for name, inner in value.items():
                    yield from _placed(inner, f"{path}/{_escaped(key)}/{_escaped(name)}", base)
            elif not is_plain(key):
                yield from _placed(value, f"{path}/{_escaped(key)}", base)


def _escaped(name: Any) -> str:
    return quote(str(name).replace("~", "~0").replace("/", "~1"), safe=_IN_POINTERS.replace("/", ""))
