"""Annotations: COCO, YOLO text, Pascal VOC, LabelMe, JSON text, and regions that were dumped."""

from __future__ import annotations

import json

import numpy as np
import pytest

from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.region import Region
from tests.regions.samples import (
    CAT,
    DOG,
    SIZE,
    coco_annotations,
    coco_dataset,
    labelme,
    mask_of,
    refused,
    roboflow,
    voc,
)


def test_annotation_ids_become_ids():
    assert [r.id for r in regions_from(coco_annotations(2))] == ["7", "8"]


def test_regions_pass_through_unchanged():
    mine = [Region(box=CAT, score=0.4, id="a"), Region(point=(900, 900)), Region(mask=mask_of(DOG), score=0.9)]
    assert all(a is b for a, b in zip(regions_from(mine, image_size=SIZE), mine, strict=True))
    assert regions_from(mine[0]) == [mine[0]]
    assert [r.id for r in regions_from(mine, min_score=0.5)] == [None, None]


def test_json_text_and_bytes_are_parsed():
    text = json.dumps(coco_dataset(2))
    for found in (text, text.encode(), "\ufeff" + text):
        assert [r.label for r in regions_from(found)] == ["cat", "dog"]


def test_a_dataset_that_states_another_image_size_is_refused():
    for found in (coco_dataset(1), voc(1), labelme(1), roboflow(1)):
        refused(found, "200 x 100", "(100, 200)", image_size=(100, 200))


def test_voc_counts_from_one():
    assert regions_from(voc(1))[0].box == CAT
    from_zero = voc(1).replace("<xmin>21<", "<xmin>0<")
    assert regions_from(from_zero)[0].box == (0, 10, 60, 50)


def test_voc_parts_are_not_objects():
    part = "<part><name>ear</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></part>"
    assert [r.label for r in regions_from(voc(1).replace("</object>", part + "</object>"))] == ["cat"]


def test_yolo_lines_of_every_length():
    text = "0 .5 .5 .2 .2\n1 .5 .5 .2 .2 .75\n2 .1 .1 .3 .1 .1 .5\n3 .5 .5 .2 .2 .75 6\n4 .1 .1 .3 .1 .3 .5 .1 .5 .9"
    regions = regions_from(text, image_size=SIZE)
    assert [r.box for r in regions[:2]] == [(80, 40, 120, 60)] * 2
    assert regions[2].polygon == (pytest.approx((20, 10)), pytest.approx((60, 10)), pytest.approx((20, 50)))
    assert (regions[3].score, regions[3].id, regions[3].polygon) == (0.75, "6", None)
    assert (regions[4].score, len(regions[4].polygon)) == (0.9, 4)
    refused("0 .5 .5", "row 0 of the YOLO text", "cx cy w h", image_size=SIZE)


def test_labelme_shapes_of_every_kind():
    def shape(kind, *points):
        return {"label": kind, "points": points, "shape_type": kind}

    shapes = [shape("rectangle", [60, 50], [20, 10]), shape("circle", [40, 30], [40, 50]), shape("point", [5, 6])]
    rectangle, circle, point = regions_from({"shapes": shapes, "imageWidth": 200, "imageHeight": 100})
    assert rectangle.box == circle.box == CAT
    assert point.point == (5, 6)
    refused({"shapes": [shape("point", [500, 6])]}, "outside", image_size=SIZE)


def test_tracks_in_yolo_text_are_ids_and_no_scores_or_corners():
    def read(*lines):
        return [(r.id, r.score) for r in regions_from("\n".join(lines), image_size=(100, 100))]

    assert read("0 .5 .5 .2 .2 7", "0 .3 .3 .1 .1 12", "0 .3 .3 .1 .1 1") == [("7", None), ("12", None), ("1", None)]
    assert read("0 .5 .5 .2 .2 .9 7", "0 .3 .3 .1 .1 .8 1") == [("7", 0.9), ("1", 0.8)]
    assert read("0 .5 .5 .2 .2 1", "0 .3 .3 .1 .1 .5") == [(None, 1.0), (None, 0.5)]
    square = ".1 .1 .2 .1 .2 .2 .1 .2"
    assert read(f"0 {square} .9 2", f"0 {square} .8 1") == [("2", 0.9), ("1", 0.8)]
    assert read(f"0 {square} 5") == [("5", None)]
    for line in (f"0 {square} .9 2", f"0 {square} 5", f"0 {square} .9", f"0 {square}"):
        assert regions_from(line, image_size=(100, 100))[0].box == pytest.approx((10, 10, 20, 20))


@pytest.mark.parametrize(("tail", "score", "id"), [("", None, None), (" .7", 0.7, None), (" .7 3", 0.7, "3"),
                                                   (" 3", None, "3")])  # fmt: skip
def test_a_pose_in_yolo_text_is_its_box(tail, score, id):
    points = " ".join(f"{0.5 + 0.01 * n:.3f} {0.5 + 0.02 * (n % 5):.3f} {0.9 if n % 4 else 2}" for n in range(16))
    (region,) = regions_from(f"0 .58 .54 .4 .4 {points} 0 0 0{tail}", image_size=(100, 100))
    assert region.box == pytest.approx((38, 34, 78, 74))
    assert (region.score, region.id, region.polygon) == (score, id, None)


MASK = np.zeros((48, 64), bool)
MASK[20:30, 20:30] = True


@pytest.mark.parametrize(
    "region",
    [
        Region(box=(1, 2, 30, 40), label="x", id="dog", score=0.5),
        Region(box=(1, 2, 30, 40), mask=MASK, label="x", id="dog"),
        Region(polygon=[(1, 1), (30, 1), (1, 30)]),
        Region(point=(3, 4), id="p"),
    ],
    ids=["box", "mask", "polygon", "point"],
)
def test_a_region_that_was_dumped_is_read_again(region):
    for dumped in (region.model_dump(), [region.model_dump()]):
        assert regions_from(dumped, image_size=(64, 48)) == [region]


def test_an_annotation_without_a_box_is_where_its_outline_is():
    rows = [{"bbox": [], "segmentation": [[1, 2, 30, 2, 30, 40]], "category_id": 1}]
    assert regions_from(rows)[0].box == (1, 2, 30, 40)
