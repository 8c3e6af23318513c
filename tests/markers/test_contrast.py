"""Colors by contrast, and the warning about a marker that nobody can see."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import FaintMarkerWarning, Region, Workspace, mark
from langchain_vipllava.markers.kinds import COLORS, KINDS

BOX = (100, 80, 240, 200)
SIZE = (400, 300)


def lab(rgb):
    return cv2.cvtColor(np.asarray(rgb, np.float32).reshape(1, -1, 3) / 255, cv2.COLOR_RGB2LAB)[0]


def away(marked):
    """CIELAB distance of the changed pixels from what they were, at the size that the model sees."""
    before, after = (np.asarray(i.resize((336, 252), Image.Resampling.BOX)) for i in (marked.original, marked.image))
    changed = (before != after).any(axis=2)
    return np.linalg.norm(lab(before[changed]) - lab(after[changed]), axis=1)


def marked_without_warning(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return mark(*args, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ground", COLORS)
def test_a_marker_stands_out_from_a_ground_of_every_named_color(kind, ground):
    marked = marked_without_warning(Image.new("RGB", SIZE, COLORS[ground]), Region(box=BOX), kind=kind)
    assert marked.markers[0].color != ground
    assert np.median(away(marked)) > (20 if kind == "mask" else 40)


def test_nine_colors_go_to_the_grounds_where_they_stand_out():
    image = Image.new("RGB", (900, 300))
    for index, rgb in enumerate(COLORS.values()):
        image.paste(rgb, (index * 100, 0, index * 100 + 100, 300))
    regions = [Region(box=(index * 100 + 20, 100, index * 100 + 80, 200)) for index in range(9)]
    marked = marked_without_warning(image, regions)
    assert sorted(m.color for m in marked.markers) == sorted(COLORS)
    for marker, ground in zip(marked.markers, COLORS, strict=True):
        distance = np.linalg.norm(lab(COLORS[marker.color]) - lab(COLORS[ground]))
        assert distance > 40, (marker.color, ground)


def test_a_plain_photograph_keeps_the_order(photo):
    boxes = [(174, 65, 273, 164), (330, 20, 480, 250), (400, 340, 500, 500)]
    marked = marked_without_warning(photo, [Region(box=box) for box in boxes])
    assert [m.color for m in marked.markers] == ["red", "lime", "blue"]


def test_only_the_color_under_and_around_the_outline_counts():
    image = Image.new("RGB", SIZE, (255, 0, 0))
    image.paste((40, 40, 40), (60, 40, 280, 240))  # around the region, the image is gray
    image.paste((255, 0, 0), (140, 120, 200, 160))
    assert mark(image, Region(box=BOX)).markers[0].color == "red"
    assert mark(image, Region(box=(300, 80, 380, 200))).markers[0].color == "lime"


@pytest.mark.parametrize("kind", KINDS)
def test_a_color_that_was_asked_for_is_drawn_and_warned_about(kind):
    clearer = "aqua" if kind == "mask" else "lime"  # half of lime and red is olive
    with pytest.warns(FaintMarkerWarning, match=f"Pass color='{clearer}'") as caught:
        marked = mark(Image.new("RGB", SIZE, (255, 0, 0)), Region(box=BOX, label="cup"), kind=kind, color="red")
    assert caught[0].filename == __file__
    assert f'red {kind} ("cup")' in str(caught[0].message)
    assert (marked.markers[0].color, marked.markers[0].is_faint, marked.markers[0].clearer) == ("red", True, clearer)
    assert not mark(Image.new("RGB", SIZE, (255, 0, 0)), Region(box=BOX), kind=kind, color="blue").markers[0].is_faint


def test_faintness_is_measured_after_downscaling():
    image = Image.new("RGB", (4000, 3000), (90, 100, 110))
    with pytest.warns(FaintMarkerWarning):  # a tenth of a model pixel
        mark(image, Region(box=(1000, 800, 2400, 2000)), width=0.1)
    marked_without_warning(image, Region(box=(1000, 800, 2400, 2000)), width=2)
    fine = np.zeros((3000, 4000, 3), np.uint8)
    fine[::2, :, 0] = 255  # red and black rows: dark red for the model
    fine[1::2, :, 0] = 255
    assert mark(fine, Region(box=(1000, 800, 2400, 2000))).markers[0].color == "lime"


@pytest.mark.parametrize("opacity", [None, 1.0])
def test_a_mask_too_thin_to_be_seen_is_faint(opacity):
    thin = np.zeros((600, 900), bool)
    diagonal = np.arange(100, 500)
    thin[diagonal, diagonal + 100] = True
    for others in ([], [Region(box=(600, 100, 800, 300))]):
        with pytest.warns(FaintMarkerWarning):
            marked = mark(
                Image.new("RGB", (900, 600), "white"), [Region(mask=thin), *others], kind="mask", opacity=opacity
            )
        assert [marker.visible > 0.9 for marker in marked.markers] == [False, *(True for _ in others)]
        assert marked[0].visible == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_seen_of_a_marker_does_not_depend_on_how_many_there_are(kind, photo):
    """The pixels of all markers are compared at once, those that overlap apart from those that do not."""
    boxes = [(20 + 160 * i, 30 + 160 * k, 110 + 160 * i + 9 * k, 120 + 160 * k) for k in range(3) for i in range(3)]
    regions = [Region(box=box) for box in boxes]
    together = mark(photo, regions, kind=kind)
    for region, marker in zip(regions, together.markers, strict=True):
        alone = mark(photo, region, kind=kind, color=marker.color)[0]
        assert alone.visible == pytest.approx(marker.visible, abs=0.02)


def test_a_faint_opacity_is_warned_about():
    with pytest.warns(FaintMarkerWarning):
        mark(Image.new("RGB", SIZE, (90, 100, 110)), Region(box=BOX), opacity=0.02)


def test_a_marker_that_others_cover_is_warned_about():
    regions = [Region(box=(150, 120, 160, 130)), *(Region(box=(140 + i, 110, 150 + i, 140)) for i in range(0, 16, 2))]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        marked = mark(Image.new("RGB", SIZE, (90, 100, 110)), regions, width=8)
    assert any(m.is_faint for m in marked.markers)
    assert any(issubclass(w.category, FaintMarkerWarning) for w in caught)


@pytest.mark.filterwarnings("ignore::langchain_vipllava.FaintMarkerWarning")
def test_an_llm_is_told_what_to_do_about_a_faint_marker():
    workspace = Workspace()
    photo = workspace.add_image(Image.new("RGB", SIZE, (255, 0, 0)))
    text = workspace.mark(photo, [list(BOX)], session="anna", color="red").text
    assert text.splitlines()[-1] == (
        "Note: the vision model can hardly see the red rectangle of r1 against the image. "
        'Mark it again with color "lime" or without a color.'
    )
    assert "Note" not in workspace.mark(photo, [list(BOX)], session="anna").text
