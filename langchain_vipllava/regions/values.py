"""Reading foreign objects by duck typing, so that no detector's library is imported."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.limits import DEFAULT_LIMITS

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60
_short.maxdict = _short.maxlist = _short.maxtuple = 4


TEXT_KEYS = frozenset({"text", "txt", "transcription", "content", "text_content", "words", "plate"})
"""Keys under which a number is a text that was read, and no class: "007" keeps its zeros."""


def field(source: Any, *names: str) -> Any:
    """Return the first key or attribute of `source` among `names` that is not None, else None."""
    for name in names:
        value = source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
        if value is not None:
            return value
    return None


def keys_of(source: Any) -> set[str]:
    """Return the string keys of a mapping; empty for anything else."""
    return {key for key in source if isinstance(key, str)} if isinstance(source, Mapping) else set()


def plain(value: Any) -> Any:
    """Convert a tensor of any library to numpy, or to lists where numpy lacks its dtype (bfloat16)."""
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
    """Convert anything array-like to float64.

    Raises:
        DetectionError: `what` does not hold numbers.
    """
    try:
        return np.asarray(plain(value), dtype=np.float64)
    except Exception as error:
        raise DetectionError(f"{what} is {describe(value)}; expected numbers.") from error


def items(value: Any, max_items: int = DEFAULT_LIMITS.max_rows) -> list[Any]:
    """Convert a column (list, array or tensor) to a list of Python values, of which an iterator may have no end."""
    value = plain(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    return list(value) if hasattr(value, "__len__") else list(islice(value, max_items))


def number_or_none(value: Any, what: str) -> float | None:
    """Convert one number; None stays None.

    Raises:
        DetectionError: `what` is not one number.
    """
    if value is None:
        return None
    array = numbers(value, what)
    if array.size != 1:
        raise DetectionError(f"{what} is {describe(value)}; expected one number.")
    return float(array.reshape(()))


def first_row(output: Any) -> Mapping[str, Any]:
    """Return the first mapping of a list, or the output if it is a mapping; else an empty mapping."""
    if isinstance(output, (list, tuple)) and output:
        output = output[0]
    return output if isinstance(output, Mapping) else {}


def rows(output: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every mapping of a list of mappings, or the output if it is a mapping.

    Raises:
        ValueError: an item is not a mapping. The caller adds the row's number.
    """
    for row in [output] if isinstance(output, Mapping) else output:
        if not isinstance(row, Mapping):
            raise ValueError(f"it is {describe(row)}; expected a dict like the rows before it")
        yield row


def describe(value: Any, depth: int = 1) -> str:
    """Describe an object in a few words for an error message. Never raises, and is always short."""
    with suppress(Exception):
        if value is None or isinstance(value, (str, bytes, bool, int, float)):
            return f"{type(value).__name__} {_short.repr(value)}"
        name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        if isinstance(value, Mapping):
            return f"{name} with {len(value)} keys {_short.repr(list(value))}"
        shape = field(value, "shape")
        if shape is not None:
            return f"{name} of shape {_short.repr(tuple(shape))} and dtype {_short.repr(field(value, 'dtype'))}"
        if isinstance(value, (list, tuple)):
            first = f", the first of them {describe(value[0], depth - 1)}" if value and depth else ""
            return f"{name} of {len(value)} items{first}"
        attributes = [key for key in dir(value) if not key.startswith("_")]
        return f"{name} with attributes {_short.repr(attributes)}"
    return "an object that raises when it is inspected"


def percent(value: Any) -> float | None:
    """Convert a score in percent to 0..1; None, and below 0 as tesseract writes it for lines without text, is None.

    Raises:
        DetectionError: not a number up to 100.
    """
    score = number_or_none(value, "score")
    if score is None or score < 0:
        return None
    if score > 100:
        raise DetectionError(f"score {score:g} is not in percent; expected 0 to 100.")
    return score / 100


def number_table(output: Any) -> np.ndarray | None:
    """Return rows of numbers as an (N, columns) array; one bare row is a table of one. None for anything else."""
    if isinstance(output, (str, bytes, Mapping)):
        return None
    try:
        table = np.asarray(plain(output))
    except Exception:
        return None
    if table.dtype.kind not in "iuf" or table.ndim not in (1, 2) or table.size == 0:
        return None
    return np.atleast_2d(table.astype(np.float64))
