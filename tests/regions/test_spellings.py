"""Rows of any origin as people write them: keys in any spelling, units that are stated, what must not be guessed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from langchain_vipllava.regions.detections import regions_from
from tests.regions.layouts.layout import SIZE
from tests.regions.samples import refused

CUP = (300, 100, 400, 200)
PERCENT = (64, 96, 256, 288)
CORNERS = {"xmin": 300, "ymin": 100, "xmax": 400, "ymax": 200}


def one(found, **arguments):
    (region,) = regions_from(found, **arguments)
    return region


@pytest.mark.parametrize(
    "keys",
    [
        ("XMin", "YMin", "XMax", "YMax"),
        ("xMin", "yMin", "xMax", "yMax"),
        ("XMIN", "YMIN", "XMAX", "YMAX"),
        ("minX", "minY", "maxX", "maxY"),
        ("startX", "startY", "endX", "endY"),
        ("Left", "Top", "Right", "Bottom"),
        ("l", "t", "r", "b"),
        ("xtl", "ytl", "xbr", "ybr"),
    ],
)
def test_corners_are_read_in_every_spelling(keys):
    assert one([dict(zip(keys, CUP, strict=True))]).box == CUP


@pytest.mark.parametrize("keys", [("x_center", "y_center", "width", "height"), ("centerX", "centerY", "w", "h")])
def test_centers_are_read_in_every_spelling(keys):
    assert one([dict(zip(keys, (350, 150, 100, 100), strict=True))]).box == CUP


@pytest.mark.parametrize(
    "names",
    [
        {"className": "cup"},
        {"ClassName": "cup"},
        {"class-name": "cup"},
        {"displayName": "cup"},
        {"object_name": "cup"},
        {"label": {"name": "cup", "id": 3}},
        {"label": b"cup"},
        {"labels": ["cup"]},
        {"classId": 1},
    ],
)
def test_labels_are_read_in_every_spelling(names):
    assert one([{**CORNERS, **names}], labels=["tree", "cup"]).label == "cup"


@pytest.mark.parametrize(
    "scores", [{"Confidence": 0.9}, {"scores": [0.9]}, {"confidenceScore": 0.9}, {"score": "90%"}, {"score": "0.9"}]
)
def test_scores_are_read_in_every_spelling(scores):
    assert one([{**CORNERS, **scores}]).score == pytest.approx(0.9)


@pytest.mark.parametrize("flag", [True, 1, "true", "True", np.bool_(True)])
@pytest.mark.parametrize("key", ["normalized", "isNormalized"])
def test_a_flag_of_any_type_says_that_a_box_is_in_fractions(key, flag):
    assert one([{"x": 0.1, "y": 0.2, "w": 0.3, "h": 0.4, key: flag}], image_size=SIZE).box == pytest.approx(PERCENT)


@pytest.mark.parametrize("unit", ["percent", "Percent", "pct", "%"])
def test_a_stated_unit_holds_for_every_kind_of_row(unit):
    for row in (
        {"x": 10, "y": 20, "w": 30, "h": 40},
        {"xyxy": [10, 20, 40, 60]},
        {"polygon": [[10, 20], [40, 20], [40, 60], [10, 60]]},
    ):
        assert one([{**row, "unit": unit}], image_size=SIZE).box == pytest.approx(PERCENT)
        assert one({"Unit": unit, "detections": [row]}, image_size=SIZE).box == pytest.approx(PERCENT)


@pytest.mark.parametrize("row", [CORNERS, {"xyxy": CUP}, {"polygon": [[300, 100], [400, 100], [400, 200]]}])
def test_a_unit_that_is_not_known_is_not_taken_for_pixels(row):
    assert "says unit='inch'" in refused([{**row, "unit": "inch"}])
    assert "says unit='inch'" in refused({"units": "inch", "detections": [row]})


@pytest.mark.parametrize("row", [CORNERS, {"xyxy": CUP}])
@pytest.mark.parametrize(
    "size",
    [
        {"image_width": 1280, "image_height": 960},
        {"imgWidth": 1280, "imgHeight": 960},
        {"image": {"width": 1280, "height": 960}},
        {"orig_shape": [960, 1280]},
        {"image_size": [1280, 960]},
        {"image_size": [960, 1280]},
        {"img_size": {"width": 1280, "height": 960}},
    ],
)
def test_pixels_of_an_image_of_another_size_are_refused(row, size):
    for found in ([{**row, **size}], {**size, "detections": [row]}):
        assert "960" in refused(found, image_size=SIZE)
        assert one(found, image_size=(1280, 960)).box == CUP


def test_the_width_and_height_around_rows_are_those_of_the_image_and_in_a_row_those_of_its_box():
    row = {"xyxy": CUP, "width": 100, "height": 100, "size": {"width": 100, "height": 100}}
    assert one([row], image_size=SIZE).box == CUP
    assert "1280 x 960" in refused({"width": 1280, "height": 960, "detections": [row]}, image_size=SIZE)


def test_a_mask_with_the_noise_of_a_jpeg_is_cut_in_the_middle():
    mask = np.full((480, 640), 3, np.uint8)
    mask[100:200, 300:400] = 255
    assert one([{"label": "cup", "mask": mask}]).box == CUP


def test_predictions_beside_the_name_of_an_image_are_not_roboflows():
    row = {"x": 300, "y": 100, "width": 100, "height": 100, "label": "cup", "score": 0.9}
    assert one({"image": "a.jpg", "predictions": [row]}).box == CUP
    assert "Roboflow" in refused({"image": "a.jpg", "predictions": [{**row, "class": "cup", "confidence": 0.9}]})


def test_fractions_are_read_whatever_the_size_of_the_image_was():
    row = {"xyxyn": [0.1, 0.2, 0.4, 0.6], "image_width": 1280, "image_height": 960}
    assert one([row], image_size=SIZE).box == pytest.approx(PERCENT)


@pytest.mark.parametrize("angle", [{"theta": 0.5}, {"angle": 30}, {"rotation": 30}, {"Angle": 30}, {"rad": 0.5}])
def test_a_turned_box_at_x_and_y_is_asked_for_its_origin(angle):
    row = {"x": 300, "y": 200, "w": 200, "h": 40, **angle}
    assert "box_format='cxcywh' or 'xywh'" in refused([row])
    about_center = one([row], box_format="cxcywh").polygon
    assert np.mean(about_center, axis=0) == pytest.approx((300, 200))
    assert np.mean(one([row], box_format="xywh").polygon, axis=0) == pytest.approx((400, 220))


@pytest.mark.parametrize("key", ["angle", "rotation", "rot", "r", "Rotation"])
def test_a_small_angle_without_a_unit_is_not_guessed(key):
    row = {"cx": 300, "cy": 200, "w": 200, "h": 40, key: 0.5}
    assert "'angle_degrees' or 'angle_radians'" in refused([row])
    turned = one([{**row, "angle_unit": "radians"}])
    assert turned.polygon == one([{"cx": 300, "cy": 200, "w": 200, "h": 40, "theta": 0.5}]).polygon


@pytest.mark.parametrize("key", ["filename", "image_id", "ImageID", "frame"])
def test_rows_of_several_images_are_refused(key):
    rows = [{**CORNERS, key: image} for image in ("a", "b", "b")]
    assert "2 images" in refused(rows)
    assert len(regions_from(rows[1:])) == 2


@pytest.mark.parametrize(
    "failed",
    [
        {"success": False, "predictions": []},
        {"status": "failed", "detections": []},
        {"code": 500, "data": []},
        {"error": "out of memory", "results": []},
    ],
)
def test_an_empty_output_of_a_detector_that_failed_is_not_nothing_detected(failed):
    refused(failed)
    refused(json.dumps(failed))


def test_an_empty_output_of_a_detector_that_succeeded_is_nothing_detected():
    assert regions_from({"success": True, "code": 0, "status": "ok", "predictions": []}) == []


@pytest.mark.parametrize("mask", [np.zeros((480, 640)), np.zeros((480, 640), bool), [], None])
def test_a_row_whose_mask_is_empty_is_its_box(mask):
    row = {"label": "cup", "score": 0.9, "bbox": [0.1, 0.2, 0.4, 0.6], "mask": mask}
    region = one([row], image_size=SIZE, box_format="xyxyn")
    assert (region.label, region.score, region.mask) == ("cup", 0.9, None)
    assert region.box == pytest.approx(PERCENT)
    assert one([{"label": "cup", "box": CORNERS, "mask": mask}], image_size=SIZE).box == CUP


@pytest.mark.parametrize("values", [(-5.0, 5.0, 5.0), (0.0, 130.0, 255.0)])
def test_a_float_mask_that_holds_no_probabilities_is_not_cut_at_their_threshold(values):
    mask = np.zeros((480, 640))
    mask[100:200, 300:400], mask[:100], mask[200:] = values[2], values[0], values[1]
    assert "mask > 0" in refused([{"label": "cup", "mask": mask}])
    refused(mask[None])
    assert one([{"label": "cup", "mask": (mask == values[2]) * 255.0}]).mask[150, 350]


@pytest.mark.parametrize("key", ["holes", "interiors", "interior"])
def test_a_hole_beside_a_polygon_is_cut_out(key):
    outer, hole = [[300, 100], [400, 100], [400, 200], [300, 200]], [[320, 120], [380, 120], [380, 180], [320, 180]]
    for row in ({"polygon": outer, key: [hole]}, {"xyxy": CUP, "polygon": outer, key: [hole]}):
        mask = one([row], image_size=SIZE).mask
        assert mask[110, 310]
        assert not mask[150, 350]
    region = one([{"polygon": {"exterior": outer, "interior": [hole]}, "label": "cup"}], image_size=SIZE)
    assert region.label == "cup"
    assert not region.mask[150, 350]


def test_an_angle_in_text_is_an_angle_and_a_word_is_none():
    turned = {"cx": 300, "cy": 200, "w": 200, "h": 40}
    assert one([{**turned, "rotation": "30"}]).polygon == one([{**turned, "rotation": 30}]).polygon
    assert one([{**turned, "orientation": "vertical"}]).polygon is None


def test_digits_under_a_class_key_are_a_class_and_under_a_text_key_a_text():
    assert one([{**CORNERS, "class": "1"}], labels=["tree", "cup"]).label == "cup"
    assert one([{**CORNERS, "text": "1"}], labels=["tree", "cup"]).label == "1"


def test_rois_without_masks_are_asked_for_their_order():
    found = {"rois": np.array([[300, 100, 400, 200]]), "class_ids": np.array([1]), "scores": np.array([0.9])}
    assert "box_format='yxyx' or 'xyxy'" in refused([found])
    assert one([found], box_format="xyxy").box == CUP
    assert one([found], box_format="yxyx").box == (100, 300, 200, 400)
    assert one(found, format="mask-rcnn").box == (100, 300, 200, 400)


def test_a_missing_value_of_pandas_is_missing():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({**{key: [value] for key, value in CORNERS.items()}, "name": pd.array([None], dtype="string")})
    frame["score"] = pd.array([None], dtype="Float64")
    assert (one(frame).label, one(frame).score) == (None, None)


@pytest.mark.parametrize("text", ["007", "1e5", "12.50"])
def test_a_text_that_was_read_keeps_its_digits_in_csv(text):
    assert one(f"text,xmin,ymin,xmax,ymax\n{text},300,100,400,200\n").label == text


@pytest.mark.parametrize(
    "table",
    [
        ",label,xmin,ymin,xmax,ymax\n0,cup,300,100,400,200\n",
        "label|xmin|ymin|xmax|ymax\ncup|300|100|400|200\n",
        'label,score,xyxy\ncup,0.9,"[300, 100, 400, 200]"\n',
        "Label,XMin,YMin,XMax,YMax,Score\ncup,300,100,400,200,0.9\n",
    ],
)
def test_tables_of_every_dialect_are_read(table):
    region = one(table)
    assert (region.box, region.label) == (CUP, "cup")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_a_file_is_read_in_every_encoding_of_unicode(tmp_path, encoding):
    path = tmp_path / "cup.json"
    path.write_bytes(json.dumps([{**CORNERS, "label": "cup"}]).encode(encoding))
    assert one(path).label == "cup"


def test_a_size_beside_the_file_name_of_a_table_is_that_of_the_image():
    table = "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,1280,960,cup,300,100,400,200\n"
    assert "1280 x 960" in refused(table, image_size=SIZE)


def test_the_end_of_the_sequence_is_no_part_of_the_text_that_florence_read():
    quads = {"quad_boxes": [[300, 100, 400, 100, 400, 200, 300, 200]], "labels": ["</s>cup"]}
    assert one({"<OCR_WITH_REGION>": quads}).label == "cup"


def test_blocks_of_textract_without_ids_are_read():
    box = {"Left": 0.1, "Top": 0.2, "Width": 0.3, "Height": 0.4}
    word = {"BlockType": "WORD", "Text": "cup", "Confidence": 90.0, "Geometry": {"BoundingBox": box}}
    region = one({"Blocks": [word, {**word, "BlockType": "LINE"}]}, image_size=SIZE)
    assert (region.label, region.score) == ("cup", 0.9)
    assert region.box == pytest.approx(PERCENT)


@pytest.mark.parametrize(
    "classes", [[[], [[300, 100, 400, 200, 0.9]]], [[[1, 2, 30, 40, 0.5]], [[300, 100, 400, 200, 0.9]]]]
)
def test_lists_of_mmdet_2_are_told_their_reader(classes):
    assert "format='mmdet2'" in refused(classes)
    region = regions_from(classes, format="mmdet2", labels=["tree", "cup"])[-1]
    assert (region.box, region.label, region.score) == (CUP, "cup", 0.9)
