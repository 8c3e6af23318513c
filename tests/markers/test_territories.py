"""Territories: the nearest region of every pixel, against the distance to each of them."""

from __future__ import annotations

import numpy as np

from langchain_vipllava.markers.raster import Patch, distance_to
from langchain_vipllava.markers.territories import Territories


def scene(seed):
    """Patches, how many of them are set at each pixel of 60 x 80, and the distance of each pixel to each patch."""
    rng = np.random.default_rng(seed)
    patches, rasters = [], np.zeros((9, 60, 80), np.uint8)
    for raster in rasters:
        width, height = rng.integers(2, 16, 2)
        left, top = int(rng.integers(0, 80 - width)), int(rng.integers(0, 60 - height))
        pixels = (rng.uniform(size=(height, width)) < rng.choice([0.5, 1.0])).astype(np.uint8)
        pixels[0, 0] = 1
        raster[top : top + height, left : left + width] = pixels
        patches.append(Patch(pixels, left, top))
    return patches, rasters.sum(axis=0).astype(np.uint8), np.stack([distance_to(raster) for raster in rasters])


def test_every_pixel_belongs_to_its_nearest_region_or_to_none():
    for seed in range(20):
        patches, cover, distances = scene(seed)
        territories = Territories.of(patches, cover)
        assert np.allclose(territories.away, distances.min(axis=0), atol=1e-3)
        owned = territories.nearest >= 0
        assert 0.5 < owned.mean() < 0.95
        own = np.take_along_axis(distances, territories.nearest[None].clip(0), 0)[0]
        assert np.allclose(own[owned], territories.away[owned], atol=1e-3)
        first, second = np.sort(distances, axis=0)[:2]
        assert not owned[second - first < 1e-3].any()
        assert (second - first < 0.8)[owned].mean() < 0.1  # a pixel beside the border


def test_the_next_region_is_as_far_as_the_way_across_the_border():
    patches = [Patch(np.ones((10, 12), np.uint8), left, 20) for left in (5, 48)]
    cover = np.zeros((50, 80), np.uint8)
    for patch in patches:
        cover[patch.part] = 1
    territories = Territories.of(patches, cover)
    for column in range(17, 48):
        if territories.nearest[25, column] >= 0:
            farther = max(column - 16, 48 - column)
            assert abs(territories.to_next[25, column] - farther) <= 2
    assert (territories.nearest[25, 17:48] < 0).sum() <= 2
    for seed in range(20):
        patches, cover, distances = scene(seed)
        territories, second = Territories.of(patches, cover), np.sort(distances, axis=0)[1]
        assert (territories.to_next - second)[cover == 0].min() >= -4
        assert (territories.to_next[cover > 0] > 1000).all()


def test_one_region_has_all_of_the_raster_and_no_neighbor():
    patch = Patch(np.ones((3, 4), np.uint8), 5, 6)
    cover = np.zeros((20, 30), np.uint8)
    cover[patch.part] = 1
    territories = Territories.of([patch], cover)
    assert (territories.nearest == 0).all()
    assert (territories.to_next > 1000).all()
    assert territories.away[6, 12] == 4
