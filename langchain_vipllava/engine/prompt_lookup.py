"""`PromptLookup`: guesses the next tokens of an answer from what the prompt and the answer say already."""

from __future__ import annotations

from collections import abc

_SIZES = (3, 2)
"""Lengths of the n-grams that are looked up, the longest first. Chosen: of single tokens, most have many followers."""


class PromptLookup:
    """Finds where the last tokens of an answer have occurred before, and guesses that what followed comes again.

    Answers repeat the words of their question, and lists repeat themselves. A guess is checked by the model in one
    forward pass, so it changes no answer, only how many passes it takes. Its length follows how many of the guesses
    before were right.

    Args:
        prompt: token ids of the prompt.
        most: maximum number of tokens of a guess.
        never: token that no guess holds, as it stands for something else: the image token.
    """

    def __init__(self, prompt: abc.Sequence[int], most: int, never: int) -> None:
        self._ids: list[int] = []
        self._prompt, self._most, self._never = prompt, most, never
        self._length = most
        self._followers: dict[tuple[int, ...], int] = {}  # of each n-gram: where the token after its last one stands

    def guess(self, answer: abc.Sequence[int], limit: int) -> list[int]:
        """Return the tokens that may come next, none without an idea.

        Args:
            answer: all tokens of the answer so far.
            limit: maximum number of tokens.
        """
        self._read(answer)
        for size in _SIZES:
            place = self._followers.get(tuple(self._ids[-size:]))
            if place is not None:
                return self._from(place, min(self._length, limit))
        return []

    def learn(self, right: int, *, wrong: bool) -> None:
        """Take note of a guess.

        Args:
            right: number of its first tokens that were right.
            wrong: whether the token after them was wrong. If not, it was not checked.
        """
        self._length = max(right, 1) if wrong else min(2 * max(self._length, right), self._most)

    def _read(self, answer: abc.Sequence[int]) -> None:
        """Note what follows each n-gram, up to the last token of the answer. Later ones replace earlier ones."""
        ids = self._ids
        new = (*self._prompt[len(ids) :], *answer[max(len(ids) - len(self._prompt), 0) :])
        for token in new:
            if token != self._never:
                for size in _SIZES:
                    self._followers[tuple(ids[-size:])] = len(ids)
            ids.append(token)

    def _from(self, place: int, count: int) -> list[int]:
        """Return the tokens from a place on; at the end of all tokens, the guess goes on with its own beginning."""
        guess: list[int] = []
        for index in range(place, place + count):
            token = self._ids[index] if index < len(self._ids) else guess[index - len(self._ids)]
            if token == self._never:
                break
            guess.append(token)
        return guess
