"""`format=`: readers by name, and what an unknown output is told."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from langchain_vipllava.chains.steps import MarkRegions
from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.detection_options import DetectionOptions
from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.format_names import DetectionFormat
from langchain_vipllava.regions.formats import FORMATS
from langchain_vipllava.regions.limits import RegionLimits
from langchain_vipllava.regions.recognition import recognize
from langchain_vipllava.regions.region import Region
from langchain_vipllava.workspace.workspace import Workspace
from tests.regions.samples import BY_ID, CAT, SAMPLES, SIZE, coco_results, mtcnn, refused, xywh


def test_the_names_that_editors_complete_are_those_of_the_readers():
    names = get_args(DetectionFormat)
    assert list(names) == sorted(names)
    assert set(names) == {format_.key for format_ in FORMATS}


@pytest.mark.parametrize("sample", [row[0] for row in SAMPLES], ids=lambda sample: sample.__name__)
def test_the_named_reader_reads_what_is_recognized(sample):
    found = sample(2)
    key = recognize(found, RegionLimits()).format.key
    assert regions_from(found, format=key, image_size=SIZE, labels=BY_ID) == regions_from(
        sample(2), image_size=SIZE, labels=BY_ID
    )


def test_a_named_reader_wins_over_recognition():
    rows = [{"box": xywh(CAT), "confidence": 0.5}]
    refused(rows, "box_format=")
    assert regions_from(rows, format="mtcnn") == [Region(box=CAT, score=0.5)]
    assert regions_from(mtcnn(1), format="mtcnn") == regions_from(mtcnn(1))


@pytest.mark.parametrize("key", get_args(DetectionFormat))
def test_nothing_found_is_nothing_for_every_reader(key):
    assert regions_from([], format=key) == []


@pytest.mark.parametrize("key", [key for key in get_args(DetectionFormat) if key != "regions"])
@pytest.mark.parametrize("found", [{"foo": 1}, [{"foo": 1}], "foo", 7], ids=str)
def test_what_a_named_reader_cannot_read_is_an_error_and_never_nothing(key, found):
    assert len(refused(found, format=key, image_size=SIZE)) < 500


def test_a_misspelled_reader_is_told_the_nearest():
    message = refused([], "'ultralytics'", format="ultralitics")
    assert len(message) < 200
    refused([], "docs/reference/detections.md", format="qqqqqq")


def test_options_chains_and_workspaces_take_the_reader(photo):
    rows = [{"box": xywh(CAT), "confidence": 0.5}]
    assert DetectionOptions(format="mtcnn").read(rows) == [Region(box=CAT, score=0.5)]
    assert DetectionOptions(format="mtcnn").narrowed(max_regions=3).format == "mtcnn"
    marked = MarkRegions(format="mtcnn").invoke({"image": photo, "detections": rows})["marked"]
    assert marked.regions[0].box == CAT
    workspace = Workspace(detector=lambda image: rows, detection_options=DetectionOptions(format="mtcnn"))
    image_id = workspace.add_image(photo, session="s")
    assert [region.box for region in workspace.detect(image_id, session="s").regions] == [CAT]
    with pytest.raises(DetectionError, match="mtcnn"):
        MarkRegions(format="mtcn").invoke({"image": photo, "detections": rows})


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"annotation": {"bbox": "1 2 3 4", "category": 1, "iscrowd": 0}}, ["format='coco'"]),
        ({"prediction": {"boxes": [[1, 2, 3, 4]], "scores": [0.5]}}, ["format='torchvision'"]),
        (np.zeros((3, 11)), ["(3, 11)", "Rows of 11 numbers", "'boxes'"]),
        (np.zeros((3, 8)), ["(3, 8)", "pass format=", "'boxmot'", "'quads'", "'xywhr'"]),
        ("detections.json", ["pathlib.Path('detections.json')"]),
        ("/tmp/some where/labels.txt", ["pathlib.Path("]),
        ({"foo": 1}, ["docs/reference/detections.md"]),
    ],
    ids=str,
)
def test_an_unknown_output_is_told_the_nearest_formats_in_few_words(found, words):
    assert len(refused(found, "no known format", *words)) < 520


def test_a_layout_key_in_a_coco_result_is_named_too():
    refused([{**coco_results(1)[0], "box_format": "zigzag"}], "box_format='zigzag'", "not a known layout")
