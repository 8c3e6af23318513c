"""`Scores`: means per category, with their spread over runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

TOTAL = "total"


@dataclass(frozen=True)
class Score:
    """A category's score.

    Attributes:
        group: the category.
        count: items in it.
        runs: its mean in each run, 0 to 100.
    """

    group: str
    count: int
    runs: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the runs, 0 to 100."""
        return float(np.mean(self.runs))

    @property
    def spread(self) -> float:
        """Standard deviation of the runs around their mean, as NumPy computes it."""
        return float(np.std(self.runs))


@dataclass(frozen=True)
class Scores:
    """The scores of a benchmark: the most frequent category first, the total last."""

    groups: tuple[Score, ...]

    @classmethod
    def of(cls, graded: Iterable[tuple[Sequence[str], Sequence[float]]]) -> Scores:
        """Compute means.

        Args:
            graded: for each item its categories, and its score in each run, 0 to 1.

        Example:
            >>> [(each.group, each.count, each.mean) for each in Scores.of([(["ocr"], [1.0]), ([], [0.0])]).groups]
            [('ocr', 1, 100.0), ('total', 2, 50.0)]
        """
        rows = [(tuple(dict.fromkeys(groups)), tuple(scores)) for groups, scores in graded]
        counts = Counter(group for groups, _ in rows for group in groups)
        sums = {group: np.zeros(max((len(scores) for _, scores in rows), default=1)) for group in (*counts, TOTAL)}
        for groups, scores in rows:
            for group in (*groups, TOTAL):
                sums[group] += scores
        listed = [*counts.most_common(), (TOTAL, len(rows))]
        return cls(
            tuple(Score(group, count, tuple((sums[group] / max(count, 1) * 100).tolist())) for group, count in listed)
        )

    @property
    def total(self) -> Score:
        """The score of all items."""
        return self.groups[-1]

    def table(self, measure: str) -> str:
        """Return a table for a terminal.

        Args:
            measure: what the score is, as the head of its column.
        """
        several = len(self.total.runs) > 1
        head = ("category", "items", measure, *(("spread",) if several else ()))
        rows = [
            (each.group, f"{each.count:,}", f"{each.mean:.1f}", *((f"{each.spread:.1f}",) if several else ()))
            for each in self.groups
        ]
        widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
        return "".join(
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]) + "\n"
            for row in (head, *rows)
        )

    def record(self) -> dict[str, dict[str, float | int | list[float]]]:
        """Return plain JSON types."""
        return {
            each.group: {
                "items": each.count,
                "score": round(each.mean, 4),
                "spread": round(each.spread, 4),
                "runs": [round(run, 4) for run in each.runs],
            }
            for each in self.groups
        }
