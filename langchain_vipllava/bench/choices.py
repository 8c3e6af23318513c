"""Multiple choice: how its prompts are written, and which letter an answer is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from langchain_vipllava.bench.item import Text
from langchain_vipllava.protocol.answer import Answer
from langchain_vipllava.protocol.output_spec import OutputSpec

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_LETTERED = re.compile(r"\s*\(?([A-Z])[.):]\s*")


def joined(*texts: Text) -> Text:
    """Return one text.

    Example:
        >>> joined(("What is ", 0), ("?",))
        ('What is ', 0, '?')
    """
    return tuple(part for text in texts for part in text)


def lettered(options: Mapping[str, Text]) -> Text:
    """Return a line per option: "A. red"."""
    lines = [joined((f"{letter}. ",), text) for letter, text in options.items()]
    return joined(*(joined(("\n",) if index else (), line) for index, line in enumerate(lines)))


def by_letter(choices: Sequence[str]) -> dict[str, str]:
    """Return options by letter: those that they begin with, where all of them do, else A, B, C, ...

    Example:
        >>> by_letter(["A. red", "B. blue"]), by_letter(["red", "blue"])
        ({'A': 'red', 'B': 'blue'}, {'A': 'red', 'B': 'blue'})
    """
    found = [_LETTERED.match(choice) for choice in choices]
    letters = [each[1] for each in found if each is not None]
    if len(letters) == len(choices) == len(set(letters)):
        return {each[1]: choice[each.end() :] for each, choice in zip(found, choices, strict=True) if each is not None}
    return dict(zip(LETTERS, choices, strict=False))


def one_of(options: Iterable[str]) -> OutputSpec:
    """Return the form of an answer that is one of the options, for models that do not answer with letters."""
    return OutputSpec(schema={"enum": list(dict.fromkeys(options))})


def letter_of(answer: Answer, options: Mapping[str, str]) -> str:
    """Return the letter of the option that an answer in the form of `one_of` is; empty for none."""
    try:
        chosen = json.loads(answer.text)
    except ValueError:  # cut short by max_tokens
        return ""
    return next((letter for letter, text in options.items() if text == chosen), "")
