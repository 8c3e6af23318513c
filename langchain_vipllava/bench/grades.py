"""`Grades`: the judge's grades of ViP-Bench, in the official files, and their scores."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langchain_vipllava.bench.benchmark import Outputs
from langchain_vipllava.bench.files import field_of, read_json, write_file, write_json
from langchain_vipllava.bench.item import Answered
from langchain_vipllava.bench.judge import Judge
from langchain_vipllava.bench.scores import Score, Scores
from langchain_vipllava.errors import BenchmarkError

RUNS = 5
"""Runs of the judge over all answers. Of the paper."""

_AT_ONCE = 8
"""Calls of the judge at once. Chosen: within the rate limits of most accounts."""


@dataclass(frozen=True)
class GradeFiles:
    """The official files of grades.

    Attributes:
        outputs: where.
        split: of ViP-Bench.
        judge: its name.
        runs: of the judge.
    """

    outputs: Outputs
    split: str
    judge: str
    runs: int

    def path(self, what: str, suffix: str) -> Path:
        """Return a file: "grade", "cap-score" or "cap-int-score"."""
        name = f"{self.outputs.model}-{self.split}_{self.judge}-{what}-{self.runs}runs{suffix}"
        return self.outputs.folder / "results" / name.replace("/", "_").replace(":", "_")


class Grades:
    """Grades by question and run, kept after each one.

    Args:
        files: where they are kept; those that are there are not asked for again.
        answered: the answers.

    Raises:
        BenchmarkError: the file of grades is damaged.
    """

    def __init__(self, files: GradeFiles, answered: Sequence[Answered]) -> None:
        self._files, self._answered = files, answered
        self._path = files.path("grade", ".json")
        self._grades: dict[str, dict[str, Any]] = {}
        kept = read_json(self._path) if self._path.is_file() else {}
        if not isinstance(kept, Mapping):
            raise BenchmarkError(f"{self._path.name} holds no object; expected the official layout of grades.")
        for key, entry in kept.items():
            columns = [
                field_of(entry, name, list, f"{key} of {self._path.name}") for name in ("model", "content", "score")
            ]
            if not all(isinstance(score, (int, float)) and 0 <= score <= 1 for score in columns[2]):
                raise BenchmarkError(f"{key} of {self._path.name} has a score that is no number from 0 to 1.")
            self._grades[key] = dict(entry)

    def collect(self, judge: Judge, on_grade: Callable[[], None] = lambda: None) -> int:
        """Ask the judge for the grades that are missing. Answers that are missing are 0, unasked.

        Returns:
            How many grades were no number, and count as 0.

        Raises:
            BenchmarkError: the judge failed; the grades so far are kept.
        """
        nonsense = 0
        with ThreadPoolExecutor(_AT_ONCE, "vipllava-judge") as pool:
            for run in range(self._files.runs):
                missing = [each for each in self._answered if self._lacks(each, judge, run)]

                def grade(each: Answered) -> dict[str, Any]:
                    row = each.item.row
                    if each.error is not None:
                        return {"model": "", "content": "", "score": 0.0}
                    given = judge.grade(each.prompt, row["question"], each.item.truth, each.text)
                    return {
                        "model": given.model,
                        "content": given.content,
                        "score": given.score,
                        "no": not given.is_number,
                    }

                waiting = {pool.submit(grade, each): each for each in missing}
                try:
                    for future in as_completed(list(waiting)):
                        each = waiting.pop(future)
                        nonsense += bool(self._keep(each, judge, run, future.result()))
                        on_grade()
                except BaseException:
                    for future in waiting:
                        future.cancel()
                    pool.shutdown()
                    for future, each in waiting.items():  # paid for
                        if not future.cancelled() and future.exception() is None:
                            self._keep(each, judge, run, future.result())
                    raise
        return nonsense

    def _lacks(self, each: Answered, judge: Judge, run: int) -> bool:
        entry = self._grades.get(each.item.row["key"])
        if entry is None or entry.get("of", _of(each, judge)) != _of(each, judge):  # official files have no such field
            return True
        return len(entry["score"]) <= run

    def _keep(self, each: Answered, judge: Judge, run: int, given: dict[str, Any]) -> bool:
        nonsense = bool(given.pop("no", False))
        entry = self._grades.get(each.item.row["key"])
        if entry is None or entry.get("of", _of(each, judge)) != _of(each, judge):
            entry = {"model": [], "content": [], "score": [], "of": _of(each, judge)}
        for name, value in given.items():
            entry[name] = [*entry[name][:run], value]
        self._grades[each.item.row["key"]] = entry
        order = {each.item.row["key"]: place for place, each in enumerate(self._answered)}
        listed = sorted(self._grades, key=lambda key: order.get(key, len(order)))
        write_json(self._path, {key: self._grades[key] for key in listed}, 4)
        return nonsense

    def _runs_of(self, each: Answered) -> list[float]:
        try:
            scores = self._grades[each.item.row["key"]]["score"][: self._files.runs]
        except KeyError as error:
            raise BenchmarkError(f"{self._path.name} has no grade of {each.item.row['key']}; run the judge.") from error
        return [float(score) for score in scores]

    def scores(self) -> Scores:
        """Return means per capability, over the runs of the judge."""
        return Scores.of((each.item.groups, self._runs_of(each)) for each in self._answered)

    def integrated(self) -> Scores:
        """Return means per set of capabilities."""
        first: dict[frozenset[str], str] = {}
        for each in self._answered:
            first.setdefault(frozenset(each.item.groups), "_".join(each.item.groups))
        return Scores.of(([first[frozenset(each.item.groups)]], self._runs_of(each)) for each in self._answered)

    def write(self) -> list[Path]:
        """Write the official tables, per capability and per set of capabilities."""
        tables = {"cap-score": self.scores(), "cap-int-score": self.integrated()}
        return [
            write_file(self._files.path(what, ".csv"), _table(self._files.outputs.model, scores))
            for what, scores in tables.items()
        ]


def _of(each: Answered, judge: Judge) -> str:
    """Identifies what a grade is of."""
    prompt = judge.prompt(each.prompt, each.item.truth, each.text)
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _table(model: str, scores: Scores) -> str:
    """Return a row in CSV, as the official evaluation has pandas write it."""

    def rounded(values: Sequence[float]) -> list[float]:
        return [float(value) for value in np.round(np.array(values), 1)]

    means: dict[str, object] = {each.group: rounded([each.mean])[0] for each in scores.groups}
    total: Score = scores.total
    cells = {**means, "std": rounded([total.spread])[0], "runs": str(rounded(total.runs))}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["", *cells])
    writer.writerow([model, *cells.values()])
    return buffer.getvalue()
