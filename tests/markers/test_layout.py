"""Markers on small things, on equal boxes, side by side and over one another."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import Region, mark
from langchain_vipllava.markers.kinds import COLORS, KINDS


def gray(size):
    return Image.new("RGB", size, (90, 100, 110))


def changed(marked):
    return (np.asarray(marked.image) != np.asarray(marked.original)).any(axis=2)


def shown(marked, color):
    """Pixels of exactly this color."""
    return (np.asarray(marked.image) == COLORS[color]).all(axis=2)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=__import__("langchain_vipllava").TinyRegionWarning)
        yield


MENU = [Region(box=(12 + 66 * index, 5, 78 + 66 * index, 39)) for index in range(4)]


@pytest.mark.parametrize("gap", [0, 4, 20])
def test_menu_items_of_a_screenshot_stay_readable(gap):
    items = [Region(box=(12 + (66 + gap) * i, 5, 78 + (66 + gap) * i, 39)) for i in range(4)]
    marked = mark(gray((1920, 1080)), items)
    inked = changed(marked)
    for item in items:
        x0, y0, x1, y1 = (int(n) for n in item.box)
        assert not inked[y0 + 7 : y1 - 7, x0 + 7 : x1 - 7].any()  # the text
        assert inked[y0:y1, x0:x1].mean() < 0.5
    for color in ("red", "lime", "blue", "yellow"):  # as much ink as a line of one model pixel around each
        assert shown(marked, color).sum() > 0.8 * 2 * (66 + 34) * 1920 / 336 * 0.7


@pytest.mark.parametrize("kind", ["rectangle", "ellipse", "triangle", "mask contour", "point", "arrow", "scribble"])
def test_a_small_thing_is_not_covered(kind):
    for side in (20, 40, 60):
        box = (500, 400, 500 + side, 400 + side)
        inked = changed(mark(gray((1000, 1000)), Region(box=box), kind=kind))
        assert inked[400 : 400 + side, 500 : 500 + side].mean() < (0.7 if kind == "triangle" else 0.55), side
        assert inked.sum() >= 40


@pytest.mark.parametrize("kind", KINDS)
def test_large_regions_keep_the_sizes_of_training(kind):
    small = changed(mark(gray((336, 336)), Region(box=(100, 100, 140, 140)), kind=kind)).sum()
    large = changed(mark(gray((336, 336)), Region(box=(100, 100, 180, 180)), kind=kind)).sum()
    assert small < large if kind not in ("point", "arrow") else small <= large
    rows = np.flatnonzero(changed(mark(gray((336, 336)), Region(box=(100, 100, 140, 140))))[120])
    assert len(rows) == 6  # two lines of 3


def test_a_width_that_was_asked_for_is_kept_on_a_small_region():
    thin, wide = (changed(mark(gray((1000, 1000)), Region(box=(500, 400, 540, 440)), **style)).sum()
                  for style in ({}, {"width": 6}))  # fmt: skip
    assert wide > 2 * thin


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [2, 3, 5, 9])
@pytest.mark.parametrize("seed", [None, 3])
def test_markers_of_one_box_are_all_visible(kind, count, seed):
    marked = mark(gray((600, 600)), [Region(box=(150, 150, 450, 450))] * count, kind=kind, seed=seed, opacity=1)
    counts = [int(shown(marked, m.color).sum()) for m in marked.markers]
    assert min(counts) > 150, counts
    assert not any(m.is_faint for m in marked.markers)


@pytest.mark.parametrize("shift", [1, 3, 5])
def test_markers_of_nearly_equal_boxes_are_all_visible(shift):
    boxes = [(150 + shift * i, 150 - shift * i, 450 + shift * i, 450) for i in range(3)]
    marked = mark(gray((600, 600)), [Region(box=box) for box in boxes])
    assert min(m.visible for m in marked.markers) > 0.5


def test_every_cell_of_a_touching_grid_has_its_whole_frame():
    cells = [Region(box=(120 * (i % 3), 120 * (i // 3), 120 * (i % 3) + 120, 120 * (i // 3) + 120)) for i in range(9)]
    marked = mark(gray((360, 360)), cells)
    for region, marker in zip(cells, marked.markers, strict=True):
        x0, y0, x1, y1 = (int(n) for n in region.box)
        own = shown(marked, marker.color)
        assert not own[: max(y0, 0)].any()
        assert not own[y1:].any()
        assert not own[:, :x0].any()
        for side in (
            own[y0 : y0 + 4, x0:x1],
            own[y1 - 4 : y1, x0:x1],
            own[y0:y1, x0 : x0 + 4],
            own[y0:y1, x1 - 4 : x1],
        ):
            assert side.any(axis=0 if side.shape[0] == 4 else 1).all()


def test_a_large_marker_does_not_hide_a_small_one_that_comes_first():
    inner, outer = Region(box=(140, 120, 180, 160)), Region(box=(40, 40, 360, 260))
    first = mark(gray((400, 300)), [inner, outer], kind=["rectangle", "mask"])
    other = mark(gray((400, 300)), [outer, inner], kind=["mask", "rectangle"], color=["lime", "red"])
    assert np.array_equal(np.asarray(first.image), np.asarray(other.image))
    assert shown(first, "red").sum() > 100


def test_markers_that_hide_nothing_are_drawn_as_they_come():
    first, second = Region(box=(40, 40, 200, 200)), Region(box=(120, 120, 360, 260))
    marked = mark(gray((400, 300)), [second, first])
    assert shown(marked, "lime")[120:200, 196:204].any(axis=1).all()  # the later one lies on top


def test_the_frame_of_a_turned_box_follows_its_outline_and_its_breadth():
    angle = np.radians(30)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    middle = np.array([500, 500])
    corners = [middle + a * 200 * along + b * 20 * across for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    inked = changed(mark(gray((1000, 1000)), Region(polygon=corners), kind="mask contour"))
    for step in np.linspace(-0.9, 0.9, 20):
        x, y = (middle + step * 200 * along).round().astype(int)
        assert not inked[y - 3 : y + 4, x - 3 : x + 4].any()  # the middle line is free
    assert inked.mean() > 0.003


TURNED = [(200, 60), (340, 200), (290, 250), (150, 110)]


@pytest.mark.parametrize("polygon", [TURNED, [(100, 100), (300, 130), (297, 160), (97, 130)]])
def test_a_rectangle_follows_a_turned_box(polygon):
    marked = mark(gray((400, 300)), Region(polygon=polygon))
    ink = changed(marked)
    outline = np.array(polygon, np.int32)
    along = cv2.polylines(np.zeros(ink.shape, np.uint8), [outline], True, 1, 3) > 0
    near = cv2.polylines(np.zeros(ink.shape, np.uint8), [outline], True, 1, 15) > 0
    assert ink[along].mean() > 0.9
    assert not ink[~near].any()
    assert marked.phrases == ["within the red rectangle"]


@pytest.mark.parametrize(
    "polygon",
    [
        [(100, 100), (300, 101), (300, 200), (100, 199)],  # as good as upright
        [(100, 100), (300, 100), (220, 200), (180, 200)],  # a trapezoid
        [(100, 100), (200, 40), (300, 100), (260, 200), (140, 200)],
    ],
)
def test_a_rectangle_around_any_other_polygon_is_upright(polygon):
    xs, ys = zip(*polygon, strict=True)
    image = gray((400, 300))
    upright = mark(image, Region(box=(min(xs), min(ys), max(xs), max(ys))))
    assert np.array_equal(changed(mark(image, Region(polygon=polygon))), changed(upright))


def test_two_equal_turned_boxes_are_both_visible():
    marked = mark(gray((400, 300)), [Region(polygon=TURNED)] * 2)
    assert min(m.visible for m in marked.markers) > 0.5
