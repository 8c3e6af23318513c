"""`mark`: which region gets which marker, where it lies, and what cannot be marked."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import ImageError, MarkerError, Region, RegionError, TinyRegionWarning, mark

COLORS = ("red", "lime", "blue", "yellow", "fuchsia", "aqua", "orange", "purple", "gold")
KINDS = ("rectangle", "ellipse", "triangle", "point", "scribble", "mask contour", "mask", "arrow")
SIZE = (400, 300)
REGION = Region(box=(100, 80, 240, 200))


def boxes(count):
    return [Region(box=(10 + 35 * (i % 10), 10 + 30 * (i // 10), 35 + 35 * (i % 10), 30 + 30 * (i // 10)))
            for i in range(count)]  # fmt: skip


def black(size=SIZE):
    return Image.new("RGB", size)


def ink(marked):
    """Pixels that the markers changed, (H, W) bool."""
    return (np.asarray(marked.image) != np.asarray(marked.original)).any(axis=2)


def drawn(region, kind, size=SIZE, **style):
    return ink(mark(black(size), region, kind=kind, color="lime", **style))


def looks(marked):
    return [(marker.color, marker.kind) for marker in marked.markers]


# --- who gets what ---


def test_one_kind_gives_the_nine_colors_out_in_order():
    assert looks(mark(black(), boxes(9))) == [(color, "rectangle") for color in COLORS]


@pytest.mark.parametrize("kind", KINDS)
def test_a_tenth_region_of_one_kind_is_an_error_that_says_so(kind):
    assert len(set(mark(black(), boxes(9), kind=kind).phrases)) == 9
    with pytest.raises(MarkerError, match=r"10 regions.*only 9.*auto"):
        mark(black(), boxes(10), kind=kind)


def test_auto_moves_on_to_the_next_kind_until_all_72_are_taken():
    marked = mark(black(), boxes(72), kind="auto")
    assert len(set(looks(marked))) == 72
    assert looks(marked)[:10] == [*((color, "rectangle") for color in COLORS), ("red", "ellipse")]
    with pytest.raises(MarkerError, match=r"73 regions.*only 72"):
        mark(black(), boxes(73), kind="auto")


def test_one_color_takes_the_eight_kinds_and_no_ninth():
    assert looks(mark(black(), boxes(8), kind="auto", color="aqua")) == [("aqua", kind) for kind in KINDS]
    with pytest.raises(MarkerError, match="only 8"):
        mark(black(), boxes(9), kind="auto", color="aqua")


def test_kinds_and_colors_per_region():
    kinds, colors = ["mask", "arrow", None, "mask_contour"], ["red", None, "gold", "red"]
    assert looks(mark(black(), boxes(4), kind=kinds, color=colors)) == [
        ("red", "mask"), ("lime", "arrow"), ("gold", "rectangle"), ("red", "mask contour"),
    ]  # fmt: skip
    assert looks(mark(black(), boxes(2), color=(None, "red"))) == [("lime", "rectangle"), ("red", "rectangle")]
    assert looks(mark(black(), boxes(2), kind=["point", "auto"], color=["red", "red"])) == [
        ("red", "point"), ("red", "rectangle"),
    ]  # fmt: skip
    assert looks(mark(black(), boxes(1), kind=" Mask-Contour ", color="RED ")) == [("red", "mask contour")]


def test_a_color_and_kind_asked_for_twice_is_an_error():
    with pytest.raises(MarkerError, match="two regions request a red rectangle"):
        mark(black(), boxes(3), color=["red", None, "red"])
    with pytest.raises(MarkerError, match="two regions request a lime arrow"):
        mark(black(), boxes(2), kind="arrow", color="lime")


def test_every_phrase_is_worded_as_in_training():
    word = {"rectangle": "within", "ellipse": "within", "point": "at", "arrow": "pointed to by"}
    marked = mark(black(), boxes(72), kind="auto")
    expected = {f"{word.get(kind, 'with')} the {color} {kind}" for kind in KINDS for color in COLORS}
    assert set(marked.phrases) == expected
    assert len(marked.phrases) == 72


# --- the same, and by hand ---


@pytest.mark.parametrize("kind", KINDS)
def test_markers_are_the_same_every_time_and_with_the_same_seed(photo, kind):
    for seed in (None, 3):
        one, other = (mark(photo, REGION, kind=kind, seed=seed) for _ in range(2))
        assert one.image.tobytes() == other.image.tobytes()
    images = {mark(photo, REGION, kind=kind, seed=seed).image.tobytes() for seed in (None, 0, 1, 2)}
    assert len(images) == 4


def test_the_image_given_is_never_changed(photo):
    before = photo.tobytes()
    marked = mark(photo, boxes(72), kind="auto", numbers=False, seed=1)
    assert photo.tobytes() == before == marked.original.tobytes()
    assert marked.image.tobytes() != before
    array = np.array(photo)
    mark(array, REGION, kind="mask")
    assert array.tobytes() == before


# --- overrides ---


def test_width_radius_and_opacity_can_be_given():
    assert drawn(REGION, "rectangle", width=8).sum() > 1.7 * drawn(REGION, "rectangle", width=2).sum()
    assert drawn(REGION, "point", radius=16).sum() > 3 * drawn(REGION, "point", radius=8).sum()
    for kind in KINDS:
        for seed in (None, 4):
            marked = mark(black(), REGION, kind=kind, color="lime", opacity=0.6, seed=seed)
            assert abs(int(np.asarray(marked.image)[..., 1].max()) - 153) <= 1, kind
    assert np.asarray(mark(black(), REGION, kind="mask").image).max() == 128
    assert np.asarray(mark(black(), REGION, kind="rectangle", width=np.float32(3)).image).max() == 255


@pytest.mark.parametrize("name", ["width", "radius", "opacity"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 1e9, "3", [3], 1j])
def test_sizes_that_are_none(name, value):
    with pytest.raises(MarkerError, match=f"{name}="):
        mark(black(), REGION, kind="point", **{name: value})
    assert mark(black(), REGION, width=1e-9, radius=336, opacity=1).phrases


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "circle"}, "unknown marker kind 'circle'.*rectangle"),
        ({"kind": ""}, "unknown marker kind"),
        ({"kind": 5}, "kind=5"),
        ({"kind": [5]}, "expected names, not numbers"),
        ({"kind": []}, "0 values in kind= for 1"),
        ({"kind": ["mask", "mask"]}, "2 values in kind= for 1"),
        ({"color": "green"}, "unknown marker color 'green'.*lime"),
        ({"color": (255, 0, 0)}, "expected names, not numbers"),
        ({"color": 5}, "color=5"),
        ({"zoom": True}, "zoom=True"),
        ({"zoom": "in"}, "zoom='in'"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": "one"}, "seed='one'"),
        ({"seed": 1.5}, "seed=1.5"),
    ],
)
def test_options_that_are_none(options, said):
    with pytest.raises(MarkerError, match=said):
        mark(black(), REGION, **options)


@pytest.mark.parametrize(
    "regions", [None, 5, [], "abc", [(0, 0, 5, 5)], [REGION, None], np.zeros((2, 4)), {"a": REGION}]
)
def test_what_are_no_regions(regions):
    with pytest.raises(MarkerError, match="region"):
        mark(black(), regions)


def test_images_that_are_none():
    with pytest.raises(ImageError):
        mark("no/such/file.png", REGION)
    with pytest.raises(ImageError):
        mark(Image.new("RGB", (0, 0)), REGION)


# --- where it lies ---


@pytest.mark.parametrize(
    "region",
    [
        Region(box=(400, 0, 410, 10)),
        Region(box=(0, 300, 10, 310)),
        Region(box=(-10, 0, 0, 10)),
        Region(box=(500, 500, 600, 600)),
        Region(point=(401, 5)),
        Region(point=(5, -0.1)),
        Region(mask=np.ones((400, 300))),
        Region(mask=np.ones((30, 40))),
        Region(polygon=[(-5, -5), (-1, -5), (-5, -1)]),
    ],
)
@pytest.mark.parametrize("zoom", [None, "auto"])
def test_regions_outside_and_masks_of_another_size(region, zoom):
    with pytest.raises(RegionError, match=r"image"):
        mark(black(), [REGION, region], zoom=zoom)


def ring():
    """A thick ring with a hole, and a small part of its own far from it."""
    mask = np.zeros((300, 400), np.uint8)
    cv2.ellipse(mask, (150, 150), (90, 70), 0, 0, 360, 1, 34)
    mask[20:40, 340:380] = 1
    return mask.astype(bool)


L_SHAPE = Region(polygon=[(60, 40), (110, 40), (110, 200), (300, 200), (300, 250), (60, 250)])
MASKED = {
    "ring": Region(mask=ring()),
    "polygon": L_SHAPE,
    "whole": Region(mask=np.ones((300, 400))),
    "dot": Region(mask=np.eye(400, dtype=bool)[:300] & (np.arange(400) == 150)),
    "thin": Region(mask=np.tile(np.arange(400) == 200, (300, 1))),
}


def inside(region):
    if region.mask is not None:
        return region.mask
    filled = np.zeros((300, 400), np.uint8)
    cv2.fillPoly(filled, [np.int32(region.polygon)], 1)
    return filled.astype(bool)


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.filterwarnings("ignore::langchain_vipllava.TinyRegionWarning")
def test_a_mask_marker_fills_the_mask_and_nothing_else(name):
    region = MASKED[name]
    marked = mark(black(), region, kind="mask", color="lime")
    if region.mask is not None:
        assert np.array_equal(ink(marked), region.mask)
    else:
        assert (ink(marked) ^ inside(region)).sum() <= 520  # its border pixels
    assert set(np.unique(np.asarray(marked.image)[..., 1])) <= {0, 128}


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.filterwarnings("ignore::langchain_vipllava.TinyRegionWarning")
def test_a_contour_follows_every_part_of_the_mask(name):
    region = MASKED[name]
    solid = np.zeros((300, 400), np.uint8)
    outlines, _ = cv2.findContours(inside(region).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(solid, outlines, -1, 1)
    inked = drawn(region, "mask contour").astype(np.uint8)
    border = np.zeros_like(solid)
    border[4:-4, 4:-4] = 1  # a line along the image's border is moved inwards by half its width
    assert inked[(solid & border) == 1].mean() > 0.97 if (solid & border).any() else inked.any()
    near = cv2.dilate(solid, np.ones((13, 13), np.uint8))
    assert not inked[near == 0].any()


@pytest.mark.parametrize("name", ["ring", "polygon"])
@pytest.mark.parametrize("seed", [None, 0, 1, 2, 3])
def test_points_and_the_ends_of_scribbles_and_arrows_lie_inside_the_mask(name, seed):
    region = MASKED[name]
    ys, xs = np.nonzero(drawn(region, "point", seed=seed, radius=3))
    assert inside(region)[round(ys.mean()), round(xs.mean())]
    if seed is not None:  # see test_hand_drawn.py: training's triangles may be slivers, which have no such hull
        return
    # the corners of a triangle: where a thin one is touched by its hull
    ys, xs = np.nonzero(drawn(region, "triangle", seed=seed, width=1))
    _, corners = cv2.minEnclosingTriangle(np.stack([xs, ys], axis=1).astype(np.float32))
    near = cv2.dilate(inside(region).astype(np.uint8), np.ones((21, 21), np.uint8))  # acute corners of a line overshoot
    for x, y in corners.reshape(3, 2).round().astype(int):
        assert near[min(max(y, 0), 299), min(max(x, 0), 399)], (x, y)


def test_the_point_of_a_concave_region_is_not_beside_it():
    x, y = np.array(np.nonzero(drawn(L_SHAPE, "point", radius=3))).mean(axis=1)[::-1]
    assert inside(L_SHAPE)[round(y), round(x)]
    given = Region(box=(100, 80, 240, 200), point=(120, 90))
    ys, xs = np.nonzero(drawn(given, "point", radius=3))
    assert (xs.mean() + 0.5, ys.mean() + 0.5) == pytest.approx((120, 90), abs=0.6)


@pytest.mark.parametrize("box", [(20, 140, 380, 150), (20, 0, 380, 40), (190, 10, 200, 290), (100, 80, 240, 200),
                                 (0, 260, 400, 300), (20, 120, 380, 170)])  # fmt: skip
@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_no_angle_of_a_triangle_is_over_150_degrees(box, seed):
    ys, xs = np.nonzero(drawn(Region(box=box), "triangle", seed=seed, width=1))
    _, corners = cv2.minEnclosingTriangle(np.stack([xs, ys], axis=1).astype(np.float32))
    sides = corners.reshape(3, 2)
    for i in range(3):
        a, b = sides[(i + 1) % 3] - sides[i], sides[(i + 2) % 3] - sides[i]
        angle = np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
        assert angle <= 153  # measured on pixels
    assert xs.min() >= box[0] - 2
    assert xs.max() <= box[2] + 2


@pytest.mark.parametrize("style", [{}, {"opacity": 0.6}, {"width": 1}, {"width": 12}])
def test_a_large_rectangle_looks_like_a_small_one(style):
    small, large = (
        np.asarray(mark(black((1400, 1000)), Region(box=box), **style).image)
        for box in [(100.3, 80.6, 500.3, 380.6), (100.3, 80.6, 1200.3, 880.6)]
    )
    # each corner with the sides that meet there
    assert np.array_equal(large[:250, :350], small[:250, :350])
    assert np.array_equal(large[700:, 1000:], small[200:500, 300:700])
    assert np.array_equal(large[:250, 1000:], small[:250, 300:700])
    assert np.array_equal(large[700:, :350], small[200:500, :350])
    assert not large[300:700, 300:1000].any()
    outer = slice(350, 650), slice(None)
    assert np.array_equal(large[outer], np.broadcast_to(large[350], large[outer].shape))
    assert large[400, 80:140].any()
    assert large[400, 1160:1220].any()


@pytest.mark.parametrize(("box", "outer", "width"), [
    ((100, 80, 240, 200), (98, 78, 242, 202), 4),  # 3 pixels of 336 are 3.6 of 400
    ((100.4, 80.6, 240, 200), (98, 79, 242, 202), 4),
    ((0, 0, 400, 300), (0, 0, 400, 300), 4),  # at the border, all of the line stays in the image
])  # fmt: skip
def test_a_rectangle_is_whole_pixels_with_square_corners(box, outer, width):
    wanted = np.zeros((300, 400), bool)
    left, top, right, bottom = outer
    wanted[top:bottom, left:right] = True
    wanted[top + width : bottom - width, left + width : right - width] = False
    image = np.asarray(mark(black(), Region(box=box), color="aqua").image)
    assert np.array_equal((image == (0, 255, 255)).all(axis=2), wanted)
    assert not image[~wanted].any()


def test_a_scribble_keeps_to_its_box():
    for seed in (None, 0, 1, 2, 3):
        ys, xs = np.nonzero(drawn(REGION, "scribble", seed=seed, width=1))
        assert 98 <= xs.min() <= xs.max() <= 242
        assert 78 <= ys.min() <= ys.max() <= 202


def test_a_contour_of_a_polygon_partly_outside_runs_along_its_true_edges():
    region = Region(polygon=[(200, 100), (900, 100), (200, 800)])
    inked = drawn(region, "mask contour")
    assert inked[100, 210:390].mean() > 0.95
    assert inked[110:290, 200].mean() > 0.95
    assert not inked[110:290, 210:390].any()  # the third edge lies outside
    filled = drawn(region, "mask")
    assert filled[101:, 201:].all()
    assert not filled[:98].any()
    huge = drawn(Region(polygon=[(200, 100), (1e15, 100), (200, 1e15)]), "mask")
    assert np.array_equal(huge, filled)


def test_an_arrow_points_at_the_middle_from_where_there_is_room():
    for box in [(0, 0, 60, 60), (340, 0, 400, 60), (0, 240, 60, 300), (340, 240, 400, 300), (170, 120, 230, 180),
                (380, 0, 400, 20)]:  # fmt: skip
        inked = drawn(Region(box=box), "arrow")
        x, y = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
        assert inked[y - 3 : y + 3, x - 3 : x + 3].any()
        ys, xs = np.nonzero(inked)
        assert np.hypot(xs - x, ys - y).max() >= 28 * 400 / 336  # the head alone reaches 18


# --- tiny ---


def test_a_region_below_8_model_pixels_is_warned_about_where_it_was_marked(recwarn):
    image = black((3360, 1000))
    mark(image, [Region(box=(0, 0, 81, 81)), Region(point=(5, 5))])
    assert not recwarn.list
    with pytest.warns(TinyRegionWarning, match=r"7\.9 x 8\.1 px.*zoom='auto'") as caught:
        marked = mark(image, [Region(box=(0, 0, 79, 81)), REGION])
    assert len(caught) == 1
    with pytest.warns(TinyRegionWarning, match=r"8\.1 x 7\.9 px"):
        mark(image, Region(box=(0, 0, 81, 79)))
    assert caught[0].filename == __file__
    assert marked.sizes_seen[0] == pytest.approx((7.9, 8.1))
    with pytest.warns(TinyRegionWarning):
        cut = mark(image, Region(box=(-500, 100, 70, 500)))
    assert cut.sizes_seen == [pytest.approx((7.0, 40.0))]
