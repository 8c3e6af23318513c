"""`read_tool_choice`: which tools may be called, in the words of any provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from langchain_vipllava.errors import GenerationError, shorten

Mode = Literal["auto", "any", "none"]

_MODES: Mapping[str, Mode] = {
    "auto": "auto",
    "validated": "auto",  # Google: text, or calls that fit their schemas, which they always do here
    "any": "any",
    "required": "any",
    "none": "none",
}

_WRAPPERS = ("function", "tool", "allowed_tools", "function_calling_config", "functionCallingConfig")
"""Keys of OpenAI, Bedrock and Google around what is chosen."""

_NAME_LISTS = ("tools", "allowed_function_names", "allowedFunctionNames")


def read_tool_choice(choice: Any, names: Sequence[str]) -> tuple[Mode, tuple[str, ...]]:
    """Read a `tool_choice`.

    Args:
        choice: "auto", "any", "required", "none", True, False, None, a tool or its name, several names, or a mapping of
            OpenAI, Anthropic, Google or Bedrock, such as `{"type": "tool", "name": "mark"}`.
        names: of the bound tools.

    Returns:
        Whether a tool may, has to or must not be called, and the names that may be.

    Raises:
        GenerationError: none of these, or a name that is not bound.
    """
    mode, chosen = _read(choice, names)
    allowed = tuple(names) if chosen is None else tuple(name for name in names if name in chosen)
    unknown = mode is None or any(name not in names for name in chosen or ())
    if unknown or (mode == "any" and not allowed):
        bound = ", ".join(names) or "no tool is bound"
        raise GenerationError(
            f"tool_choice={shorten(choice)}; expected 'auto', 'any', 'none' or the name of a bound tool ({bound})."
        )
    assert mode is not None  # noqa: S101  # refused above
    return mode, () if mode == "none" else allowed


def _read(choice: Any, names: Sequence[str]) -> tuple[Mode | None, Sequence[str] | None]:
    """Return the mode, None for an unknown one, and the names, None for all."""
    if choice is None or isinstance(choice, bool):
        return ("any" if choice else "auto"), None
    if isinstance(choice, str):
        if choice in names:
            return "any", [choice]
        return _MODES.get(choice.lower()), None
    if isinstance(choice, Mapping):
        return _read_mapping(choice)
    if isinstance(choice, (list, tuple)) and choice:
        listed = [_name(one) for one in choice]
        return ("any" if None not in listed else None), [name for name in listed if name is not None]
    name = _name(choice)
    return (None if name is None else "any"), None if name is None else [name]


def _read_mapping(choice: Mapping[str, Any]) -> tuple[Mode | None, Sequence[str] | None]:
    inner = next((choice[key] for key in _WRAPPERS if isinstance(choice.get(key), Mapping)), choice)
    listed = next((inner[key] for key in _NAME_LISTS if isinstance(inner.get(key), (list, tuple))), None)
    allowed = None if not listed else [name for one in listed if (name := _name(one)) is not None]
    if isinstance(inner.get("name"), str):
        return "any", [inner["name"]]
    said = inner.get("mode", choice.get("type", next(iter(choice)) if len(choice) == 1 else None))
    mode = _MODES.get(said.lower()) if isinstance(said, str) else None
    return mode, allowed


def _name(tool: Any) -> str | None:
    """Return the name of a tool: a text, a function in OpenAI's form, a tool object, a function or a class."""
    if isinstance(tool, Mapping):
        inner = tool.get("function", tool)
        tool = inner.get("name") if isinstance(inner, Mapping) else None
    for name in (tool, getattr(tool, "name", None), getattr(tool, "__name__", None)):
        if isinstance(name, str):
            return name
    return None
