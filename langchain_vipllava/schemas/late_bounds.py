"""`place_late_bounds`: lengths that pydantic checks behind a type, in the words of JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_vipllava.errors import GenerationError
from langchain_vipllava.schemas.narrow_schema import KIND

_NUMBERS = ("ge", "gt", "le", "lt", "multiple_of")
"""Names of bounds that no number takes, such as the dates around a union: no keywords, so readers pass over them."""

_SIZES: Mapping[str, tuple[str, str]] = {
    "string": ("minLength", "maxLength"), "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}  # fmt: skip
_LENGTHS = _SIZES["string"]


def place_late_bounds(part: dict[str, Any]) -> None:
    """Move the lengths of a union into its options, and write those of lists and dicts as theirs. Changes the part.

    Raises:
        GenerationError: an option has no such bound in JSON schema.
    """
    if part.get("format") in ("base64", "base64url"):
        _count_base64(part)
    options = next((part[key] for key in ("anyOf", "oneOf") if isinstance(part.get(key), list)), None)
    for name in _NUMBERS:
        if name in part:
            raise _refusal(name, part[name])
    lengths = {name: part.pop(name) for name in _LENGTHS if name in part and _has_no_text_length(part)}
    for option in [part] if options is None else options:
        for name, length in lengths.items():
            _bound_size(option, name, length)


def _has_no_text_length(part: Mapping[str, Any]) -> bool:
    return "anyOf" in part or part.get("type", "string") != "string"


def _count_base64(part: dict[str, Any]) -> None:
    """Write a length in bytes as one in characters: each four are three bytes."""
    if "minLength" in part:
        part["minLength"] = -(-part["minLength"] // 3) * 4
    if "maxLength" in part:
        part["maxLength"] = part["maxLength"] // 3 * 4


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
