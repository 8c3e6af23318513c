"""`Turn`: one question of the training data and its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """One question and its answer.

    Attributes:
        kind: key into the table of wordings.
        question: the user's text.
        answer: the text that the model should generate.
        thing: index of the object in question; -1 for none or several.
        named: (end, object) pairs: the character after a phrase, and the index of the object that it names; the
            character before a word that names a color or a shape, and -1.
        mentions: (start, end, object) triples: the characters of a description, and the index of the object that
            they describe.
        decided_at: of a comparison, the index of the answer's character that decides it: 0 unless the answer is a JSON
            object.
        given: (start, end) pairs: characters of the answer that the grammar writes, besides the keys of JSON.
        copied: (start, end, begin) triples: characters of the answer, and the question's character from which they are
            copied.
        taught: whether the model learns the answer; otherwise it is only part of the conversation.
    """

    kind: str
    question: str
    answer: str
    thing: int = -1
    named: tuple[tuple[int, int], ...] = ()
    mentions: tuple[tuple[int, int, int], ...] = ()
    decided_at: int = 0
    given: tuple[tuple[int, int], ...] = ()
    copied: tuple[tuple[int, int, int], ...] = ()
    taught: bool = True


def end_of(phrase: str, question: str) -> int:
    """Return the index of the character after a phrase; "the red mask" does not match "the red mask contour"."""
    match = re.search(re.escape(phrase) + "(?! contour)", question)
    assert match is not None, (phrase, question)  # noqa: S101  # every wording has a slot for every phrase
    return match.end()
