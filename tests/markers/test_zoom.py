"""`mark(zoom="auto")`: small regions become readable, and nothing else moves."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import Region, TinyRegionWarning, mark
from langchain_vipllava.markers.kinds import KINDS

SIZE = (2000, 1500)


@pytest.fixture(scope="module")
def noise():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8))


def test_a_readable_region_is_not_zoomed_at(noise):
    marked = mark(noise, Region(box=(100, 100, 300, 300)), zoom="auto")
    assert (marked.crop, marked.image.size) == (None, SIZE)


BOXES = [(1000, 700, 1040, 740), (0, 0, 40, 40), (1960, 1460, 2000, 1500), (0, 1400, 30, 1500), (1000, 0, 1100, 25),
         (1990, 700, 2000, 800), (500.4, 600.6, 530.7, 650.2), (-500, 700, 20, 760), (1000, 1480, 1040, 3000),
         (700, 700, 704, 704)]  # fmt: skip


@pytest.mark.parametrize("box", BOXES, ids=str)
def test_a_small_region_is_seen_at_a_readable_size_with_context(noise, box):
    marked = mark(noise, Region(box=box), zoom="auto")
    left, top, right, bottom = marked.crop
    assert 0 <= left < right <= SIZE[0]
    assert 0 <= top < bottom <= SIZE[1]
    assert marked.image.size == (right - left, bottom - top)
    assert right - left == bottom - top
    seen = np.clip(box, 0, SIZE * 2)
    assert left <= seen[0]
    assert top <= seen[1]
    assert right >= seen[2]
    assert bottom >= seen[3]
    short = min(seen[2] - seen[0], seen[3] - seen[1])
    long = max(seen[2] - seen[0], seen[3] - seen[1])
    assert right - left >= 2 * long  # context
    if long * 2 <= short * 10:
        assert min(marked.sizes_seen[0]) >= 32
    assert min(marked.sizes_seen[0]) > short * 336 / max(SIZE)
    # coordinates stay those of the original, whole and untouched
    assert marked.regions[0].box == box
    assert marked.content_block()["extras"]["regions"][0]["box"] == pytest.approx(box)
    assert marked.original.tobytes() == noise.tobytes()
    # the crop is the original but for the marker
    same = (np.asarray(marked.image) == np.asarray(noise.crop(marked.crop))).all(axis=2)
    assert 0.5 < same.mean() < 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_lies_on_its_region_in_the_crop(kind):
    size = (2000, 1500)
    mask = np.zeros((1500, 2000), bool)
    mask[700:740, 1000:1040] = True
    forms = [{"box": (1000, 700, 1040, 740)}, {"mask": mask}, {"point": (1020, 720), "box": (1000, 700, 1040, 740)},
             {"polygon": [(1000, 700), (1040, 700), (1040, 740), (1000, 740)]}]  # fmt: skip
    for form in forms:
        marked = mark(Image.new("RGB", size), Region(**form), kind=kind, zoom="auto")
        ys, xs = np.nonzero(np.asarray(marked.image).any(axis=2))
        x0, y0 = xs.min() + marked.crop[0], ys.min() + marked.crop[1]
        x1, y1 = xs.max() + marked.crop[0], ys.max() + marked.crop[1]
        slack = 60 if kind == "arrow" else 8
        assert 1000 - 8 <= x0 < x1 <= 1040 + slack
        assert 700 - slack <= y0 < y1 <= 740 + 8
        if kind == "mask":
            assert (x0, y0, x1, y1) == pytest.approx((1000, 700, 1039, 739), abs=1)
        assert marked.regions[0] == Region(**form)


def test_a_polygon_moves_with_the_crop():
    triangle = Region(polygon=[(1000, 700), (1040, 700), (1000, 740)])
    marked = mark(Image.new("RGB", SIZE), triangle, kind="mask", zoom="auto")
    inked = np.asarray(marked.image).any(axis=2)
    left, top, *_ = marked.crop
    assert inked[705 - top, 1005 - left]
    assert not inked[735 - top, 1035 - left]
    assert inked.sum() == pytest.approx(800, rel=0.1)


def test_a_crop_leaves_something_of_the_smallest_region_to_see():
    marked = mark(Image.new("RGB", SIZE), Region(box=(1000, 700, 1004, 704)), zoom="auto")
    assert min(marked.sizes_seen[0]) >= 32
    with pytest.warns(TinyRegionWarning):
        dot = mark(Image.new("RGB", SIZE), Region(box=(1000, 700, 1000.5, 700.5)), zoom="auto")
    free = ~np.asarray(dot.image).any(axis=2)
    assert free.mean() > 0.9  # a line of one pixel does not fill the crop
    assert 336 / dot.image.width <= 8


def test_regions_far_apart_are_all_kept_and_warned_about(noise):
    far = [Region(box=(0, 0, 20, 20)), Region(box=(1980, 1480, 2000, 1500))]
    with pytest.warns(TinyRegionWarning, match="nearer together") as caught:
        marked = mark(noise, far, zoom="auto")
    assert (marked.crop, len(caught)) == (None, 2)
    near = [Region(box=(1000, 700, 1020, 720)), Region(box=(1080, 780, 1100, 800)), Region(point=(1050, 760))]
    zoomed = mark(noise, near, zoom="auto")
    left, top, right, bottom = zoomed.crop
    assert left <= 1000 - 40 < 1100 + 40 <= right
    assert top <= 700 - 40 < 800 + 40 <= bottom
    assert min(zoomed.sizes_seen[0]) >= 32


def test_points_alone_and_images_smaller_than_a_crop_are_not_zoomed():
    assert mark(Image.new("RGB", SIZE), Region(point=(5, 5)), zoom="auto").crop is None
    small = Image.new("RGB", (40, 40))
    with pytest.warns(TinyRegionWarning):
        assert mark(small, Region(box=(5, 5, 5.5, 6)), zoom="auto").crop is None


def test_the_readable_size_is_reached_for_any_box():
    black = Image.new("RGB", SIZE)
    random = np.random.default_rng(1)
    for _ in range(25):
        x, y = random.uniform(0, 1900), random.uniform(0, 1400)
        w, h = random.uniform(5, 90, 2)
        marked = mark(black, Region(box=(x, y, x + w, y + h)), zoom="auto")
        if max(w, h) * 2 <= min(w, h) * 10:
            assert min(marked.sizes_seen[0]) >= 32
