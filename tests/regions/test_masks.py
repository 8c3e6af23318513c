"""Masks, run lengths and polygons of several parts."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.region import Region
from tests.regions.samples import (
    CAT,
    DOG,
    SIZE,
    coco_annotations,
    hf_mask_generation,
    hf_segmentation,
    mask_of,
    outline,
    refused,
    sam,
    supervision,
    tensor,
    torchvision,
)


def test_soft_masks_are_cut_at_a_half():
    soft = np.zeros((1, 1, SIZE[1], SIZE[0]), np.float32)
    soft[0, 0, 10:50, 20:60], soft[0, 0, 60:70, 20:60] = 0.5, 0.49
    found = {"boxes": tensor([CAT]), "labels": tensor([17]), "scores": tensor([0.9]), "masks": tensor(soft)}
    assert np.array_equal(regions_from(found, image_size=SIZE)[0].mask, mask_of(CAT))


@pytest.mark.parametrize("sample", [hf_segmentation, sam, torchvision, supervision, hf_mask_generation])
def test_masks_of_another_size_are_refused(sample):
    refused(sample(1), "row 0 of the", "200 x 100", "400 x 200", image_size=(400, 200))


def test_an_empty_mask_beside_a_box_is_dropped():
    found = {"boxes": tensor([CAT]), "scores": tensor([0.9]), "masks": tensor(np.zeros((1, 1, 100, 200), np.float32))}
    (region,) = regions_from(found)
    assert (region.box, region.mask) == (CAT, None)


def test_an_empty_mask_alone_is_refused():
    found = hf_segmentation(2)
    found[1]["mask"] = Image.new("L", SIZE)
    refused(found, "row 1", "'dog'", "threshold")


def test_a_sam_mask_one_pixel_wide_has_a_box():
    thin = {**sam(1)[0], "segmentation": mask_of((20, 10, 21, 50)), "bbox": [20, 10, 0, 39]}
    assert regions_from([thin])[0].box == (20, 10, 21, 50)


@pytest.mark.parametrize("counts", ["b03500000n0", b"b03500000n0", [18, 3, 5, 3, 5, 3, 5, 3, 35]])
def test_coco_run_lengths(counts):
    # A rectangle of x 2..6, y 2..5 in an image of 10 x 8; the text was written by pycocotools.
    row = {"image_id": 1, "category_id": 17, "segmentation": {"size": [8, 10], "counts": counts}, "score": 0.5}
    (region,) = regions_from([row])
    assert region.box == (2, 2, 6, 5)
    assert region.mask.sum() == 12
    refused([row], "10 x 8", "8 x 10", image_size=(8, 10))


def test_coco_things_of_several_polygons_become_a_mask():
    row = {**coco_annotations(1)[0], "bbox": [20, 10, 160, 80], "segmentation": [outline(CAT), outline(DOG)]}
    refused([row], "2 polygons", "image_size=")
    (region,) = regions_from([row], image_size=SIZE)
    assert np.array_equal(region.mask, mask_of(CAT) | mask_of(DOG))
    assert regions_from([{**row, "segmentation": []}])[0].mask is None


def test_polygons_fill_the_pixels_whose_centre_they_hold():
    triangle = [0, 0, 10, 0, 0, 10]
    row = {**coco_annotations(1)[0], "bbox": [0, 0, 30, 30], "segmentation": [triangle, [-5, 20, 3, 20, 3, 25, -5, 25]]}
    (region,) = regions_from([row], image_size=(30, 30))
    y, x = np.mgrid[:30, :30] + 0.5
    assert np.array_equal(region.mask, (x + y < 10) | ((y > 20) & (y < 25) & (x < 3)))


def test_florence_things_of_several_polygons_become_a_mask():
    found = {"<REGION_TO_SEGMENTATION>": {"polygons": [[outline(CAT), outline(DOG)]], "labels": [""]}}
    refused(found, "image_size=")
    (region,) = regions_from(found, image_size=SIZE)
    assert (region.box, region.label) == ((20, 10, 180, 90), None)


def test_a_mask_that_is_none_is_no_mask():
    rows = [{"box": [1, 2, 30, 40], "label": "cat", "mask": None}]
    assert regions_from(rows, box_format="xyxy") == [Region(box=(1, 2, 30, 40), label="cat")]
