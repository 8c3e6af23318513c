"""`make calibration`: the expected calibration error, and the temperature that lowers it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from langchain_core.messages import HumanMessage

from benchmarks.calibration import (
    BUNDLED,
    KINDS,
    Asked,
    Measured,
    Outcome,
    calibration_error,
    draw_asked,
    fitted_ratio,
    kinds_table,
    measure,
    outcomes,
    reliability_table,
)
from langchain_vipllava.protocol import Answer, Choice, OutputSpec, TokenLogprob


def test_the_error_is_the_weighted_distance_of_confidence_and_accuracy():
    sure = [Outcome("free answer", 0.95, right) for right in (True, True, True, False)]
    unsure = [Outcome("free answer", 0.15, right) for right in (True, False)]
    assert calibration_error(sure) == pytest.approx(0.95 - 0.75)
    assert calibration_error([*sure, *unsure]) == pytest.approx((4 * 0.2 + 2 * 0.35) / 6)
    assert calibration_error([Outcome("free answer", 1.0, True)]) == 0
    lines = reliability_table([*sure, *unsure]).splitlines()
    assert lines[2:] == ["| 10% to 20% | 2 | 15.0% | 50.0% |", "| 90% to 100% | 4 | 95.0% | 75.0% |"]


def answer_of(share: float) -> Answer:
    """`true`, which came with this share."""
    choices = (Choice("true", math.log(share), b"true"), Choice("false", math.log(1 - share), b"false"))
    return Answer("true", 1, 1, "stop", logprobs=(TokenLogprob("true", choices[0].logprob, b"true", (), choices),))


def test_the_temperature_of_an_overconfident_model_is_found():
    """Each is right as often as its logit, halved, says."""
    rng, measured = np.random.default_rng(0), []
    for _ in range(600):
        logit = float(rng.uniform(0, 6))
        right = bool(rng.random() < 1 / (1 + math.exp(-logit / 2)))
        share = 1 / (1 + math.exp(-logit))
        asked = Asked(HumanMessage("Is it?"), {"$": right}, {"type": "boolean"})
        measured.append(Measured("free answer", asked, answer_of(share), OutputSpec(schema={"type": "boolean"})))
    ratio = fitted_ratio(measured)
    assert 1.6 < ratio < 2.5
    assert calibration_error(outcomes(measured, ratio)) < calibration_error(outcomes(measured)) - 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_right_answers_that_fit_its_schema(kind):
    asked = draw_asked(np.random.default_rng(3), kind)
    if asked.schema is not None and "properties" in asked.schema:
        assert set(asked.right) == set(asked.schema["properties"])
    else:
        assert set(asked.right) == {"$"}


def test_the_bundled_checkpoint_is_sure_of_free_answers_and_right(tmp_path):
    found = outcomes([one for one in measure(BUNDLED, 5, 4) if one.kind == "free answer"])
    assert len(found) == 4
    assert all(each.is_right and each.confidence > 0.5 for each in found)
    assert "| free answer | 4 | 100.0% |" in kinds_table(
        [*found, *(Outcome(k, 0.5, True) for k in KINDS if k != "free answer")]
    )
