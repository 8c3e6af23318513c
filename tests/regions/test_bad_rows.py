"""`on_error="skip"`: rows that are not regions are dropped, and a warning says which and why."""

from __future__ import annotations

import warnings

import pytest

from langchain_vipllava import SkippedRowsWarning
from langchain_vipllava.chains.steps import DetectRegions
from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.detection_options import DetectionOptions
from langchain_vipllava.regions.detections import regions_from
from tests.regions.samples import CAT, DOG, SIZE, at, coco_results, hf_object_detection, refused

BAD = {"outside": at((500, 500, 600, 600)), "inverted": at((50, 10, 20, 40)), "no box": [{"score": 1, "label": "x"}]}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_row_is_dropped_and_told(bad):
    found = [*hf_object_detection(1), *bad, hf_object_detection(2)[1]]
    refused(found, "row 1 of the", image_size=SIZE)
    with pytest.warns(SkippedRowsWarning) as caught:
        regions = regions_from(found, image_size=SIZE, on_error="skip")
    assert [region.box for region in regions] == [CAT, DOG]
    (warning,) = caught
    assert list(warning.message.rows) == [1]
    assert warning.message.rows[1].startswith("row 1 of the")
    assert "dropped 1 row that" in str(warning.message)
    assert warning.filename == __file__


def test_all_bad_rows_are_counted_and_the_first_told():
    found = coco_results(1) + [{"image_id": 1, "category_id": 3}] * 9
    with pytest.warns(SkippedRowsWarning, match="dropped 9 rows") as caught:
        assert len(regions_from(found, on_error="skip")) == 1
    assert list(caught[0].message.rows) == list(range(1, 10))
    assert len(str(caught[0].message)) < 1000


def test_good_rows_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(regions_from(hf_object_detection(2), on_error="skip")) == 2


def test_what_concerns_all_rows_stays_an_error():
    refused({"foo": 1}, "no known format", on_error="skip")
    refused([[1, 2, 3, 4]], "box_format=", on_error="skip")


def test_steps_and_options_take_it(photo):
    found = hf_object_detection(1) + BAD["inverted"]
    step = DetectRegions(detector=lambda image: found, on_error="skip")
    with pytest.warns(SkippedRowsWarning):
        assert len(step.invoke({"image": photo})["regions"]) == 1
    with pytest.raises(DetectionError, match="'raise' or 'skip'"):
        DetectionOptions(on_error="ignore")
