"""Outputs that hold several images are refused; a list around one image's output is not."""

from __future__ import annotations

from types import SimpleNamespace as Stand

import numpy as np
import pytest

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.detections import regions_from
from tests.regions.samples import (
    BY_ID,
    coco_dataset,
    coco_results,
    columns,
    detectron2,
    florence,
    hf_object_detection,
    hf_post_process,
    opencv_ssd,
    refused,
    supervision,
    ultralytics,
)


@pytest.mark.parametrize(
    "sample", [ultralytics, hf_post_process, florence, supervision, detectron2, hf_object_detection]
)
def test_several_images_are_refused(sample):
    refused([sample(1), sample(2)], "2 outputs", "result[0]")
    assert len(regions_from([sample(2)])) == 2


def test_several_images_inside_one_output_are_refused():
    refused({"responses": [{}, {}]}, "responses'][0]")
    refused(np.concatenate([opencv_ssd(1)[0, 0], opencv_ssd(1)[0, 0] + [1, 0, 0, 0, 0, 0, 0]]), "rows[:, 0] == 0")
    rows = coco_results(2)
    rows[1]["image_id"] = 2
    refused(rows, "2 images", "image_id")
    dataset = coco_dataset(2)
    dataset["images"].append({"id": 2, "width": 5, "height": 5})
    refused(dataset, "2 images", "image_id")
    two = Stand(xyxy=[columns(1)[0], columns(1)[0]], xyxyn=[1], names=BY_ID)
    refused(two, "2 images")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (([[0.5, 0.5, 0.3, 0.4]], [0.9], ["cat"]), "Pass columns in a dict"),
        ([[10, 20, 30, 40, 0.9], [10, 20, 30, 40]], "unequal length"),
        ([[0, 10, 20, 30, 40]], "class comes first"),
    ],
)
def test_what_is_no_batch_is_not_taken_for_one(found, says):
    with pytest.raises(DetectionError, match=says):
        regions_from(found, image_size=(64, 48), box_format="xyxy")
