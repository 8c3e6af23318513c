"""What looks like a format and is another, or has a part that no region can hold: never read as something else."""

from __future__ import annotations

import json

import pytest

from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.limits import RegionLimits
from langchain_vipllava.regions.recognition import recognize
from langchain_vipllava.regions.region import Region
from tests.regions.samples import refused

SIZE = (640, 480)
QUAD = [[10, 10], [50, 10], [50, 30], [10, 30]]
CUP = {"label": "cup", "bbox": [64, 96, 256, 288]}


def format_of(found):
    return recognize(found, RegionLimits()).format.name


@pytest.mark.parametrize(
    "text",
    [
        "The cup is at [100, 200, 300, 400].",
        "[[100,200,300,400]] is the cup",
        "<box>100 200 400</box>",
        "<point>here</point>",
        '<point x="10" alt="cup">cup</point>',
        "<points coords='1 1 100'>cup</points>",
        "<loc_1><loc_2><loc_3>",
        "<loc0001><loc0002><loc0003>",
        "<object><patch_index_0001></object>",
        "<ref>cup</ref>",
        "<html><body>Not found</body></html>",
        "There is no cup.",
        "```json\nnothing\n```",
        "cup 1 2",
        "a b c d",
        "1 2 3 4 5",
        "level\tpage_num\n1\t1",
        "frame,id,x\n1,2,3",
    ],
)
def test_text_that_is_none_of_the_layouts_is_refused(text):
    assert len(refused(text, image_size=SIZE)) < 500


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([{"box_2d": [0.1, 0.2, 0.5, 1200], "label": "cup"}], "0..1000"),
        ([{"box_2d": [0.1, 0.2, 0.5, 0.6], "label": "cup"}], "0..1000"),
        ([{"bbox_2d": [10, 20, 30, 40]}], "qwen3"),
        ([{"point_2d": [10, 20]}], "qwen3"),
        ({"objects": [{"x_min": 10, "y_min": 20, "x_max": 300, "y_max": 400}]}, "0..1"),
        ({"points": [{"x": 10, "y": 20}]}, "0..1"),
        ([("a cup", (0, 5), [(10, 20, 300, 400)])], "0..1"),
        ("<ref>cup</ref><box>[[100, 200, 400, 1600]]</box>", "0..1000"),
        ('<point x="120.0" y="20.0" alt="cup">cup</point>', "0..100"),
        ("<loc1030><loc0000><loc0512><loc0512> cup", "1023"),
    ],
    ids=str,
)
def test_numbers_that_the_model_cannot_mean_are_refused(found, words):
    refused(found, words, image_size=SIZE)


@pytest.mark.parametrize("found", [[CUP], {"detections": [CUP]}, {"image": "a.png", "objects": [CUP]}], ids=str)
def test_boxes_of_a_language_model_whose_layout_nobody_says_are_asked_about(found):
    refused(found, "box_format=", image_size=SIZE)
    text = f"Sure!\n```json\n{json.dumps(found)}\n```"
    refused(text, "box_format=", image_size=SIZE)
    assert regions_from(text, box_format="xyxy") == [Region(box=(64, 96, 256, 288), label="cup")]


def test_a_layout_said_beside_the_rows_holds_for_them():
    found = {"box_format": "xywh", "detections": [CUP]}
    assert regions_from(found) == [Region(box=(64, 96, 320, 384), label="cup")]
    refused(found, "contradicts", box_format="xyxy")


def test_an_answer_that_was_cut_short_is_not_read_in_part():
    whole = json.dumps([{"box_2d": [100, 200, 300, 400], "label": "cup"}] * 3)
    for end in range(1, len(whole)):
        for text in (whole[:end], f"```json\n{whole[:end]}", f"Here:\n{whole[:end]}"):
            refused(text, image_size=SIZE)
    assert len(regions_from(f"Here:\n{whole}\nDone [3].", image_size=SIZE)) == 3


def test_several_answers_in_one_text_are_not_mixed():
    block = f"```json\n{json.dumps([CUP])}\n```"
    refused(f"{block}\nor\n{block}", "2 blocks of JSON", box_format="xyxy")
    refused(f"First: {json.dumps([CUP])}\nthen: {json.dumps([CUP])}", "2 values of JSON", box_format="xyxy")


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ([[QUAD, "EXIT"]], "EasyOCR rows [outline, text, score]"),
        ([[QUAD, ("EXIT", 0.9)]], "PaddleOCR 2 rows [outline, (text, score)]"),
        ([("EXIT", QUAD)], "keras-ocr rows (text, outline)"),
        ([("EXIT", 0.9, [0.1, 0.2, 0.3, 0.4])], "ocrmac rows (text, score, box) of Apple Vision"),
        ([("a cup", (0, 5), [(0.1, 0.2, 0.3, 0.4)])], "Kosmos-2 entities"),
        ("0 .1 .1 .2 .1 .2 .2 .1 .2", "YOLO text"),
        ("10 10 20 10 20 20 10 20 ship 0", "DOTA text"),
        ("c 10 20 30 40 0", "tesseract image_to_boxes text"),
        ("7 10 20 30 40 0", "tesseract image_to_boxes text"),
        ("1,2,10,20,30,40,0.5,-1,-1,-1", "MOT Challenge text"),
        ("Car 0 0 1.85 387.63 181.54 423.81 203.12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57", "KITTI text"),
        ({"predictions": [{"displayNames": [], "bboxes": []}]}, "Vertex AI prediction"),
        ({"predictions": [{"labels": [], "scores": [], "bboxes": []}]}, "mmdet result"),
    ],
    ids=str,
)
def test_neighbors_are_told_apart(found, name):
    assert format_of(found) == name


def test_a_fraction_is_no_confidence_of_tesseract():
    row = {"left": 10, "top": 20, "width": 60, "height": 28, "text": "a"}
    assert regions_from([{**row, "conf": 0.9}])[0].score == 0.9
    assert regions_from([{**row, "conf": 90.0}])[0].score == 0.9
    assert regions_from([{**row, "conf": 0.9, "level": 5}])[0].score == pytest.approx(0.009)


def test_words_that_tesseract_did_not_read_are_left_out_and_numbers_stay_text():
    def column(text, conf=90):
        row = {"level": 5, "left": 10, "top": 20, "width": 60, "height": 28, "conf": conf, "text": text}
        return {name: [value] for name, value in row.items()}

    assert regions_from(column("")) == regions_from(column("  ")) == regions_from(column("a", conf=-1)) == []
    assert [regions_from(column(text))[0].label for text in ("007", 2024, 2024.0)] == ["007", "2024", "2024"]
    header = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n"
    assert regions_from(header + '5\t1\t1\t1\t1\t1\t10\t20\t60\t28\t90\t"007\n')[0].label == '"007'


@pytest.mark.parametrize(
    "line",
    [
        "0 .1 .1 .9 .1 .9 .9 .1 .9 .05 .5 .04 .3",  # six points of an outline, and no box with four keypoints
        "0 "
        + " ".join(f"{x} {y}" for x, y in zip([0.2, 0.3, 0.4, 0.5, 0.4, 0.3, 0.2], [0.2] * 3 + [0.3] * 4, strict=True)),
        "0 .5 .5 .52 .5 .52 .52 .5 .52 .49 .51 .48 .51",
    ],
    ids=len,
)
def test_an_outline_in_yolo_text_is_no_pose(line):
    (region,) = regions_from(line, image_size=SIZE)
    assert len(region.polygon) == (len(line.split()) - 1) // 2
    assert regions_from(line, image_size=SIZE, format="yolo-seg") == [region]


def predicted_pose(tail=""):
    """A line as Ultralytics saves a prediction: COCO's 17 keypoints, each with its confidence."""
    places = [(0.35 + 0.075 * (n % 5), 0.15 + 0.7 * n / 16, 0.5 + 0.02 * n) for n in range(17)]
    return "0 0.5 0.5 0.4 0.8 " + " ".join(f"{x:.4f} {y:.4f} {c:.3f}" for x, y, c in places) + tail


@pytest.mark.parametrize(("tail", "score", "id"), [("", None, None), (" 0.93", 0.93, None), (" 0.93 4", 0.93, "4")])
def test_a_predicted_pose_is_its_box_with_its_score_and_track(tail, score, id):
    (region,) = regions_from(predicted_pose(tail), image_size=SIZE)
    assert region == Region(box=(192, 48, 448, 432), label="class 0", score=score, id=id)


def test_a_line_with_very_many_numbers_is_decided_at_once():
    line = "0 .5 .5 .4 .4 " + ".35 .35 1 .65 .65 1 " * 15_000
    refused(line, "yolo-pose", image_size=SIZE)


def test_poses_and_outlines_in_one_file_of_yolo_are_told_apart_by_all_lines():
    pose = "0 0.64 0.55 0.1 0.06 0.6 0.52 0.65 0.53 0.68 0.55 0.69 0.58"
    assert [region.polygon for region in regions_from(f"{pose}\n{pose}", image_size=SIZE)] == [None, None]
    outline = "0 .1 .1 .9 .1 .9 .9 .1 .9"
    assert all(region.polygon for region in regions_from(f"{outline}\n{outline} .5 .5", image_size=SIZE))


def test_deleted_objects_of_labelme_are_left_out():
    def thing(name, deleted):
        points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((1, 2), (30, 2), (30, 40)))
        return f"<object><name>{name}</name><deleted>{deleted}</deleted><polygon>{points}</polygon></object>"

    size = "<imagesize><nrows>480</nrows><ncols>640</ncols></imagesize>"
    text = f"<annotation>{thing('cup', 0)}{thing('spoon', 1)}{size}</annotation>"
    assert [region.label for region in regions_from(text, image_size=SIZE)] == ["cup"]
    refused(text, "640 x 480", image_size=(480, 640))


@pytest.mark.parametrize(
    "found",
    [
        {"Labels": [{"Name": "sea"}], "ModerationLabels": []},
        {"responses": []},
        {"responses": [{}]},
        {"FaceDetails": []},
        {"TextDetections": []},
        {"Blocks": []},
        {"objectsResult": {"values": []}},
        {"dt_polys": [], "rec_texts": [], "rec_scores": [], "rec_polys": [], "rec_boxes": []},
        {"text_lines": [], "image_bbox": [0, 0, 640, 480]},
        {"pages": [{"blocks": [], "page_idx": 0, "dimensions": [480, 640]}]},
        {"level": [1], "left": [0], "top": [0], "width": [9], "height": [9], "conf": ["-1"], "text": [""]},
        {"shapes": [], "imagePath": "a.png", "version": "5"},
        {"a.png1": {"filename": "a.png", "size": 1, "regions": []}},
        [{"image": "a.png", "id": 1, "annotations": [{"result": []}], "data": {}}],
        "<annotation><size><width>640</width><height>480</height></size></annotation>",
        "<annotations><image id='0' name='a' width='640' height='480'></image></annotations>",
    ],
    ids=str,
)
def test_a_source_that_found_nothing_is_no_region(found):
    assert regions_from(found, image_size=SIZE) == []


@pytest.mark.parametrize(
    "found",
    [
        {"tagsResult": {"values": [{"name": "sea", "confidence": 0.9}]}},
        {"responses": [{"labelAnnotations": [{"description": "sea", "score": 0.9}]}]},
        {"ModerationLabels": [{"Name": "Alcohol", "Confidence": 90.0}]},
        {"rec_texts": ["a"], "rec_scores": [0.5]},
        "<annotations><image id='0' width='640' height='480'><tag label='sea'/></image></annotations>",
        [{"id": 1, "data": {}, "annotations": [{"result": [
            {"value": {"choices": ["sea"]}, "from_name": "a", "to_name": "b", "type": "choices"}
        ]}]}],
        {"categories": {}, "items": [{"id": "a", "annotations": [{"type": "label", "label_id": 0}]}]},
        ["EXIT", "STOP"],
    ],
    ids=str,
)  # fmt: skip
def test_what_is_about_the_whole_image_is_an_error_and_never_nothing(found):
    assert len(refused(found, image_size=SIZE)) < 500
