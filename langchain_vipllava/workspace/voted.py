"""`Voted`: what a question about several looks of the same regions came to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_vipllava.text import counted, quote
from langchain_vipllava.workspace.results import Answered

_MAX_OTHERS, _MAX_OTHER = 3, 80
"""Answers that lost, and characters of each, that an LLM is shown. Chosen: enough to see what was doubtful."""


@dataclass(frozen=True)
class Vote:
    """The answer about one look.

    Attributes:
        phrases: the words of the look's markers, in the order of the regions.
        question: as the model read it.
        answer: the model's words, with the words of the image's own markers in place of the look's.
        confidence: how likely the answer was, 0 to 1; None where the model does not tell.
    """

    phrases: tuple[str, ...]
    question: str
    answer: str
    confidence: float | None = None


@dataclass(frozen=True)
class Voted(Answered):
    """A question was answered by a vote.

    Attributes:
        image_id, question, forgotten, page: as for `Answered`.
        answer: the one with the most votes.
        votes: one per look.
        agreement: share of the votes that are for the answer, 0 to 1.
        confidence: mean confidence of the votes for the answer; None where the model does not tell.
    """

    votes: tuple[Vote, ...] = ()
    agreement: float = 1.0
    confidence: float | None = None

    @property
    def text(self) -> str:
        """What an LLM is told: the answer as data, and how many of the looks agree."""
        counts = Counter(same_answer(vote.answer) for vote in self.votes)
        won = counts.pop(same_answer(self.answer), 0)
        said = {same_answer(vote.answer): vote.answer for vote in reversed(self.votes)}
        others = [f"{quote(said[answer], _MAX_OTHER)} ({count})" for answer, count in counts.most_common(_MAX_OTHERS)]
        rest = f"; others: {', '.join(others)}" if others else ""
        return f"{super().text}\nThe regions were marked in {counted(len(self.votes), 'way')}; {won} agree{rest}."

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON."""
        votes = [
            {
                "phrases": list(vote.phrases),
                "question": vote.question,
                "answer": vote.answer,
                **({} if vote.confidence is None else {"confidence": round(vote.confidence, 4)}),
            }
            for vote in self.votes
        ]
        sure = {} if self.confidence is None else {"confidence": round(self.confidence, 4)}
        return {**super().to_dict(), "agreement": round(self.agreement, 4), **sure, "votes": votes}


@dataclass(frozen=True)
class Election:
    """Who won a vote.

    Attributes:
        winner: index of the vote whose words are the answer: of those for it, the one that was surest.
        agreement, confidence: see `Voted`.
    """

    winner: int
    agreement: float
    confidence: float | None

    @classmethod
    def of(cls, votes: Sequence[Vote]) -> Election:
        """Count votes, at least one: most votes win; among equals the surest, then the first.

        Example:
            >>> votes = [Vote((), "Is it?", "Yes.", 0.6), Vote((), "Is it?", "no", 0.9), Vote((), "Is it?", "No.")]
            >>> election = Election.of(votes)
            >>> election.winner, round(election.agreement, 2), election.confidence
            (1, 0.67, 0.9)
        """
        groups: dict[str, list[int]] = {}
        for index, vote in enumerate(votes):
            groups.setdefault(same_answer(vote.answer), []).append(index)
        chosen = max(groups.values(), key=lambda group: (len(group), _sum(votes, group)))
        known = [sure for index in chosen if (sure := votes[index].confidence) is not None]
        return cls(
            max(chosen, key=lambda index: votes[index].confidence or 0.0),
            len(chosen) / len(votes),
            sum(known) / len(known) if known else None,
        )


def same_answer(answer: str) -> str:
    """Return what equal answers have in common: their words, without case, spaces and the signs around them.

    Example:
        >>> same_answer(" A red circle. ") == same_answer("a red  circle")
        True
        >>> same_answer("(-5)")  # the sign of a number stays
        '-5'
    """
    return re.sub(r"^(?:(?!-\d)\W)+|\W+$", "", " ".join(answer.casefold().split())) or answer.strip()


def _sum(votes: Sequence[Vote], group: Sequence[int]) -> float:
    return sum(votes[index].confidence or 0.0 for index in group)
