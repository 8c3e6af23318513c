"""What the model sees of a marker: drawn, padded, and through a real CLIP image processor."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import Region, TinyRegionWarning, mark, pad_to_square

COLORS = {
    "red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0), "fuchsia": (255, 0, 255),
    "aqua": (0, 255, 255), "orange": (255, 165, 0), "purple": (128, 0, 128), "gold": (255, 215, 0),
}  # fmt: skip
KINDS = ("rectangle", "ellipse", "triangle", "point", "scribble", "mask contour", "mask", "arrow")
LINES = tuple(kind for kind in KINDS if kind not in ("point", "mask"))
SIZES = [(64, 64), (96, 288), (336, 336), (231, 500), (1200, 400), (4000, 3000)]
MASK_OPACITY = 128 / 255


@pytest.fixture(scope="module")
def see():
    """The model's 336 x 336 view of an image, in 0..255."""
    from transformers import CLIPImageProcessor

    side = {"height": 336, "width": 336}
    processor = CLIPImageProcessor(size={"shortest_edge": 336}, crop_size=side)
    mean, std = np.array(processor.image_mean), np.array(processor.image_std)

    def view(image):
        values = processor(pad_to_square(image), return_tensors="np")["pixel_values"][0]
        return (values.transpose(1, 2, 0) * std + mean) * 255

    return view


def grid(size):
    """Nine boxes, three by three."""
    cell_x, cell_y = size[0] / 3, size[1] / 3
    return [
        Region(box=((i + 0.2) * cell_x, (k + 0.2) * cell_y, (i + 0.8) * cell_x, (k + 0.8) * cell_y))
        for k in range(3)
        for i in range(3)
    ]


def in_view(box, size):
    """A box of the image in pixels of the model's square."""
    side = max(size)
    shift = np.array([(side - size[0]) // 2, (side - size[1]) // 2] * 2)
    return (np.array(box) + shift) * 336 / side


def recognisable(before, after, color, opacity, window):
    """Whether pixels changed in the window, to something that is nearest to this color of the nine."""
    x0, y0, x1, y1 = window
    left, top, right, bottom = max(int(x0), 0), max(int(y0), 0), int(np.ceil(x1)), int(np.ceil(y1))
    before, after = before[top:bottom, left:right], after[top:bottom, left:right]
    ink = (after - (1 - opacity) * before) / opacity
    away = np.stack([np.linalg.norm(ink - rgb, axis=2) for rgb in COLORS.values()])
    changed = np.linalg.norm(after - before, axis=2) > 12
    hits = changed & (away.argmin(axis=0) == list(COLORS).index(color)) & (away.min(axis=0) < 60)
    return int(hits.sum())


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_kind_in_every_color_is_recognisable_where_the_model_looks(size, photo, see):
    image = photo.resize(size)
    before = see(image)
    regions = grid(size)
    for kind in KINDS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TinyRegionWarning)
            marked = mark(image, regions, kind=kind)
        after = see(marked.image)
        for region, marker in zip(regions, marked.markers, strict=True):
            opacity = MASK_OPACITY if kind == "mask" else 1
            window = in_view(region.box, size) + np.array([-4, -4, 4, 4])
            assert recognisable(before, after, marker.color, opacity, window) >= 6, (kind, marker.color)


def edges(size):
    """Boxes at corners and borders, partly outside, tiny, flat, tall, and points in the corners."""
    w, h = size
    a, b = w / 5, h / 5
    boxes = [(0, 0, a, b), (w - a, 0, w, b), (0, h - b, a, h), (w - a, h - b, w, h), (0, 2 * b, a / 4, 3 * b),
             (2 * a, h - b / 4, 3 * a, h), (-a, -b, a / 2, b / 2), (w - a / 2, h - b / 2, 3 * w, 3 * h),
             (0, 0, w, h), (-w, -h, 2 * w, 2 * h), (0, h / 2, w, h / 2 + 1), (w / 2, 0, w / 2 + 1, h),
             (0, 0, 1, 1), (w - 1, h - 1, w, h), (w / 2, h / 2, w / 2 + 1, h / 2 + 1)]  # fmt: skip
    points = [(0, 0), (w, 0), (0, h), (w, h), (w / 2, h / 2), (w - 0.5, h / 2)]
    return [*(Region(box=box) for box in boxes), *(Region(point=point) for point in points)]


@pytest.mark.parametrize("size", [(64, 64), (150, 50), (240, 720)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::langchain_vipllava.TinyRegionWarning")
def test_no_region_at_the_border_loses_its_marker(size, kind, see):
    image = Image.new("RGB", size, (90, 110, 100))
    before = see(image)
    tiny = 336 / max(size) < 2  # a tiny region is a mask of less than two model pixels: it gets a warning instead
    for region in edges(size):
        sides = np.subtract(region.box[2:], region.box[:2])
        if kind == "mask" and tiny and 0 < sides.min() <= 1:
            continue
        marked = mark(image, region, kind=kind, color="red")
        opacity = MASK_OPACITY if kind == "mask" else 1
        hits = recognisable(before, see(marked.image), "red", opacity, (0, 0, 336, 336))
        assert hits >= 3, region


# --- line widths ---


def line_width(ink):
    """Width of the lines in an ink of 0..1: twice the depth of their middles, in model pixels."""
    inside = (cv2.resize(ink, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC) > 0.5).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    ridge = (depth >= cv2.dilate(depth, np.ones((3, 3), np.uint8))) & (depth >= 0.5 * depth.max())
    return 2 * float(np.median(depth[ridge])) / 4


def drawn_width(size, kind, see, **style):
    image, middle = Image.new("RGB", size), np.array(size) / 2
    reach = 20 * max(size) / 336 if kind == "arrow" else 0.3 * np.array(size)
    region = Region(box=(*(middle - reach), *(middle + reach)))
    marked = mark(image, region, kind=kind, color="red", opacity=1, **style)
    ink = (see(marked.image) - see(image))[..., 0] / 255
    if kind == "arrow":  # its head lies around the region's middle
        rows, columns = np.ogrid[:336, :336]
        ink[(rows - 168) ** 2 + (columns - 168) ** 2 < 24**2] = 0
    return line_width(ink)


@pytest.mark.parametrize("size", [(64, 64), (96, 288), (168, 100), (250, 250), (336, 336), (1200, 400)], ids=str)
def test_lines_are_2_to_8_pixels_wide_where_the_model_looks(size, see):
    for kind in LINES:
        for style in ({}, {"width": 2 if kind == "arrow" else 8}):
            assert 1.8 <= drawn_width(size, kind, see, **style) <= 8.3, (kind, style)


@pytest.mark.parametrize("size", [(336, 336), (1000, 1000), (1500, 500)], ids=str)
def test_a_width_is_the_width_where_the_model_looks(size, see):
    for kind in ("rectangle", "ellipse", "mask contour"):
        for width in (2, 4, 8, 12):
            near = 1.7 if size[0] == 336 else 0.8  # cv2's lines come in steps of two pixels
            assert drawn_width(size, kind, see, width=width) == pytest.approx(width, abs=near), (kind, width)


@pytest.mark.parametrize("size", [(336, 336), (1000, 500)], ids=str)
def test_a_radius_is_the_radius_where_the_model_looks(size, see):
    region = Region(box=(size[0] * 0.3, size[1] * 0.3, size[0] * 0.7, size[1] * 0.7))
    for radius in (5, 8, 20):
        view = see(mark(Image.new("RGB", size), region, kind="point", radius=radius).image)
        inside = view[120:216, 60:276, 0].clip(0, 255).sum() / 255
        assert (inside / np.pi) ** 0.5 == pytest.approx(radius, abs=0.8)


# --- the pixels around ---


def changed_box(marked):
    changed = (np.asarray(marked.image) != np.asarray(marked.original)).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


@pytest.mark.parametrize("size", [(64, 64), (1200, 400), (4000, 3000)], ids=str)
def test_pixels_away_from_the_marker_stay_as_they_are(size):
    w, h = size
    scale = max(size) / 336
    noise = np.random.default_rng(0).integers(0, 256, (h, w, 3), dtype=np.uint8)
    box = (w * 0.4, h * 0.45, w * 0.55, h * 0.6)
    reach = {"arrow": 50 + 16, "point": 20, "ellipse": 0.25 * max(w * 0.15, h * 0.15) / scale, "mask": 0}
    image = Image.fromarray(noise)
    for kind in KINDS if w < 4000 else ("ellipse", "mask", "arrow"):
        for style in ({}, {"seed": 5}) if w < 4000 else ({},):
            left, top, right, bottom = changed_box(mark(image, Region(box=box), kind=kind, **style))
            near = reach.get(kind, 0) * scale + (5 * scale + 3 if kind != "mask" else 1)
            assert box[0] - near <= left < right <= box[2] + near, (kind, style)
            assert box[1] - near <= top < bottom <= box[3] + near, (kind, style)


def test_a_translucent_marker_changes_only_what_lies_under_it(photo):
    region = Region(box=(100, 100, 300, 260))
    for kind in KINDS:
        original = np.asarray(photo)
        touched = []
        for opacity in (0.4, 1):
            marked = np.asarray(mark(photo, region, kind=kind, color="lime", opacity=opacity).image)
            touched.append((marked != original).any(axis=2))
        # where only the opaque one shows, the ink is its own color already or all but transparent
        assert not (touched[0] & ~touched[1]).any(), kind
        assert touched[0].sum() > 0.8 * touched[1].sum(), kind


def test_the_inside_of_a_rectangle_is_left_free(photo):
    marked = np.asarray(mark(photo, Region(box=(100, 100, 300, 260))).image)
    assert np.array_equal(marked[106:254, 106:294], np.asarray(photo)[106:254, 106:294])
    assert np.array_equal(marked[:94], np.asarray(photo)[:94])
