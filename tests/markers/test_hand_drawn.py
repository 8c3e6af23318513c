"""`mark(seed=...)` draws what ViP-LLaVA's training drew: compared with a drawing of its own, in plain Pillow."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.marker_styles import MEASURES, distance, ours, sample
from langchain_vipllava import Region, mark
from langchain_vipllava.markers.kinds import KINDS

BOXES = {
    "large": ((672, 672), (186.0, 206.0, 486.0, 406.0)),
    "small, wide image": ((1344, 500), (500.0, 180.0, 620.0, 340.0)),
}
COUNT = 250
BLACK = Image.new("RGB", (400, 300))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", BOXES)
def test_sizes_places_opacities_are_distributed_as_in_training(kind, case):
    mine, trainings = sample(kind, COUNT, *BOXES[case])
    for name in MEASURES:
        spread = float(np.quantile(trainings[name], 0.95) - np.quantile(trainings[name], 0.05))
        # a tenth of the spread is what 250 draws of one distribution differ by; Pillow's boxes are a pixel larger
        assert distance(mine[name], trainings[name]) <= 0.1 * spread + 0.015, name


def test_the_comparison_sees_a_difference_of_style():
    mine, trainings = sample("triangle", COUNT, *BOXES["large"])
    constant = np.full(COUNT, 1.0)
    assert distance(constant, trainings["width"]) > 0.3
    assert distance(mine["width"] * 1.3, trainings["width"]) > 0.1
    assert distance(mine["ink"] * 2, trainings["ink"]) > 0.03


def test_a_point_is_an_ellipse_half_of_the_time():
    def is_round(seed):
        rows, columns = np.nonzero(ours("point", seed))
        return abs(np.ptp(rows) - np.ptp(columns)) <= 2

    assert 0.35 < np.mean([is_round(seed) for seed in range(200)]) < 0.65


@pytest.mark.parametrize("kind", ["triangle", "point", "scribble"])
def test_markers_of_a_mask_lie_in_the_mask(kind):
    mask = np.zeros((300, 400), bool)
    mask[60:240, 80:110] = mask[210:240, 80:300] = True  # an L: most of its box is outside
    for seed in range(20):
        image = np.asarray(mark(BLACK, Region(mask=mask), kind=kind, color="red", width=1, radius=1, seed=seed).image)
        rows, columns = np.nonzero(image[..., 0])
        ends = [rows.argmin(), rows.argmax(), columns.argmin(), columns.argmax()] if kind == "triangle" else []
        corner = np.array([(rows[end], columns[end]) for end in ends] or [(rows.mean(), columns.mean())])
        if kind != "scribble":  # a curve bends away from its inner two points
            near = [mask[max(int(y) - 4, 0) : int(y) + 5, max(int(x) - 4, 0) : int(x) + 5].any() for y, x in corner]
            assert all(near), seed


def test_sizes_that_are_asked_for_win():
    wide, narrow = (
        np.asarray(mark(BLACK, Region(box=(60, 60, 300, 240)), seed=3, width=width, opacity=1).image).any(axis=2)
        for width in (10, 2)
    )
    assert wide.sum() > 4 * narrow.sum()
