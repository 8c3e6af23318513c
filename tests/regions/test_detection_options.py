"""Labels, scores and limits: the arguments of `regions_from`."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pytest
from pydantic import BaseModel, BeforeValidator, ValidationError

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.detection_options import DetectionOptions
from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.detector import run_detector
from tests.regions.samples import (
    BY_ID,
    CAT,
    SIZE,
    coco_results,
    hf_object_detection,
    hf_post_process,
    refused,
    ultralytics,
)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (None, ["class 17", "class 18"]),
        ({17: "cat"}, ["cat", "class 18"]),
        ({"17": "cat", "18": "dog"}, ["cat", "dog"]),
        ({np.int64(17): "cat"}, ["cat", "class 18"]),
        (["?"] * 17 + ["cat", "dog"], ["cat", "dog"]),
        (["too", "short"], ["class 17", "class 18"]),
        (np.array(["?"] * 17 + ["cat", "dog"]), ["cat", "dog"]),
    ],
)
def test_class_ids_get_names(labels, expected):
    assert [r.label for r in regions_from(hf_post_process(2), labels=labels)] == expected


def test_labels_win_over_the_names_of_the_detector():
    assert [r.label for r in regions_from(ultralytics(2), labels={17: "tiger"})] == ["tiger", "dog"]


def test_a_negative_class_does_not_count_from_the_end():
    found = np.array([[*CAT, 0.5, -1]])
    assert regions_from(found, box_format="xyxy", labels=["a", "b"])[0].label == "class -1"


def test_labels_that_are_one_string_are_refused():
    refused(hf_post_process(1), "labels=", labels="cat")


def test_class_ids_in_text():
    rows = [{**coco_results(1)[0], "category_id": "17"}, {**coco_results(1)[0], "category_id": "zebra"}]
    assert [r.label for r in regions_from(rows, labels=BY_ID)] == ["cat", "zebra"]


def test_min_score_drops_known_scores_only():
    found = [*hf_object_detection(2), {**hf_object_detection(1)[0], "score": None}]
    assert [r.score for r in regions_from(found, min_score=0.7)] == [0.9, None]
    # A row that is dropped is not judged.
    broken = {**hf_object_detection(1)[0], "score": 0.1, "box": {"xmin": 5, "ymin": 5, "xmax": 5, "ymax": 5}}
    assert len(regions_from([*hf_object_detection(2), broken], min_score=0.5)) == 2


def test_max_regions_keeps_the_best_in_the_order_of_the_detector():
    scores = [0.2, 0.9, None, 0.5, 0.9]
    found = [{**hf_object_detection(1)[0], "score": score} for score in scores]
    assert [r.score for r in regions_from(found, max_regions=2)] == [0.9, None]
    assert [r.score for r in regions_from(found, max_regions=4)] == [0.9, None, 0.5, 0.9]
    assert regions_from(found, max_regions=0) == []
    ties = [{**row, "label": str(i), "score": 0.5} for i, row in enumerate(found)]
    assert [r.label for r in regions_from(ties, max_regions=2)] == ["0", "1"]


@pytest.mark.parametrize("size", [(100, 200, 3), (0, 10), (10.5, 10), "200x100", 7, (float("nan"), 1)])
def test_an_image_size_that_is_none_is_refused(size):
    refused(hf_object_detection(1), "image_size=", "(width, height)", image_size=size)


@pytest.mark.parametrize("kwargs", [{"min_score": "x"}, {"min_score": float("nan")}, {"max_regions": -1}])
def test_settings_that_make_no_sense_are_refused(kwargs):
    refused(hf_object_detection(1), *kwargs, **kwargs)


def test_the_number_of_regions_may_be_any_whole_number():
    rows = [[1, 2, 30, 40], [1, 2, 30, 41]]
    assert len(regions_from(rows, box_format="xyxy", max_regions=np.int64(1))) == 1
    with pytest.raises(DetectionError, match="max_regions"):
        regions_from(rows, box_format="xyxy", max_regions=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"box_format": "xyhw"}, "box_format='?str 'xyhw'"),
        ({"labels": "cat"}, "labels="),
        ({"labels": 7}, "labels="),
        ({"min_score": "high"}, "min_score"),
        ({"min_score": float("nan")}, "min_score"),
        ({"max_regions": -1}, "max_regions"),
        ({"max_regions": 1.5}, "max_regions"),
    ],
    ids=str,
)
def test_options_are_checked_when_they_are_made(arguments, message):
    with pytest.raises(DetectionError, match=message):
        DetectionOptions(**arguments)


def test_options_read_as_regions_from_does():
    options = DetectionOptions(labels=BY_ID, min_score=0.7, max_regions=1)
    expected = regions_from(hf_post_process(2), image_size=SIZE, labels=BY_ID, min_score=0.7, max_regions=1)
    assert options.read(hf_post_process(2), SIZE) == expected
    assert [region.label for region in expected] == ["cat"]


def test_limits_can_be_narrowed_and_not_widened():
    options = DetectionOptions(box_format="xywh", labels=["cat"], min_score=0.5, max_regions=10)
    assert options.narrowed() == options
    assert options.narrowed(min_score=0.2, max_regions=50) == options
    narrowed = options.narrowed(min_score=0.9, max_regions=3)
    assert (narrowed.min_score, narrowed.max_regions) == (0.9, 3)
    assert (narrowed.box_format, narrowed.labels) == ("xywh", ["cat"])
    assert DetectionOptions().narrowed(max_regions=20).max_regions == 20


def test_pydantic_builds_options_from_a_dict():
    class Step(BaseModel):
        options: DetectionOptions = DetectionOptions()

    assert Step().options == DetectionOptions()
    made = Step.model_validate({"options": {"box_format": "xywh", "labels": {1: "cat"}, "max_regions": 5}}).options
    assert made == DetectionOptions(box_format="xywh", labels={1: "cat"}, max_regions=5)
    given = DetectionOptions(labels=np.array(["cat", "dog"]))
    assert Step(options=given).options is given
    for wrong in ({"box_fromat": "xywh"}, {"box_format": "xyhw"}, {"labels": "cat"}):
        with pytest.raises(ValidationError):
            Step.model_validate({"options": wrong})
    with pytest.raises(DetectionError, match="max_regions"):
        Step.model_validate({"options": {"max_regions": -1}})


def test_a_dict_becomes_options_with_errors_of_our_own():
    class Step(BaseModel):
        options: Annotated[DetectionOptions, BeforeValidator(DetectionOptions.of)] = DetectionOptions()

    names = np.array(["cat", "dog"])
    assert Step(options={"labels": names, "max_regions": 5}).options.labels is names
    options = DetectionOptions(box_format="xywh")
    assert Step(options=options).options is options
    for wrong, word in (({"box_fromat": "xywh"}, "box_fromat"), ({"box_format": "xyhw"}, "xyhw"), ("xywh", "expected")):
        with pytest.raises(DetectionError, match=word):
            Step(options=wrong)


def test_labels_are_kept_before_the_number_of_regions_is_limited(photo):
    def detector(image):
        return hf_object_detection(2)

    options = DetectionOptions(max_regions=1)
    assert [region.label for region in run_detector(detector, photo, options=options)] == ["cat"]
    assert [region.label for region in run_detector(detector, photo, only=[" Dog "], options=options)] == ["dog"]
