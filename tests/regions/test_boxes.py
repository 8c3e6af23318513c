"""Boxes: their layouts, what is clipped, and what is refused as ambiguous or broken."""

from __future__ import annotations

import json

import numpy as np
import pytest

from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.region import Region
from tests.regions.samples import (
    BY_ID,
    CAT,
    SIZE,
    at,
    coco_results,
    fractions,
    hf_object_detection,
    refused,
    rekognition,
    roboflow,
    sam,
    supervision,
    tensor,
    xywh,
)

LAYOUTS = {
    "xyxy": list(CAT),
    "xywh": [20, 10, 40, 40],
    "cxcywh": [40, 30, 40, 40],
    "xyxyn": [0.1, 0.1, 0.3, 0.5],
    "xywhn": [0.1, 0.1, 0.2, 0.4],
    "cxcywhn": [0.2, 0.3, 0.2, 0.4],
}


@pytest.mark.parametrize(("box_format", "box"), LAYOUTS.items())
def test_bare_boxes_are_read_with_box_format(box_format, box):
    for found in (box, [box], np.array(box), np.array([box]), tensor([box]), [tensor(box)]):
        (region,) = regions_from(found, box_format=box_format, image_size=SIZE)
        assert region.box == pytest.approx(CAT, abs=1e-4)


@pytest.mark.parametrize("found", [np.array([[20, 10, 40, 40]], np.int32), [20, 10, 40, 40], [[20, 10, 40, 40, 0.5]]])
def test_bare_boxes_are_refused_without_box_format(found):
    refused(found, "box_format=", "xywh", "OpenCV")


def test_columns_five_and_six_are_score_and_class():
    (region,) = regions_from(np.array([[*CAT, 0.5, 17]]), box_format="xyxy", labels=BY_ID)
    assert (region.score, region.label) == (0.5, "cat")
    (region,) = regions_from(np.array([[*CAT, 0.25]]), box_format="xyxy")
    assert (region.score, region.label) == (0.25, None)


@pytest.mark.parametrize(
    ("sample", "box_format"),
    [
        (coco_results, "xyxy"),
        (hf_object_detection, "xywh"),
        (sam, "cxcywh"),
        (supervision, "xywh"),
        (rekognition, "xywh"),
    ],
)
def test_a_box_format_that_contradicts_the_format_is_refused(sample, box_format):
    refused(sample(1), f"box_format='{box_format}' contradicts", box_format=box_format, image_size=SIZE)


def test_an_unknown_box_format_is_refused():
    refused(hf_object_detection(1), "box_format=", "cxcywhn", box_format="xyhw")


def test_fractions_read_as_pixels_are_refused():
    found = {"boxes": tensor([fractions(CAT)]), "scores": tensor([0.5]), "labels": tensor([17])}
    refused(found, "box_format='xyxyn'", "image_size=")
    assert regions_from(found, box_format="xyxyn", image_size=SIZE)[0].box == pytest.approx(CAT)
    refused([{**coco_results(1)[0], "bbox": fractions(xywh(CAT))}], "box_format='xywhn'")
    refused([[0.1, 0.1, 0.3, 0.5]], "'xyxyn'", box_format="xyxy")


def test_pixels_read_as_fractions_are_refused():
    refused("0 100 40 30 20", "expected values in 0..1", image_size=SIZE)
    refused("0 10 10 50 10 50 50 9 60", "expected values in 0..1", image_size=SIZE)
    refused([[10, 20, 30, 40]], "expected values in 0..1", box_format="xyxyn", image_size=SIZE)


@pytest.mark.parametrize(
    "corners",
    [
        {"xmin": 20, "ymin": 10, "xmax": 60, "ymax": 50},
        {"x_min": 20, "y_min": 10, "x_max": 60, "y_max": 50},
        {"x0": 20, "y0": 10, "x1": 60, "y1": 50},
        {"x1": 20, "y1": 10, "x2": 60, "y2": 50},
        {"left": 20, "top": 10, "right": 60, "bottom": 50},
        {"left": 20, "top": 10, "width": 40, "height": 40},
        {"x": 20, "y": 10, "width": 40, "height": 40},
        {"x": 20, "y": 10, "w": 40, "h": 40},
        {"cx": 40, "cy": 30, "w": 40, "h": 40},
    ],
)
def test_dicts_that_name_their_corners(corners):
    for row in ({**corners, "label": "cat"}, {"bbox": corners, "name": "cat"}, {"box": corners, "class": "cat"}):
        (region,) = regions_from([row])
        assert (region.box, region.label) == (CAT, "cat")


def test_dicts_with_four_unnamed_numbers_need_box_format():
    found = [{"label": "cat", "bbox": [20, 10, 40, 40], "score": 0.5}]
    refused(found, "box_format=")
    (region,) = regions_from(json.dumps(found), box_format="xywh")
    assert (region.box, region.label, region.score) == (CAT, "cat", 0.5)


def test_rows_that_roboflow_and_others_write_alike_are_refused():
    rows = roboflow(1)["predictions"]
    refused(rows, "box_format='cxcywh'")
    assert regions_from(rows, box_format="cxcywh")[0].box == CAT
    assert regions_from(rows, box_format="xywh")[0].box == (40, 30, 80, 70)


def test_boxes_that_stick_out_are_clipped():
    assert regions_from(at((-5, -3, 205, 50)), image_size=SIZE)[0].box == (0, 0, 200, 50)
    assert regions_from(at((-5, -3, 205, 50)))[0].box == (-5, -3, 205, 50)


def test_polygons_keep_their_points_and_their_box_is_clipped():
    found = {"shapes": [{"label": "a", "points": [[-5, -5], [50, 0], [0, 50]], "shape_type": "polygon"}]}
    (region,) = regions_from(found, image_size=SIZE)
    assert region.box == (0, 0, 50, 50)
    assert region.polygon[0] == (-5, -5)


@pytest.mark.parametrize("box", [(300, 10, 340, 50), (10, 100, 40, 140), (-50, 10, 0, 40)])
def test_boxes_outside_the_image_are_refused(box):
    found = hf_object_detection(2) + at(box)
    refused(found, "row 2 of the", str(float(box[0])), "200 x 100", "box_format", image_size=SIZE)


@pytest.mark.parametrize(
    ("box", "word"),
    [
        ((float("nan"), 0, 10, 10), "NaN"),
        ((float("-inf"), 0, 10, 10), "infinity"),
        ((50, 10, 20, 40), "inverted or empty"),
        ((50, 10, 50, 40), "inverted or empty"),
        ((0, 0, 0, 0), "inverted or empty"),
        (("a", 0, 1, 2), "expected"),
        ((None, 0, 1, 2), "expected"),
    ],
)
def test_boxes_that_are_none_are_refused(box, word):
    refused(hf_object_detection(1) + at(box), "row 1 of the", word)
    refused(hf_object_detection(1) + at(box), "row 1 of the", word, image_size=SIZE)


def test_scores_that_are_none_are_refused():
    refused(at(CAT, score=float("nan")), "row 0", "score")
    refused(at(CAT, score="high"), "row 0", "score")


def test_rows_of_another_kind_are_named():
    refused([*hf_object_detection(1), {"score": 1, "label": "x"}], "row 1 of the transformers", "'box' is missing")
    refused([*hf_object_detection(1), 7], "row 1 of the", "int 7")
    refused([*coco_results(1), {"image_id": 1, "category_id": 3}], "row 1 of the COCO result", "'bbox' is missing")
    refused([Region(box=CAT), "x"], "row 1", "Region")


def test_fractions_that_stick_out_a_little_are_not_pixels():
    refused({"boxes": [[0.2, 0.1, 1.0004, 0.9]], "scores": [0.9], "labels": [1]}, "xyxyn", image_size=SIZE)
    (tiny,) = regions_from({"boxes": [[0, 0, 2, 1]], "scores": [0.9], "labels": [1]}, image_size=SIZE)
    assert tiny.box == (0, 0, 2, 1)


def test_a_turned_box_with_named_corners_is_all_four_of_them():
    corners = {"x1": 100, "y1": 50, "x2": 180, "y2": 70, "x3": 175, "y3": 120, "x4": 95, "y4": 100}
    (ship,) = regions_from([{"name": "ship", "class": 1, "confidence": 0.5, "box": corners}], image_size=(640, 480))
    assert ship.box == (95, 50, 180, 120)
    assert ship.polygon == ((100, 50), (180, 70), (175, 120), (95, 100))
    assert (ship.label, ship.score) == ("ship", 0.5)


@pytest.mark.parametrize(
    ("layout", "numbers"), [("xyxy", [1, 2, 30, 40]), ("xywh", [1, 2, 29, 38]), ("cxcywh", [15.5, 21, 29, 38])]
)
def test_rows_whose_key_says_the_layout(layout, numbers):
    row = {layout: numbers, "label": "cat", "score": 0.9}
    for count in (1, 2):
        assert regions_from([row] * count) == [Region(box=(1, 2, 30, 40), label="cat", score=0.9)] * count


def test_a_row_that_lacks_the_key_of_its_fellows_is_named():
    refused([{"xyxy": [1, 2, 30, 40]}, {"label": "cat"}], "row 1 of the", "'xyxy' is missing")
