"""Mutated outputs of detectors."""

from __future__ import annotations

from hypothesis import given

from langchain_vipllava import Region, regions_from
from tests.fuzz.mutations import JSON, mutate
from tests.support.tool_caller import DETECTIONS

OUTPUTS = [
    DETECTIONS,
    {"boxes": [[1, 2, 30, 40]], "scores": [0.9], "labels": ["cat"]},
    [[1, 2, 30, 40, 0.9, 0]],
    {"shapes": [{"label": "cat", "points": [[1, 2], [30, 40]], "shape_type": "rectangle"}], "imageWidth": 99},
    {"predictions": [{"x": 20, "y": 20, "width": 9, "height": 9, "class": "cat", "confidence": 0.5}]},
    [{"box": [1, 2, 30, 40]}, {"point": [5, 5]}, {"polygon": [[1, 1], [9, 1], [5, 9]], "label": "x"}],
]


def test_mutated_detections(fuzz):
    rng = fuzz.rng()
    for round_ in fuzz.rounds(600):
        output = OUTPUTS[round_ % len(OUTPUTS)]
        for _ in range(rng.choice((1, 1, 2, 5))):
            output = mutate(output, rng)
        regions = fuzz.try_input(regions_from, output, image_size=(100, 100))
        assert regions is None or all(isinstance(region, Region) for region in regions)


def test_any_value_as_detections(fuzz):
    @given(JSON)
    def any_value(value):
        fuzz.try_input(regions_from, value, image_size=(100, 100))

    any_value()
