"""JSON inside of other text, as language models answer: in a Markdown fence, or between sentences."""

from __future__ import annotations

import json
import re
from typing import Any

from langchain_vipllava.errors import DetectionError, shorten

_FENCE = re.compile(r"```[ \t]*\w*[ \t]*\r?\n(.*?)```", re.DOTALL)
_START = re.compile(r'\[\s{0,80}\{\s{0,80}"|\{\s{0,80}"')
_MAX_VALUES = 100
"""Values of JSON that one text may hold beside each other, such as one object a line."""


def embedded_json(text: str) -> Any:
    """Return the JSON in a text; None if there is none.

    Objects beside each other become one list.

    Raises:
        DetectionError: the JSON is broken, or there are several lists.
    """
    fences = [fence for fence in _FENCE.findall(text) if fence.lstrip().startswith(("{", "["))]
    if len(fences) > 1:
        raise DetectionError(f"the text holds {len(fences)} blocks of JSON; pass one.")
    if fences:
        text = fences[0]
    found = _values(text)
    if len(found) > 1 and not all(isinstance(value, dict) for value in found):
        raise DetectionError(f"the text holds {len(found)} values of JSON; pass one.")
    return (found[0] if len(found) == 1 else found) if found else None


def _values(text: str) -> list[Any]:
    decoder, found, at = json.JSONDecoder(), [], 0
    stripped = text.strip()
    if stripped.startswith("["):  # also without an object: [] where nothing was found, or bare numbers
        at = len(text) - len(text.lstrip())
        value, at = _decoded(decoder, text, at)
        found.append(value)
    while (start := _START.search(text, at)) is not None and len(found) <= _MAX_VALUES:
        value, at = _decoded(decoder, text, start.start())
        found.append(value)
    return found


def _decoded(decoder: json.JSONDecoder, text: str, at: int) -> tuple[Any, int]:
    try:
        value, end = decoder.raw_decode(text, at)
        if text[end : end + _MAX_VALUES].lstrip().startswith(("[", ",")):
            raise ValueError("more follows")
        return value, end
    except (ValueError, RecursionError) as error:
        # Not looked for further in: the parts of an answer that was cut short are not the answer.
        raise DetectionError(f"the JSON in the text is broken or cut short: {shorten(str(error))}.") from error
