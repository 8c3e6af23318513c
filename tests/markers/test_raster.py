"""Rasters: means, sums and containment against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from langchain_vipllava.markers.raster import Patch, box_mean, distance_to, find_containing, grow, within


@pytest.fixture
def rasters():
    rng = np.random.default_rng(0)
    return (rng.uniform(size=(5, 23, 31)) < 0.3).astype(np.uint8)


def test_weights_are_added_where_a_patch_is_set(rasters):
    patch, whole = Patch(rasters[0][3:9, 5:20], 5, 3), np.zeros((23, 31), np.float32)
    weights = np.random.default_rng(2).uniform(1, 2, patch.pixels.shape).astype(np.float32)
    whole[3:9, 5:20] = patch.pixels * weights
    for part in (np.s_[0:23, 0:31], np.s_[4:6, 7:12], np.s_[0:5, 18:31], np.s_[10:12, 0:31]):
        raster = np.ones_like(whole[part])
        patch.add_to(raster, part, weights)
        assert np.array_equal(raster, 1 + whole[part])


def test_a_part_grows_within_the_raster():
    assert grow(np.s_[5:9, 10:20], (2.5, 1), (23, 31)) == np.s_[4:10, 7:23]
    assert grow(np.s_[5:9, 10:20], (40, 40), (23, 31)) == np.s_[0:23, 0:31]


def test_a_mean_counts_zeros_outside():
    mean = box_mean(np.ones((6, 8), np.float32), (3, 5))
    assert mean[3, 4] == pytest.approx(1)
    assert mean[0, 0] == pytest.approx(2 * 3 / 15)


def test_nothing_is_far_away(rasters):
    assert (distance_to(np.zeros((4, 5), np.uint8)) > 1000).all()
    assert (distance_to(rasters[0])[rasters[0] > 0] == 0).all()


def test_a_part_lies_in_a_larger_one(rasters):
    part, around = np.s_[5:9, 10:20], np.s_[2:15, 7:30]
    assert np.array_equal(rasters[0][around][within(part, around)], rasters[0][part])


def test_a_patch_is_cut_as_a_whole_raster(rasters):
    patch, whole = Patch(rasters[0][3:9, 5:20], 5, 3), np.zeros_like(rasters[0])
    whole[3:9, 5:20] = patch.pixels
    assert (patch.box, whole[patch.part].shape) == ((5, 3, 20, 9), (6, 15))
    for part in (np.s_[0:23, 0:31], np.s_[4:6, 7:12], np.s_[0:5, 18:31], np.s_[8:23, 0:6], np.s_[10:12, 0:31]):
        assert np.array_equal(patch.cut(part), whole[part])


def test_what_contains_a_patch_is_larger_and_covers_its_share():
    rng = np.random.default_rng(1)
    patches, rasters = [], np.zeros((40, 50, 60), np.uint8)
    for raster in rasters:
        (left, right), (top, bottom) = (np.sort(rng.choice(side + 1, 2, replace=False)) for side in (60, 50))
        pixels = (rng.uniform(size=(bottom - top, right - left)) < rng.choice([0.6, 1.0])).astype(np.uint8)
        raster[top:bottom, left:right] = pixels
        patches.append(Patch(pixels, left, top))
    areas = rasters.sum(axis=(1, 2)).astype(np.float32)
    found = find_containing(patches, areas, 0.5)
    for index, raster in enumerate(rasters):
        shares = (rasters & raster).sum(axis=(1, 2)) / max(areas[index], 1)
        expected = (shares >= 0.5) & (areas >= areas[index])
        assert set(found[index]) == set(np.flatnonzero(expected).tolist()) - {index}
    assert sum(map(len, found)) > 20
