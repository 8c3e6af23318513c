"""Scores of multiple choice."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_vipllava.bench.item import Answered
from langchain_vipllava.bench.scores import Scores


def is_same(text: str, truth: str) -> bool:
    """Whether an answer is the right one, but for case and the space around it: the rule of Visual7W and GAR-Bench."""
    return text.strip().lower() == truth.strip().lower()


def score_letters(answered: Sequence[Answered]) -> Scores:
    """Score answers that have to be the right letter and nothing else."""
    return Scores.of((each.item.groups, [float(is_same(each.text, each.item.truth))]) for each in answered)
