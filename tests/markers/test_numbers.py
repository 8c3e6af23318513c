"""Number labels: in or against their own regions, off one another, and off what they number."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import MarkerError, Region, mark
from langchain_vipllava.markers import mark as mark_module
from langchain_vipllava.markers import placement
from tests.markers.layouts import layout

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


def distance_maps(regions, size):
    """For each region, how far every pixel lies from it."""
    maps = []
    for region in regions:
        inside = np.zeros((size[1], size[0]), np.uint8)
        if region.mask is not None:
            inside[region.mask] = 1
        elif region.polygon is not None:
            cv2.fillPoly(inside, [np.array(region.polygon).round().astype(np.int32)], 1)
        else:
            x0, y0, x1, y1 = (round(n) for n in region.box)
            inside[min(y0, size[1] - 1) : max(y1, y0 + 1), min(x0, size[0] - 1) : max(x1, x0 + 1)] = 1
        maps.append(cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5))
    return maps


@pytest.mark.parametrize("start", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(20, 100, 20))])
@pytest.mark.filterwarnings("ignore::langchain_vipllava.TinyRegionWarning")
@pytest.mark.filterwarnings("ignore::langchain_vipllava.FaintMarkerWarning")
def test_the_nearest_region_of_every_number_is_its_own(start, drawn_at):
    for seed in range(start, start + 20):
        size, regions, kind = layout(seed)
        drawn_at.clear()
        mark(gray(size), regions, kind=kind, numbers=True)
        assert [number for number, _ in drawn_at] == list(range(1, len(regions) + 1))
        maps = distance_maps(regions, size)
        for index, (x0, y0, x1, y1) in enumerate(place for _, place in drawn_at):
            assert 0 <= x0 < x1 <= size[0]
            assert 0 <= y0 < y1 <= size[1]
            x, y = min((x0 + x1) // 2, size[0] - 1), min((y0 + y1) // 2, size[1] - 1)
            rivals = range(len(regions))
            if regions[index].is_point:  # on what contains it, a point has no place but itself
                px, py = (min(int(n), side - 1) for n, side in zip(regions[index].point, size, strict=True))
                rivals = [k for k in rivals if maps[k][py, px] > 4 or k == index]
            nearest = min(maps[k][y, x] for k in rivals)
            assert maps[index][y, x] <= nearest + 1.5, (seed, index + 1)  # 1.5: the maps' own rounding


@pytest.mark.filterwarnings("ignore::langchain_vipllava.TinyRegionWarning")
@pytest.mark.filterwarnings("ignore::langchain_vipllava.FaintMarkerWarning")
def test_a_place_near_the_region_is_the_cheapest_one_of_all_around(drawn_at, monkeypatch):
    """Most labels are placed by what lies near their region; farther off, everything costs more."""
    places = []
    for reach in (placement._NEAR, 5.0):
        monkeypatch.setattr(placement, "_NEAR", reach)
        drawn_at.clear()
        for seed in (0, 1, 2, 3, 9, 14):
            size, regions, kind = layout(seed)
            mark(gray(size), regions, kind=kind, numbers=True)
        places.append([place for _, place in drawn_at])
    assert places[0] == places[1]


def in_grid(columns, rows, cell, gap=0, shift=(0, 0)):
    return [Region(box=(shift[0] + cell * i + gap, shift[1] + cell * k + gap,
                        shift[0] + cell * (i + 1) - gap, shift[1] + cell * (k + 1) - gap))
            for k in range(rows) for i in range(columns)]  # fmt: skip


@pytest.mark.parametrize("kind", ["auto", "rectangle"])
def test_numbers_of_a_grid_lie_in_their_cells(kind, drawn_at):
    cells = in_grid(6, 6, 120) if kind == "auto" else in_grid(3, 3, 240)
    mark(gray((720, 720)), cells, kind=kind, numbers=True)
    for (x0, y0, x1, y1), cell in zip((place for _, place in drawn_at), cells, strict=True):
        a, b, c, d = cell.box
        assert a <= x0 < x1 <= c
        assert b <= y0 < y1 <= d


def test_numbers_of_70_icons_lie_at_their_icons(drawn_at):
    icons = in_grid(10, 7, 96, 28)
    mark(gray((1000, 700)), icons, kind="auto", numbers=True)
    places = [place for _, place in drawn_at]
    for place, icon in zip(places, icons, strict=True):
        a, b, c, d = icon.box
        assert max(a - place[2], place[0] - c, b - place[3], place[1] - d) <= 16
        assert (place[2] - place[0]) * (place[3] - place[1]) <= 45 * 30
    assert not any(overlap(a, b) for i, a in enumerate(places) for b in places[:i])


def test_a_number_of_a_mask_lies_at_its_widest_place(drawn_at):
    mask = np.zeros((300, 400), np.uint8)
    cv2.circle(mask, (280, 180), 70, 1, -1)
    cv2.line(mask, (280, 180), (40, 60), 1, 20)
    for kind in ("mask", "mask contour", "rectangle"):
        drawn_at.clear()
        mark(gray((400, 300)), Region(mask=mask), kind=kind, numbers=True)
        x0, y0, x1, y1 = drawn_at[0][1]
        assert np.hypot((x0 + x1) / 2 - 280, (y0 + y1) / 2 - 180) < 15


@pytest.mark.parametrize("side", [30, 60, 150, 300])
@pytest.mark.parametrize("kind", ["arrow", "point"])
def test_a_number_does_not_bury_its_arrow_or_point(kind, side, drawn_at):
    region = Region(box=(200 - side / 2, 150 - side / 2, 200 + side / 2, 150 + side / 2))
    plain = mark(gray((400, 300)), region, kind=kind)
    mark(gray((400, 300)), region, kind=kind, numbers=True)
    x0, y0, x1, y1 = drawn_at[0][1]
    inked = (np.asarray(plain.image) != np.asarray(plain.original)).any(axis=2)
    assert inked[y0:y1, x0:x1].sum() < 0.1 * inked.sum()
    rows, columns = np.nonzero(inked)
    gap = max(x0 - columns.max(), columns.min() - x1, y0 - rows.max(), rows.min() - y1)
    assert gap < 20  # and lies at it


@pytest.mark.parametrize("box", [(0, 0, 400, 300), (10, 8, 390, 292)])
def test_a_number_of_nearly_the_whole_image_lies_in_it(box, drawn_at):
    mark(gray((400, 300)), [Region(box=box), Region(box=(180, 130, 220, 170))], numbers=True)
    (_, first), (_, second) = drawn_at
    assert not overlap(first, (180, 130, 220, 170))
    assert overlap(second, (180, 130, 220, 170))


@pytest.mark.filterwarnings("ignore::langchain_vipllava.FaintMarkerWarning")
@pytest.mark.parametrize(("count", "corner"), [(12, (330, 220)), (40, (450, 330))])
def test_numbers_of_a_crowd_hardly_overlap(count, corner, drawn_at):
    """Few regions are measured one by one, many share their maps."""
    overlapping = 0
    for seed in range(6):
        crowd = np.random.default_rng(seed).uniform((150, 100), corner, (count, 2))
        drawn_at.clear()
        mark(gray((600, 400)), [Region(point=tuple(point)) for point in crowd], kind="auto", numbers=True)
        places = [place for _, place in drawn_at]
        overlapping += sum(overlap(a, b) for i, a in enumerate(places) for b in places[:i])
    assert overlapping <= count / 2  # of six crowds; several times as many if labels did not count


@pytest.mark.parametrize("others", [0, 24])
def test_a_number_keeps_off_another_one_where_there_is_room(others, drawn_at):
    below = [Region(box=(10 + 24 * i, 560, 22 + 24 * i, 572)) for i in range(others)]
    bars = [Region(box=(0, 0, 600, 50)), Region(box=(0, 90, 600, 140))]
    mark(gray((600, 600)), [*bars, *below], kind="auto", numbers=True)
    (_, first), (_, second) = drawn_at[:2]
    gap = max(second[0] - first[2], first[0] - second[2], second[1] - first[3], first[1] - second[3])
    assert gap >= first[3] - first[1]


def test_a_number_that_must_stand_away_has_a_line_to_its_region(drawn_at):
    crowd = [Region(point=(200 + 4 * (i % 6), 150 + 4 * (i // 6))) for i in range(36)]
    marked = mark(gray((400, 300)), crowd, kind="auto", numbers=True)
    for (_, (x0, y0, x1, y1)), region, marker in zip(drawn_at, crowd, marked.markers, strict=True):
        x, y = region.point
        gap = np.hypot(max(x0 - x, x - x1, 0), max(y0 - y, y - y1, 0))
        if gap > 40:  # beyond its own marker
            middle = (np.clip(x, x0, x1) + x) / 2, (np.clip(y, y0, y1) + y) / 2
            near = np.asarray(marked.image)[
                int(middle[1]) - 4 : int(middle[1]) + 5, int(middle[0]) - 4 : int(middle[0]) + 5
            ]
            assert (near != (90, 100, 110)).any(), marker.number


def test_more_regions_than_markers_are_named_by_their_numbers():
    regions = in_grid(10, 8, 90, 10)
    with pytest.raises(MarkerError, match="only 72"):
        mark(gray((900, 720)), regions, kind="auto")
    marked = mark(gray((900, 720)), regions, kind="auto", numbers=True)
    assert len(set(marked.phrases)) == 80
    assert marked.question("What is {0}?") == "What is the object within the red rectangle with number 1?"
    assert marked.phrases[20] == "with the blue triangle"


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


@pytest.mark.filterwarnings("ignore::langchain_vipllava.TinyRegionWarning")
def test_72_numbers_find_their_places(drawn_at):
    regions = [Region(box=(20 + 110 * (i % 9), 40 + 110 * (i // 9), 90 + 110 * (i % 9), 80 + 110 * (i // 9)))
               for i in range(72)]  # fmt: skip
    mark(gray((1000, 1000)), regions, kind="auto", numbers=True)
    boxes = [place for _, place in drawn_at]
    assert len(boxes) == 72
    assert not any(overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.filterwarnings("ignore::langchain_vipllava.TinyRegionWarning")
@pytest.mark.filterwarnings("ignore::langchain_vipllava.FaintMarkerWarning")
def test_a_number_without_a_right_place_stays_near_its_region(drawn_at):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        corners = rng.uniform((0, 0), (900, 250), (60, 2))
        sides = rng.uniform(15, (250, 120), (60, 2))
        boxes = np.hstack([corners, np.minimum(corners + sides, (1000, 300))])
        corner = Region(box=(995, 295, 1000, 300))
        overlapping = Region(box=(940, 270, 998, 300))
        regions = [corner, overlapping, *(Region(box=tuple(box)) for box in boxes.tolist())]
        drawn_at.clear()
        mark(gray((1000, 300)), regions, kind="auto", numbers=True)
        _, y0, x1, y1 = drawn_at[0][1]
        assert max(995 - x1, 295 - y1) <= 2 * (y1 - y0), seed
