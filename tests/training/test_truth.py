"""Answers as JSON of the bundled checkpoint are true: on scenes of a seed that no training and no evaluation has."""

from __future__ import annotations

import numpy as np
import pytest
import transformers

if int(transformers.__version__.split(".")[0]) < 5:
    pytest.skip("training runs with the versions of constraints.txt", allow_module_level=True)

from langchain_vipllava import ChatVipLlava
from training.score_json import answer_all, draw_question

SEED, COUNT = 4242, 40

LEAST = {
    "color": 38,
    "color, as enum": 38,
    "color, as object": 38,
    "color and shape, as object": 36,
    "one color per region": 26,
    "one shape per region": 27,
    "count, as integer": 36,
    "count, as object": 35,
    "left, right, above, below, as boolean": 38,
    "left, right, above, below, as object": 38,
    "tool call: color and shape": 36,
    "tool call: count": 28,
}
"""Right answers of COUNT. With the accuracies of the model card, fewer are less likely than one in twenty."""


@pytest.fixture(scope="module")
def llm():
    return ChatVipLlava(model="bundled")


@pytest.mark.parametrize("ask", LEAST)
def test_answers_are_true(llm, ask):
    rng = np.random.default_rng([SEED, list(LEAST).index(ask)])
    questions = [draw_question(rng, ask) for _ in range(COUNT)]
    answers = answer_all(llm, ask, questions)
    right = [found == question.answer for found, question in zip(answers, questions, strict=True)]
    assert sum(right) >= LEAST[ask], [
        (found, question.answer) for found, question, hit in zip(answers, questions, right, strict=True) if not hit
    ]
