"""`Meter`: the share of correct answers during training, per kind of question."""

from __future__ import annotations

from dataclasses import dataclass

import torch

_METERS = ("identify", "color", "shape", "it_color", "it_shape", "and", "left", "same_color", "is_color", "count",
          "describe", "json_object", "json_regions", "json_bool", "json_count", "json_list", "json_call",
          "json_copy")  # fmt: skip
"""Kinds that the log shows."""

_METER_OF = {"right": "left", "above": "left", "below": "left", "same_shape": "same_color", "is_shape": "is_color",
             "it_is_color": "is_color", "it_is_shape": "is_color"}  # fmt: skip
"""The kinds that are counted as another one."""


@dataclass
class Meter:
    """Running mean of the share of correct answers, per kind of question.

    Attributes:
        values: the means by kind.
        decay: weight of the old mean in every update.
    """

    values: dict[str, float]
    decay: float = 0.97

    def add(self, hits: torch.Tensor, answers: torch.Tensor, kinds: list[list[str]]) -> None:
        """Score one batch. An answer is correct if every token of it is, given the correct tokens before.

        Args:
            hits: see `training.train.StepOutput`.
            answers: see `training.packing.Row.answers`.
            kinds: see `training.packing.Row.kinds`, one list per row.
        """
        correct: dict[str, list[bool]] = {}
        misses = (answers > 0) & ~hits
        for row, names in enumerate(kinds):
            wrong_answers = set(answers[row][misses[row]].tolist())
            for number, name in enumerate(names, 1):
                kind = _METER_OF.get(name, name)
                correct.setdefault(kind, []).append(number not in wrong_answers)
        for kind, results in correct.items():
            share = sum(results) / len(results)
            self.values[kind] = share + self.decay * (self.values.get(kind, share) - share)

    def __str__(self) -> str:
        return " ".join(f"{kind} {self.values[kind]:.3f}" for kind in _METERS if kind in self.values)
