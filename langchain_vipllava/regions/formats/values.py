"""Reading foreign objects by duck typing: no detector's library is imported to understand its output."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60
_short.maxdict = _short.maxlist = _short.maxtuple = 4


def field(found: Any, *names: str) -> Any:
    """First of `names` that `found` has as a key or an attribute and that is not None, else None."""
    for name in names:
        value = found.get(name) if isinstance(found, Mapping) else getattr(found, name, None)
        if value is not None:
            return value
    return None


def keys_of(found: Any) -> set[str]:
    """The text keys of a mapping; nothing for anything else."""
    return {key for key in found if isinstance(key, str)} if isinstance(found, Mapping) else set()


def plain(value: Any) -> Any:
    """Bring a tensor of any library to numpy, or to lists where numpy lacks its dtype (bfloat16)."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value] if any(hasattr(item, "detach") for item in value[:1]) else value
    for step in ("detach", "cpu"):
        if hasattr(value, step):
            value = getattr(value, step)()
    if hasattr(value, "numpy"):
        try:
            return value.numpy()
        except TypeError:
            return value.tolist()
    return value


def numbers(value: Any, what: str) -> np.ndarray:
    """Read anything array-like as float64, or raise a DetectionError that names `what`."""
    try:
        return np.asarray(plain(value), dtype=np.float64)
    except Exception as error:
        raise DetectionError(f"{what} is {describe(value)}; expected numbers.") from error


def items(value: Any) -> list[Any]:
    """Read a column (list, array, tensor) as a list of Python values."""
    value = plain(value)
    return list(value.tolist() if hasattr(value, "tolist") else value)


def number_or_none(value: Any, what: str) -> float | None:
    """Read one number that may be missing."""
    if value is None:
        return None
    array = numbers(value, what)
    if array.size != 1:
        raise DetectionError(f"{what} is {describe(value)}; expected one number.")
    return float(array.reshape(()))


def first_row(found: Any) -> Mapping[str, Any]:
    """The first mapping of a list of mappings, or a lone mapping itself; else an empty one."""
    if isinstance(found, (list, tuple)) and found:
        found = found[0]
    return found if isinstance(found, Mapping) else {}


def rows(found: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping of a list of mappings.

    Raises:
        ValueError: an item is something else; the caller adds which one.
    """
    for row in [found] if isinstance(found, Mapping) else found:
        if not isinstance(row, Mapping):
            raise ValueError(f"it is {describe(row)}; expected a dict like the rows before it")
        yield row


def describe(found: Any, depth: int = 1) -> str:
    """Say in a few words what an object is; never raises, never long."""
    with suppress(Exception):
        if found is None or isinstance(found, (str, bytes, bool, int, float)):
            return f"{type(found).__name__} {_short.repr(found)}"
        name = f"{type(found).__module__}.{type(found).__qualname__}".removeprefix("builtins.")
        if isinstance(found, Mapping):
            return f"{name} with {len(found)} keys {_short.repr(list(found))}"
        shape = field(found, "shape")
        if shape is not None:
            return f"{name} of shape {_short.repr(tuple(shape))} and dtype {_short.repr(field(found, 'dtype'))}"
        if isinstance(found, (list, tuple)):
            first = f", the first of them {describe(found[0], depth - 1)}" if found and depth else ""
            return f"{name} of {len(found)} items{first}"
        public = [key for key in dir(found) if not key.startswith("_")]
        return f"{name} with attributes {_short.repr(public)}"
    return "an object that cannot be looked at"
