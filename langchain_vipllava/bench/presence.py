"""Truths with `<AND>` and `<OR>`, compared with an answer word by word."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+(?:[.,'/:-]\w+)*")


def share_present(truth: str, answer: str) -> float:
    """Return the share of a truth whose elements occur in an answer, 0 to 1.

    `<OR>` separates alternatives, of which the best counts; `<AND>` elements that all have to occur. Case and
    punctuation do not count, whole words do.

    Example:
        >>> share_present("red<AND>blue", "The red one."), share_present("4<OR>four", "There are Four.")
        (0.5, 1.0)
    """
    said = f" {_plain(answer)} "
    best = 0.0
    for alternative in truth.split("<OR>"):
        elements = [plain for plain in map(_plain, alternative.split("<AND>")) if plain]
        if elements:
            best = max(best, sum(f" {element} " in said for element in elements) / len(elements))
    return best


def _plain(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))
