"""`place_late_bounds`: bounds that pydantic checks behind a type, at the types that they bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_vipllava.errors import GenerationError
from langchain_vipllava.protocol.narrow_schema import KIND

_NUMBERS: Mapping[str, tuple[str, Any]] = {
    "ge": ("minimum", max), "gt": ("exclusiveMinimum", max), "le": ("maximum", min), "lt": ("exclusiveMaximum", min),
}  # fmt: skip
"""Names under which pydantic leaves the bounds of a union or of a fraction: no keywords, so readers pass over them."""

_SIZES: Mapping[str, tuple[str, str]] = {
    "string": ("minLength", "maxLength"), "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}  # fmt: skip
_LENGTHS = _SIZES["string"]


def place_late_bounds(part: dict[str, Any]) -> None:
    """Move the bounds of a union into its options, and write lengths of lists and dicts as theirs. Changes the part.

    Raises:
        GenerationError: an option has no such bound in JSON schema.
    """
    if part.get("format") in ("base64", "base64url"):
        _count_base64(part)
    options = next((part[key] for key in ("anyOf", "oneOf") if isinstance(part.get(key), list)), None)
    bounds = {name: part.pop(name) for name in (*_NUMBERS, "multiple_of") if name in part}
    lengths = {name: part.pop(name) for name in _LENGTHS if name in part and part.get("type") != "string"}
    if not bounds and not lengths:
        return
    if options is None:
        options = [part]
    elif bounds:  # a size with a unit is a number too
        options[:] = [option for option in options if option.get(KIND) != "size"]
    for option in options:
        for name, bound in bounds.items():
            _bound_number(option, name, bound)
        for name, length in lengths.items():
            _bound_size(option, name, length)


def _count_base64(part: dict[str, Any]) -> None:
    """Write a length in bytes as one in characters: each four are three bytes."""
    if "minLength" in part:
        part["minLength"] = -(-part["minLength"] // 3) * 4
    if "maxLength" in part:
        part["maxLength"] = part["maxLength"] // 3 * 4


def _bound_number(option: dict[str, Any], name: str, bound: Any) -> None:
    is_plain = option.get("type") in ("integer", "number") and not option.keys() & {"enum", "const"}
    if not is_plain or not isinstance(bound, (int, float)) or name not in _NUMBERS:
        raise _refusal(name, bound)
    keyword, tighter = _NUMBERS[name]
    option[keyword] = tighter(option.get(keyword, bound), bound)


def _bound_size(option: dict[str, Any], name: str, length: int) -> None:
    names = _SIZES.get(str(option.get("type")))
    if names is None or option.keys() & {"format", "enum", "const", KIND}:
        raise _refusal(name, length)
    keyword, tighter = names[_LENGTHS.index(name)], max if name == "minLength" else min
    option[keyword] = tighter(option.get(keyword, length), length)


def _refusal(name: str, bound: Any) -> GenerationError:
    return GenerationError(
        f"{name}={bound} of a type that has no such bound in JSON schema; expected it at the type inside, as in "
        "Annotated[int, Field(ge=1)] | str, or leave it out and check it in the answer."
    )
