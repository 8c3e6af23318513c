"""Tokens of answers that are known before the model is asked: forced by a grammar, or guessed.

One forward pass computes all of them. Every row takes as many, since all rows of the KV cache end at one column.
"""

from __future__ import annotations

import logging
from collections import abc

from langchain_vipllava.engine.failures import explain
from langchain_vipllava.engine.sequence import Sequence

logger = logging.getLogger(__name__)


def take_forced(rows: abc.Sequence[Sequence]) -> tuple[list[list[int]], list[int]] | None:
    """Add the tokens to the answers that their grammars leave no choice about, as many to each.

    Returns:
        The tokens of each row that are not computed yet, as many of each, and the position of each row's first; None if
        there is no choice to leave out.
    """
    found = [sequence.sampler.forced() for sequence in rows]
    count = min(map(len, found))
    if not count:
        return None
    starts = [sequence.length - 1 for sequence in rows]
    for sequence, tokens in zip(rows, found, strict=True):
        try:
            for token in tokens[:count]:
                sequence.sampler.take(token)
                sequence.detokenizer.add(token, last=sequence.sampler.is_complete)
        except BaseException as error:
            logger.debug("an answer failed", exc_info=True)
            sequence.fail(explain(error, sequence))
    newest = [[*sequence.ids[start : start + count + 1]] for sequence, start in zip(rows, starts, strict=True)]
    # an answer that has ended took fewer; what is computed behind its end is not used
    return [tokens + tokens[-1:] * (count + 1 - len(tokens)) for tokens in newest], starts


def guess_tokens(rows: abc.Sequence[Sequence], most: int) -> list[list[int]]:
    """Return a guess of the next tokens of each row, as many of each, at most `most`; [] without one of any row."""
    guesses: list[list[int]] = []
    for sequence in rows:
        lookup = None if sequence.oom_retried else sequence.lookup  # a pass of several tokens takes more memory
        limit = min(sequence.detokenizer.tokens_left - 1, most)  # the pass that checks a guess yields one more token
        guess = [] if lookup is None or limit < 1 else lookup.guess(sequence.detokenizer.ids, limit)
        if not guess:
            return []
        guesses.append(guess)
    count = min(map(len, guesses))
    return [guess[:count] for guess in guesses]


def are_right(
    rows: abc.Sequence[Sequence], guesses: abc.Sequence[abc.Sequence[int]], lengths: abc.Sequence[int], place: int
) -> bool:
    """Whether each row has chosen the token that was guessed at a place, and any row goes on.

    The token that ends an answer counts too: the KV cache holds the guess in its place. Each row that goes on learns
    how good its guess is, once its end is reached or a guess of any row is wrong.

    Args:
        rows: the running sequences.
        guesses: of each row, as many of each.
        lengths: how many tokens each answer had before the guess.
        place: of a guessed token, or the number of them.
    """
    going_on = [sequence for sequence in rows if not sequence.is_finished]
    wrong = set()
    if place < len(guesses[0]):
        for sequence, guess, length in zip(rows, guesses, lengths, strict=True):
            chosen = sequence.detokenizer.ids[length + place :]  # none of a row that had ended before
            if chosen and chosen[0] != guess[place]:
                wrong.add(sequence)
        if going_on and not wrong:
            return True
    for sequence in going_on:
        assert sequence.lookup is not None  # noqa: S101  # it has guessed
        is_wrong = sequence in wrong
        sequence.lookup.learn(place if is_wrong else min(place + 1, len(guesses[0])), wrong=is_wrong)
    return False
