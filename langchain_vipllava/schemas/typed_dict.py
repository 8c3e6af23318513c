"""`readable_type`: a type whose `TypedDict`s pydantic reads, with what LangChain's annotations say about fields."""

from __future__ import annotations

import types
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typing_extensions
from pydantic import Field

_QUALIFIERS = (typing_extensions.Required, typing_extensions.NotRequired, typing_extensions.ReadOnly)


def readable_type(schema: Any) -> Any:
    """Return a type with every `TypedDict` inside it, but not inside other classes, replaced by one for pydantic.

    pydantic refuses `typing.TypedDict` before Python 3.12, and ignores LangChain's `Annotated[type, default,
    "description"]`: `...` is no default, and a field with one may be left out.

    Raises:
        NameError: an annotation names what is not there.
    """
    return _Reader().read(schema)


class _Reader:
    """Replaces `TypedDict`s, each once, so that one may contain itself."""

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}

    def read(self, hint: Any) -> Any:
        if typing_extensions.is_typeddict(hint):
            return self._made[hint] if hint in self._made else self._make(hint)
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is None or origin is Literal or not arguments or any(isinstance(one, list) for one in arguments):
            return hint  # the last is a Callable
        if origin is Annotated:
            inner = self.read(hint.__origin__)
            return hint if inner is hint.__origin__ else Annotated[(inner, *hint.__metadata__)]
        replaced = tuple(map(self.read, arguments))
        if all(new is old for new, old in zip(replaced, arguments, strict=True)):
            return hint
        if origin in (Union, types.UnionType):
            return Union[replaced]  # noqa: UP007  # the types are known only now
        return hint.copy_with(replaced) if hasattr(hint, "copy_with") else origin[replaced]

    def _make(self, old: Any) -> Any:
        new: Any = typing_extensions.TypedDict(old.__name__, {})  # type: ignore[misc]  # made at run time
        self._made[old] = new
        new.__doc__, new.__module__, new.__qualname__ = old.__doc__, old.__module__, old.__qualname__
        for name in ("__pydantic_config__", "__closed__", "__extra_items__"):
            if hasattr(old, name):
                setattr(new, name, getattr(old, name))
        hints = typing_extensions.get_type_hints(old, localns={old.__name__: old}, include_extras=True)
        fields = {name: self._field(hint, required=name in old.__required_keys__) for name, hint in hints.items()}
        new.__annotations__ = {name: hint for name, (hint, _) in fields.items()}
        new.__required_keys__ = frozenset(name for name, (_, required) in fields.items() if required)
        new.__optional_keys__ = frozenset(fields) - new.__required_keys__
        return new

    def _field(self, hint: Any, *, required: bool) -> tuple[Any, bool]:
        """Return the type of a field for pydantic, and whether the field is required."""
        metadata: list[Any] = []
        while get_origin(hint) in (*_QUALIFIERS, Annotated):
            if get_origin(hint) is Annotated:
                metadata = [*hint.__metadata__, *metadata]
                hint = hint.__origin__
            else:
                required = {_QUALIFIERS[0]: True, _QUALIFIERS[1]: False}.get(get_origin(hint), required)
                (hint,) = get_args(hint)
        said, metadata = _split(metadata)
        metadata += [Field(**said)] if said else []
        hint = self.read(hint)
        return Annotated[(hint, *metadata)] if metadata else hint, required and "default" not in said


def _split(metadata: list[Any]) -> tuple[dict[str, Any], list[Any]]:
    """Split LangChain's default and description from other metadata of a field; a text alone describes it too."""
    if len(metadata) > 1 and isinstance(metadata[1], str) and _is_plain(metadata[0]):
        default = {} if metadata[0] is ... else {"default": metadata[0]}
        return {**default, "description": metadata[1]}, metadata[2:]
    if metadata and metadata[0] is ...:
        return {}, metadata[1:]
    if metadata and isinstance(metadata[0], str):
        return {"description": metadata[0]}, metadata[1:]
    return {}, metadata


def _is_plain(value: Any) -> bool:
    return value is None or value is ... or isinstance(value, (str, int, float, list, tuple, dict, set, Enum))
