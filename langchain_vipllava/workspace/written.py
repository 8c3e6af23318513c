"""Reading lists that came as text: JSON, fenced JSON, Python literals, what numpy prints, names with commas."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from langchain_vipllava.regions.limits import DEFAULT_LIMITS, RegionLimits

_FENCE = re.compile(r"```[ \t]*\w*\s*(.*?)```", re.DOTALL)
_UNICODE_QUOTES = str.maketrans("\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019\u201a", '"""""\'\'\'')
_ARRAY = re.compile(r"\b(?:(?:np|numpy|torch|tf)\.)?(?:array|asarray|tensor)\s*\(")
_ARRAY_OPTIONS = re.compile(r",\s*(?:dtype|device|requires_grad)\s*=\s*[\w.':]+")
_NUMBERS = re.compile(r"[\s\d.,;:()\[\]<>eE+-]*\d[\s\d.,;:()\[\]<>eE+-]*")
_PAIR = re.compile(r"([A-Za-z_]\w{0,20})[\"']?\s*[:=]\s*[\"']?(-?\d+(?:\.\d+)?)(?:\s*px)?[\"']?")
_MEASURE = re.compile(r"\s*-?\d+(?:\.\d*)?\s*(?:px|pixels?|%)?\s*")
_SEPARATOR = re.compile(r"\s*(?:,|;|\n|\band\b|&)\s*")

_MAX_LITERAL, _MAX_DEPTH = 20_000, 30
"""Characters and brackets of a Python literal. Chosen: 200 polygons of 10 points; deeper ones exhaust the parser."""

WRAPPERS = frozenset(
    (
        *("regions", "boxes", "bboxes", "objects", "detections", "items", "ids", "region_ids"),
        *("points", "polygons", "markers"),
    )
)
"""Keys of an object that holds nothing but the list that was asked for."""


def read_list(value: Any, limits: RegionLimits = DEFAULT_LIMITS) -> list[Any]:
    """Coerce an LLM's argument to a list of ids, labels, numbers and mappings.

    Raises:
        DetectionError: it is too long or nested too deep to be read.
    """
    limits.check_nested(value)
    value = _without_arrays(value)
    if isinstance(value, str):
        parsed = parse_text(value)
        if parsed is not None:
            return read_list(parsed, limits)
        limits.check_rows(value.count(","))
        return [part for part in _SEPARATOR.split(value.strip()) if part]
    if isinstance(value, Mapping):
        inner = [value[key] for key in value if str(key).lower() in WRAPPERS]
        if len(inner) == 1 and isinstance(inner[0], (list, tuple, str)) and not _is_polygon(value):
            return read_list(inner[0], limits)
        return [value]
    if not isinstance(value, (list, tuple)):
        return [value]
    if value and all(is_number(item) for item in value):
        return [list(value)]
    if len(value) in (2, 4) and all(isinstance(item, str) and _MEASURE.fullmatch(item) for item in value):
        return [[_number(item) for item in value]]
    items: list[Any] = []
    for item in value:
        if isinstance(item, str) and (parsed := parse_text(item)) is not None:
            items += [parsed] if isinstance(parsed, Mapping) else read_list(parsed, limits)
        elif isinstance(item, (list, tuple)) and item and not _are_numbers(item) and not _is_corners(item):
            items += read_list(item, limits)  # one level too deep
        else:
            items.append(item.strip() if isinstance(item, str) else item)
    return items


def _without_arrays(value: Any) -> Any:
    """Convert points and boxes of NumPy or torch, and their numbers, to lists and numbers; nothing else."""
    if isinstance(value, (list, tuple)):
        return [_without_arrays(item) for item in value]
    shape = getattr(value, "shape", None)
    if hasattr(value, "tolist") and isinstance(shape, tuple) and len(shape) <= 2 and (not shape or shape[-1] in (2, 4)):
        return value.tolist()
    return value


def parse_text(text: str) -> Any:
    """Parse a list, mapping or numbers that came as text; None for other text."""
    text = text.translate(_UNICODE_QUOTES).strip()
    if (fenced := _FENCE.search(text)) is not None:
        text = fenced[1].strip()
        if not text.startswith(("[", "{", "(")):
            return [part for part in _SEPARATOR.split(text) if part]
    for candidate in (text, f"[{text}]"):
        if candidate.startswith(("[", "{")) and (parsed := _json(candidate)) is not None:
            return parsed
    if len(text) > _MAX_LITERAL or max(text.count(opening) for opening in "([{") > _MAX_LITERAL // 10:
        return None
    plain = _ARRAY_OPTIONS.sub("", _ARRAY.sub("(", text))
    if plain.startswith(("[", "{", "(")) and (parsed := _literal(plain)) is not None:
        return parsed
    if _NUMBERS.fullmatch(text) and not _is_numeric(text):
        spaced = text.translate(str.maketrans("()<>;", "[][],"))
        spaced = re.sub(r"(?<=[\d.])\s+(?=[-\d.])|(?<=\])\s*(?=\[)|(?<=\d):(?=\d)", ", ", spaced)
        single = re.sub(r",(?:\s*,)+", ",", spaced)
        return _literal(f"[{single}]")
    pairs = _PAIR.findall(text)
    if len(pairs) > 1 and not re.search(r"[A-Za-z]{2,}", _PAIR.sub("", text)):
        return {key: float(number) for key, number in pairs}
    return None


def _number(text: str) -> int | float | str:
    """Return what a text such as "12" says; units stay, for the message."""
    if not _is_numeric(text):
        return text
    number = float(text)
    return int(number) if number.is_integer() else number


def is_number(value: Any) -> bool:
    """Whether a value is a number, not a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number that may be that of an id; 3.0 is one."""
    return is_number(value) and abs(value) < 10**9 and float(value).is_integer()


def _json(text: str) -> Any:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, (list, dict)) else None


def _literal(text: str) -> Any:
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > _MAX_DEPTH:
        return None
    text = re.sub(r"\bnull\b", "None", re.sub(r"\btrue\b", "True", re.sub(r"\bfalse\b", "False", text)))
    try:
        parsed = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if isinstance(parsed, (set, frozenset)):
        parsed = sorted(parsed, key=str)
    return list(parsed) if isinstance(parsed, tuple) else parsed if isinstance(parsed, (list, dict)) else None


def _is_numeric(text: str) -> bool:
    return re.fullmatch(r"\s*-?\d+(?:\.\d*)?\s*", text) is not None


def _are_numbers(item: Any) -> bool:
    return all(is_number(number) for number in item)


def _is_corners(item: Any) -> bool:
    """Whether an item is a list of pairs that a mapping would call a polygon."""
    return len(item) > 2 and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 and _are_numbers(pair) for pair in item
    )


def _is_polygon(value: Mapping[Any, Any]) -> bool:
    """Whether "points" is the outline of one region."""
    points = value.get("points")
    return isinstance(points, (list, tuple)) and len(points) > 2
