"""What to say about an output that no format recognizes: the nearest formats, and what settles it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np

from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.format_names import PAGE
from langchain_vipllava.regions.values import describe, plain

_MAX_NEAREST = 3
_MAX_WORDS = 400
_DEPTH = 4
"""Levels of lists and dicts whose keys are compared. Chosen: Label Studio's box lies three levels deep."""

_FILE_NAME = re.compile(r"[^\n<>{}]{1,300}\.(json|jsonl|ndjson|csv|tsv|txt|xml)", re.IGNORECASE)


def unknown(output: Any, formats: Iterable[Format]) -> str:
    """Return the message about an output without a known format, in less than 500 characters."""
    if isinstance(output, str) and _FILE_NAME.fullmatch(output):
        advice = f"A path is not opened in a string; to read a file, pass pathlib.Path({output[:60]!r})."
        return f"{describe(output)} has no known format. {advice}"
    formats = list(formats)
    hint = _hint(output)
    near = possible(output, formats) or nearest(output, formats)
    if near and near[0].precedence == Precedence.ON_REQUEST:
        hint = hint if isinstance(output, tuple) else ""
    names = ", ".join(f"{format_.name} (format={format_.key!r})" for format_ in near)
    close = f" Nearest: {names}." if names and not hint else ""
    if near and near[0].precedence == Precedence.ON_REQUEST:
        close = f" It cannot be told what it is; pass format={' or '.join(repr(f.key) for f in near)}."
    return f"{describe(output)} has no known format.{hint}{close} Layouts that are read: {PAGE}"


def possible(output: Any, formats: Iterable[Format]) -> list[Format]:
    """Return the formats that are read on request only, and that an output may have."""
    found: dict[str, Format] = {}
    for format_ in formats:
        with suppress(Exception):  # matchers fail on foreign objects
            if format_.precedence == Precedence.ON_REQUEST and format_.matches(output):
                found.setdefault(format_.key, format_)
    return list(found.values())


def nearest(output: Any, formats: Iterable[Format]) -> list[Format]:
    """Return the formats that share most keys, attributes or words with an output, the nearest first."""
    words = _words(output)
    shared = {format_: len(words.intersection(format_.clues)) for format_ in formats}
    best = sorted((format_ for format_ in shared if shared[format_]), key=lambda format_: -shared[format_])
    return list({format_.key: format_ for format_ in reversed(best)}.values())[::-1][:_MAX_NEAREST]


def _hint(output: Any) -> str:
    if isinstance(output, str):
        return ""
    with suppress(Exception):
        shape = np.shape(plain(output))
        kind = np.asarray(plain(output)).dtype.kind
        if kind in "iuf" and len(shape) in (1, 2):
            return (
                f" Rows of {shape[-1]} numbers are read with 4 (box), 5 (and score) or 6 (and class); pass other "
                "columns by name: {'boxes': ..., 'scores': ..., 'labels': ...}."
            )
    if isinstance(output, tuple):
        return " Pass columns in a dict: {'boxes': ..., 'scores': ..., 'labels': ...}."
    return ""


def _words(output: Any, depth: int = _DEPTH) -> set[str]:
    if isinstance(output, str):
        return set(islice((match[0] for match in re.finditer(r"\w+", output[:2000])), _MAX_WORDS))
    if depth == 0:
        return set()
    if isinstance(output, Mapping):
        words = {key for key in islice(output, _MAX_WORDS) if isinstance(key, str)}
        for value in islice(output.values(), 20):
            if isinstance(value, (Mapping, list, tuple)):
                words |= _words(value, depth - 1)
        return words
    if isinstance(output, (list, tuple)):
        return set().union(*(_words(item, depth - 1) for item in output[:2] if not isinstance(item, str)))
    with suppress(Exception):
        return {name for name in dir(output) if not name.startswith("_")}
    return set()
