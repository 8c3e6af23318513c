"""Which orders from left to right count as right in the evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import transformers

if int(transformers.__version__.split(".")[0]) < 5:
    pytest.skip("training runs with the versions of constraints.txt", allow_module_level=True)

from training.cases import whole_image
from training.questions import MIN_DISTANCE, orders
from training.scene import Scene, Thing

SIDE = 1000


def scene(*lefts):
    """Return a scene with objects at these distances from the left, as shares of the long side."""
    things = [Thing(f"shape {left}", "red", (left * SIDE, 100.0), np.zeros((3, 2))) for left in lefts]
    return Scene(np.zeros((SIDE // 2, SIDE, 3), np.uint8), tuple(things))


def lefts(order):
    return [thing.center[0] / SIDE for thing in order]


def test_objects_far_apart_have_one_order():
    assert [lefts(order) for order in orders(scene(0.1, 0.1 + MIN_DISTANCE, 0.9))] == [[0.1, 0.1 + MIN_DISTANCE, 0.9]]


def test_objects_close_together_have_both_orders_and_no_more():
    found = [lefts(order) for order in orders(scene(0.1, 0.15, 0.9))]
    assert found == [[0.1, 0.15, 0.9], [0.15, 0.1, 0.9]]


def test_a_chain_of_close_objects_keeps_its_ends_in_order():
    found = [lefts(order) for order in orders(scene(0.1, 0.15, 0.2))]
    assert [0.15, 0.1, 0.2] in found
    assert [0.1, 0.2, 0.15] in found
    assert all(order.index(0.1) < order.index(0.2) for order in found)


def test_a_description_case_lists_its_own_answer_among_the_right_ones():
    cases = [whole_image(np.random.default_rng(seed), "describe") for seed in range(20)]
    assert all(case.answer in case.also for case in cases)
    assert any(len(set(case.also)) > 1 for case in cases)
