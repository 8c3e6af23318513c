"""`narrow_schema`: a JSON schema without the values that fit it and that no program can use.

JSON schema admits numbers that overflow a float, dates like the 30th of February and integers of a hundred digits. A
grammar admits all of them, and a model that is led by it writes some.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from langchain_vipllava.errors import GenerationError
from langchain_vipllava.schemas.endless_schema import refuse_endless
from langchain_vipllava.schemas.json_schema import rebuilt
from langchain_vipllava.schemas.schema_dialects import in_one_dialect

MAX_DECIMAL_PLACES = 10
"""Decimal places that the grammar (llguidance) supports in `multipleOf`."""

KIND = "$comment"
"""Where a schema keeps the name of the format that its pattern stands for: no validator reads it."""

SAFE_INTEGER = 2**53 - 1
"""Largest integer that every JSON parser reads exactly; the bound of integers without one."""

MAX_INTEGER = 2**63 - 1
"""Largest integer that databases and msgpack hold, and that the grammar counts to."""

MAX_NUMBER = 1e15
"""Bound of numbers without one. Chosen: a float still tells 0.1 from 0.2 there, and no digits overflow it."""

_YEAR = r"(?:000[1-9]|00[1-9]\d|0[1-9]\d\d|[1-9]\d{3})"
_LEAP_YEAR = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_MONTH_DAY = (
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))"
)
_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?"
_ZONE = r"(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_TIME_PART = r"T(?:\d{1,4}H(?:\d{1,4}M)?(?:\d{1,4}S)?|\d{1,4}M(?:\d{1,4}S)?|\d{1,6}(?:\.\d{1,6})?S)"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_HEX = "[0-9a-f]"


def dates(year: str = _YEAR) -> str:
    """Return the pattern of the dates of the Gregorian calendar whose year fits a pattern."""
    return f"(?:{year}-{_MONTH_DAY}|{_LEAP_YEAR}-02-29)" if year == _YEAR else f"{year}-{_MONTH_DAY}"


def date_times(date: str, *, aware: bool | None = None) -> str:
    """Return the pattern of date-times; with, without, or perhaps with an offset from UTC."""
    return f"{date}T{times(aware=aware)}"


def times(*, aware: bool | None = None) -> str:
    """Return the pattern of times of day; with, without, or perhaps with an offset from UTC."""
    return _CLOCK + {True: _ZONE, False: "", None: f"{_ZONE}?"}[aware]


def uuids(version: str = "[1-8]") -> str:
    """Return the pattern of UUIDs of a version."""
    return f"{_HEX}{{8}}-{_HEX}{{4}}-{version}{_HEX}{{3}}-[89ab]{_HEX}{{3}}-{_HEX}{{12}}"


_BASE64 = "[A-Za-f][A-HQ-Xg-nw-z0-3]"
"""Two characters of base64 that begin with an ASCII character, and go on with the first half of another."""

_BASE64_ASCII = f"(?:{_BASE64}[ABEFIJMNQRUVYZcdghklopstwx014589][A-Za-z0-9])"
"""Three ASCII characters in base64."""


_LABEL = "[A-Za-z0-9]{1,20}(?:-[A-Za-z0-9]{1,12}){0,2}"
"""A part of a host name, without the two hyphens in a row that stand for other alphabets."""

_TOP = "(?:com|org|net|edu|gov|mil|int|info|biz|name|museum|app|dev|io|[a-z]{2})"
"""The end of a host name. Two letters are a country; those kept for tests (.test, .local) are not among these."""

_EMAIL = rf"[A-Za-z0-9_-]{{1,24}}(?:[.+][A-Za-z0-9_-]{{1,12}}){{0,3}}@(?:{_LABEL}\.){{1,3}}{_TOP}"

PATTERNS: Mapping[str, str] = {
    "date": dates(),
    "date-time": date_times(dates(), aware=True),
    "time": times(),
    "duration": rf"P(?:\d{{1,4}}D(?:{_TIME_PART})?|{_TIME_PART})",
    "uuid": uuids(),
    "uuid1": uuids("1"),
    "uuid3": uuids("3"),
    "uuid4": uuids("4"),
    "uuid5": uuids("5"),
    "uuid6": uuids("6"),
    "uuid7": uuids("7"),
    "uuid8": uuids("8"),
    "base64": f"{_BASE64_ASCII}{{0,200}}",
    "base64url": f"{_BASE64_ASCII}{{0,200}}",
    "ipvanyaddress": rf"{_OCTET}(?:\.{_OCTET}){{3}}",
    "ipv4network": rf"{_OCTET}(?:\.{_OCTET}){{3}}/32",
    "ipv4interface": rf"{_OCTET}(?:\.{_OCTET}){{3}}/(?:[12]?\d|3[0-2])",
    "ipv6network": rf"{_HEX}{{1,4}}(?::{_HEX}{{1,4}}){{7}}/128",
    "ipv6interface": rf"{_HEX}{{1,4}}(?::{_HEX}{{1,4}}){{7}}/(?:[1-9]?\d|1[01]\d|12[0-8])",
    "fraction": r"-?(?:0|[1-9]\d{0,8})(?:/[1-9]\d{0,8})?",
    "ipvanynetwork": rf"{_OCTET}(?:\.{_OCTET}){{3}}/32",
    "ipvanyinterface": rf"{_OCTET}(?:\.{_OCTET}){{3}}/(?:[12]?\d|3[0-2])",
    "json-string": r"(?:null|true|false|-?[1-9]\d{0,14}|\[\]|\{\})",
    "regex": r"[A-Za-z0-9 ]{1,60}",
    "email": _EMAIL,
    "idn-email": _EMAIL,
    "name-email": _EMAIL,
    "hostname": rf"(?:{_LABEL}\.){{0,3}}{_LABEL}",
    "idn-hostname": rf"(?:{_LABEL}\.){{0,3}}{_LABEL}",
}
"""What strings of a format have to match. These parse as Python's and pydantic's type of the format."""

_NAME_PATTERNS: Mapping[str, str] = {
    "ipv4": rf"^{_OCTET}(?:\.{_OCTET}){{3}}$",
    "ipv6": rf"^{_HEX}{{1,4}}(?::{_HEX}{{1,4}}){{7}}$",
    "email": rf"^{_EMAIL}$",
}
"""The same of formats that the grammar enforces in values, and not in names."""

_ENFORCED = frozenset({"ipv4", "ipv6", "uri", "unknown"})
"""Formats that the grammar enforces itself. All others are not enforced: they are strings."""


def narrow_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Write a JSON schema in one dialect, without what no program can use.

    - Strings of a format match `PATTERNS`; formats that cannot be enforced are plain strings.
    - Numbers are finite and integers at most 53 bits long, unless the bounds of the schema ask for more.
    - `uniqueItems` is not enforced: pydantic's sets drop what is there twice.
    - `propertyNames` becomes the properties that an enum names, or `patternProperties`.

    Raises:
        GenerationError: bounds of integers beyond 64 bits, or a string that holds JSON of a schema; a minimum of
            different items or names, which a grammar cannot count; a schema that only an endless value fits.
    """
    schema = in_one_dialect(schema)
    refuse_endless(schema)
    definitions = schema.get("$defs")
    definitions = definitions if isinstance(definitions, Mapping) else {}

    def narrow(part: dict[str, Any]) -> None:
        _refuse_different(part)
        part.pop("uniqueItems", None)
        if "enum" not in part and "const" not in part:
            _narrow_string(part)
            _narrow_number(part)
        else:
            part.pop("format", None)  # the values are listed; Google's "format": "enum" says no more
        _name_properties(part, definitions)

    narrowed: dict[str, Any] = rebuilt(schema, narrow)
    return narrowed


def _types(schema: Mapping[str, Any]) -> list[Any]:
    types = schema.get("type")
    return list(types) if isinstance(types, (list, tuple)) else [types]


def _narrow_string(schema: dict[str, Any]) -> None:
    name = schema.get("format")
    if schema.get("contentMediaType") == "application/json":
        if schema.get("contentSchema"):
            raise GenerationError("a string that holds JSON of a schema cannot be enforced; use the schema itself.")
        name = schema["format"] = "json-string"
    if not isinstance(name, str) or "string" not in _types(schema) + ["string"] * ("type" not in schema):
        return
    pattern = PATTERNS.get(name)
    if name == "zoneinfo":
        pattern = _time_zones()
    if pattern is not None and "pattern" not in schema:
        del schema["format"]
        schema["pattern"] = f"^{pattern}$"
        schema.setdefault(KIND, name)
    elif name not in _ENFORCED and pattern is None:
        del schema["format"]


@cache
def _time_zones() -> str:
    """Return the pattern of the time zones that this machine knows."""
    return f"(?:{'|'.join(name.replace('+', '[+]') for name in sorted(available_timezones())) or 'UTC'})"


def _narrow_number(schema: dict[str, Any]) -> None:
    types = _types(schema)
    if "number" in types:
        _bound(schema, MAX_NUMBER, 1000)
    elif "integer" in types:
        _bound(schema, SAFE_INTEGER, 1000)
        for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            bound = schema.get(name)
            if isinstance(bound, (int, float)) and abs(bound) >= MAX_INTEGER:
                raise GenerationError(
                    f"{name}={bound} of an integer; expected bounds within 64 bits. Make it a string of digits."
                )


def _bound(schema: dict[str, Any], limit: float, factor: int) -> None:
    """Add the bounds that a schema leaves out."""
    lower, upper = (
        [schema[name] for name in names if isinstance(schema.get(name), (int, float))]
        for names in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))
    )
    largest = max(map(abs, [*lower, *upper]), default=0)
    if largest > limit / factor:
        limit = min(largest * factor, MAX_INTEGER - 1) if isinstance(limit, int) else largest * factor
    if not lower:
        schema["minimum"] = -limit
    if not upper:
        schema["maximum"] = limit


def _refuse_different(schema: Mapping[str, Any]) -> None:
    """Refuse a minimum of different items or names: a grammar does not remember what is there already."""
    items, names = schema.get("minItems"), schema.get("minProperties")
    if schema.get("uniqueItems") is True and isinstance(items, int) and items > 1:
        raise GenerationError(
            f"minItems={items} of different items (uniqueItems, a set) cannot be enforced; use a list, or leave the "
            "minimum out and check it in the answer."
        )
    free = "patternProperties" in schema or "properties" not in schema
    if free and isinstance(names, int) and names > 1 and schema.get("propertyNames", True) is not False:
        raise GenerationError(
            f"minProperties={names} of names that the schema does not list cannot be enforced: the same name may come "
            "twice. List them in properties, or leave the minimum out and check it in the answer."
        )


def _name_properties(schema: dict[str, Any], definitions: Mapping[str, Any]) -> None:
    """Write `propertyNames`, which the grammar does not enforce, as properties."""
    names = schema.get("propertyNames")
    if isinstance(names, Mapping) and "$ref" in names:
        names = definitions.get(str(names["$ref"]).removeprefix("#/$defs/"))
    if not isinstance(names, Mapping):
        return
    del schema["propertyNames"]
    values = schema.get("additionalProperties", True)
    listed = [names["const"]] if "const" in names else names.get("enum")
    known = _length_pattern(names) if "format" not in names else _NAME_PATTERNS.get(str(names["format"]))
    pattern = names.get("pattern", known)
    if "pattern" in names and {"minLength", "maxLength"} & names.keys():
        raise GenerationError("propertyNames with a pattern and a length; expected the length in the pattern.")
    if isinstance(listed, (list, tuple)):
        allowed = set(map(str, listed))
        _keep_properties(schema, allowed.__contains__)
        if values is not False:
            schema["properties"] = {**{str(name): values for name in listed}, **schema.get("properties", {})}
            schema["additionalProperties"] = False
    elif isinstance(pattern, str):
        _keep_properties(schema, lambda name: _found(pattern, name))
        if values is not False:
            schema["patternProperties"] = {pattern: values, **schema.get("patternProperties", {})}
            schema["additionalProperties"] = False
    elif constraints := sorted(names.keys() - {"type", "title", "description", KIND}):
        raise GenerationError(
            f"propertyNames with {', '.join(constraints)} cannot be enforced; expected enum, const, a pattern or a "
            "length."
        )


def _length_pattern(names: Mapping[str, Any]) -> str | None:
    shortest, longest = names.get("minLength", 0), names.get("maxLength")
    if shortest == 0 and longest is None:
        return None
    return rf"^[^\n]{{{shortest},{'' if longest is None else longest}}}$"


def _keep_properties(schema: dict[str, Any], allowed: Callable[[str], bool]) -> None:
    """Leave out the properties whose names are not allowed.

    Raises:
        GenerationError: one of them is required.
    """
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return
    refused = [name for name in properties if not allowed(name)]
    if required := sorted(set(refused) & set(schema.get("required") or ())):
        raise GenerationError(f"propertyNames does not allow the required {', '.join(required)}; allow them there.")
    schema["properties"] = {name: value for name, value in properties.items() if name not in refused}


def _found(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:  # written for another engine, which refuses it or not
        return True
