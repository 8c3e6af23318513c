"""Number labels: beside their regions, off one another, and off what they number."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import MarkerError, Region, mark
from langchain_vipllava.markers import mark as mark_module

REGION = Region(box=(100, 80, 240, 200))


@pytest.fixture
def drawn_at(monkeypatch):
    """The places where numbers were drawn, as (number, box)."""
    places, draw = [], mark_module.draw_number

    def spy(canvas, number, place, color):
        places.append((number, place))
        draw(canvas, number, place, color)

    monkeypatch.setattr(mark_module, "draw_number", spy)
    return places


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def labels(image, regions, **options):
    """Pixels that the numbers changed, (H, W) bool."""
    plain, numbered = (np.asarray(mark(image, regions, numbers=n, **options).image) for n in (False, True))
    return (plain != numbered).any(axis=2)


def gray(size):
    return Image.new("RGB", size, (90, 100, 110))


@pytest.mark.parametrize("size", [(400, 300), (1000, 1000), (900, 300), (300, 900)], ids=str)
@pytest.mark.filterwarnings("ignore::langchain_vipllava.TinyRegionWarning")
def test_numbers_cover_neither_one_another_nor_their_region(size, drawn_at):
    random = np.random.default_rng(7)
    placed = 0
    for _ in range(12):
        regions = []
        for _ in range(random.integers(1, 10)):
            x, y = random.uniform(-0.1, 0.9, 2) * size
            w, h = random.uniform(0.02, 0.35, 2) * size
            regions.append(Region(box=(x, y, max(x + w, 1), max(y + h, 1))))
        drawn_at.clear()
        inked = labels(gray(size), regions)
        assert [number for number, _ in drawn_at] == list(range(1, len(regions) + 1))
        boxes = [place for _, place in drawn_at]
        for i, (place, region) in enumerate(zip(boxes, regions, strict=True)):
            x0, y0, x1, y1 = place
            assert 0 <= x0 < x1 <= size[0]
            assert 0 <= y0 < y1 <= size[1]
            assert not overlap(place, region.box)
            assert not any(overlap(place, other) for other in boxes[:i])
            assert inked[int(y0) : int(y1), int(x0) : int(x1)].mean() > 0.4  # lines of markers may lie under it
            inked[int(y0) : int(y1), int(x0) : int(x1)] = False
            placed += 1
        assert not inked.any()  # nothing was drawn elsewhere
    assert placed > 40


def test_a_number_is_readable_on_its_markers_color(drawn_at):
    for color, rgb in {"blue": (0, 0, 255), "yellow": (255, 255, 0), "purple": (128, 0, 128)}.items():
        marked = mark(gray((336, 336)), REGION, numbers=True, color=color)
        x0, y0, x1, y1 = (int(n) for n in drawn_at.pop()[1])
        patch = np.asarray(marked.image)[y0:y1, x0:x1].astype(int)
        away = np.abs(patch - rgb).sum(axis=2)
        assert 0.1 < (away > 200).mean() < 0.6, color
        assert (away == 0).mean() > 0.3, color
        assert y1 - y0 >= 14


def test_numbers_differ_and_are_in_the_markers():
    regions = [REGION, Region(box=(250, 80, 330, 200))]
    marked = mark(gray((400, 300)), regions, numbers=True)
    assert [marker.number for marker in marked.markers] == [1, 2]
    assert [marker.number for marker in mark(gray((400, 300)), regions).markers] == [None, None]


def test_a_number_lies_beside_its_region_where_there_is_room(drawn_at):
    for box in [(100, 80, 240, 200), (0, 0, 100, 100), (300, 200, 400, 300), (0, 0, 400, 100), (0, 0, 100, 300)]:
        mark(gray((400, 300)), Region(box=box), numbers=True)
        x0, y0, x1, y1 = drawn_at.pop()[1]
        assert max(x0 - box[2], box[0] - x1, y0 - box[3], box[1] - y1) <= 1
        assert not overlap((x0, y0, x1, y1), box)


def test_the_interior_of_a_numbered_region_is_left_free(photo):
    marked = mark(photo, Region(box=(100, 80, 240, 200)), numbers=True)
    inner = np.s_[86:194, 106:234]
    assert np.array_equal(np.asarray(marked.image)[inner], np.asarray(photo)[inner])


def test_numbers_are_placed_in_the_crop_of_a_zoom(drawn_at):
    marked = mark(gray((2000, 1500)), Region(box=(1000, 700, 1040, 740)), numbers=True, zoom="auto")
    left, top, *_ = marked.crop
    place = drawn_at.pop()[1]
    assert not overlap(place, (1000 - left, 700 - top, 1040 - left, 740 - top))
    assert place[2] <= marked.image.width


def test_no_room_for_a_number_is_an_error_that_says_so():
    with pytest.raises(MarkerError, match="no room for number 1"):
        mark(gray((400, 300)), Region(box=(0, 0, 400, 300)), numbers=True)
    with pytest.raises(MarkerError, match="no room for number 2"):
        mark(gray((400, 300)), [REGION, Region(box=(5, 5, 395, 295))], numbers=True)


@pytest.mark.filterwarnings("ignore::langchain_vipllava.TinyRegionWarning")
def test_72_numbers_find_their_places(drawn_at):
    regions = [Region(box=(20 + 110 * (i % 9), 40 + 110 * (i // 9), 90 + 110 * (i % 9), 80 + 110 * (i // 9)))
               for i in range(72)]  # fmt: skip
    mark(gray((1000, 1000)), regions, kind="auto", numbers=True)
    boxes = [place for _, place in drawn_at]
    assert len(boxes) == 72
    assert not any(overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])
