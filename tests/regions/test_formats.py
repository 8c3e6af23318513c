"""What each detector writes becomes regions, with its boxes, labels, scores, masks and ids."""

from __future__ import annotations

from types import SimpleNamespace as Stand

import numpy as np
import pytest

from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.region import Region
from tests.regions.samples import (
    BOXES,
    BY_ID,
    CAT,
    DOG,
    NAMES,
    SAMPLES,
    SCORES,
    SIZE,
    detectron2,
    google_client,
    google_json,
    hf_panoptic,
    hf_segmentation,
    mask_of,
    mediapipe_solutions,
    mmdet,
    outline,
    refused,
    rekognition,
    sam,
    stacked,
    supervision,
    tensor,
    torchvision,
    ultralytics,
    ultralytics_obb,
    xywh,
    yolo_polygons,
    yolo_text,
)


@pytest.mark.parametrize(("sample", "scored", "named"), SAMPLES, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("n", [0, 1, 2])
def test_every_format_gives_its_boxes_labels_and_scores(sample, scored, named, n):
    # No format may need the size of the image to be left out, or break when it is given.
    regions = regions_from(sample(n), image_size=SIZE, labels=BY_ID)
    assert len(regions) == n
    for region, box, name, score in zip(regions, BOXES, NAMES, SCORES, strict=False):
        assert region.box == pytest.approx(box, abs=1.0)
        assert region.label == (name if named else None)
        assert region.score == (pytest.approx(score, abs=1e-6) if scored else None)
        if region.mask is not None:
            assert np.array_equal(region.mask, mask_of(box))


IN_PIXELS = [
    row[0]
    for row in SAMPLES
    if row[0] not in (yolo_text, yolo_polygons, google_json, google_client, rekognition, mediapipe_solutions)
    and not row[0].__name__.startswith("opencv_ssd")
]


@pytest.mark.parametrize("sample", IN_PIXELS, ids=lambda sample: sample.__name__)
def test_formats_in_pixels_need_no_image_size(sample):
    assert [region.box for region in regions_from(sample(2))] == [pytest.approx(box, abs=1.0) for box in BOXES]


@pytest.mark.parametrize("sample", [row[0] for row in SAMPLES if row[0] not in IN_PIXELS], ids=lambda s: s.__name__)
def test_formats_in_fractions_ask_for_the_image_size(sample):
    refused(sample(2), "row 0 of the", "image_size=(width, height)")


@pytest.mark.parametrize("sample", [sam, torchvision, supervision, detectron2, mmdet, hf_segmentation, hf_panoptic])
def test_masks_come_along(sample):
    assert all(region.mask is not None for region in regions_from(sample(2)))


@pytest.mark.parametrize("empty", [(), [], {}, np.zeros((0, 4)), np.zeros((0,)), "", " \n", "[]", iter(()), [[]]])
def test_nothing_found_is_no_region(empty):
    assert regions_from(empty) == []


def test_a_tensor_in_bfloat16_is_read():
    import torch

    found = {"boxes": tensor([CAT], dtype=torch.bfloat16), "scores": tensor([0.5], dtype=torch.bfloat16)}
    assert regions_from(found)[0].box == CAT


def test_scikit_image_finds_the_astronaut():
    data = pytest.importorskip("skimage.data")
    from skimage.feature import Cascade

    found = Cascade(data.lbp_frontal_face_cascade_filename()).detect_multi_scale(
        img=data.astronaut()[:256, :400], scale_factor=1.3, step_ratio=1, min_size=(80, 80), max_size=(140, 140)
    )
    (face,) = regions_from(found, image_size=(400, 256), max_regions=1)
    x, y = face.center
    assert 190 < x < 250
    assert 90 < y < 150


def test_anything_with_xyxy_is_read_with_ultralytics_names_too():
    boxes = ultralytics(2, ids=tensor([4.0, 9.0])).boxes
    regions = regions_from(boxes)
    assert [(r.label, r.score, r.id) for r in regions] == [
        ("class 17", pytest.approx(0.9), "4"),
        ("class 18", pytest.approx(0.6), "9"),
    ]


def test_supervision_tracks_and_oriented_boxes():
    sv = pytest.importorskip("supervision")
    corners = np.reshape(outline(CAT), (1, 4, 2)).astype(float)
    found = sv.Detections(xyxy=np.array([CAT], float), tracker_id=np.array([12]), data={"xyxyxyxy": corners})
    (region,) = regions_from(found)
    assert region.id == "12"
    assert region.polygon == tuple(map(tuple, corners[0].tolist()))


def test_supervision_compact_masks():
    compact = pytest.importorskip("supervision.detection.compact_mask")
    found = supervision(2)
    found.mask = compact.CompactMask.from_dense(found.mask, found.xyxy, image_shape=(SIZE[1], SIZE[0]))
    assert np.array_equal(regions_from(found)[1].mask, mask_of(DOG))


def test_ultralytics_polygons_and_an_empty_one():
    outlines = [np.reshape(outline(CAT), (4, 2)).astype(np.float32), np.zeros((0, 2), np.float32)]
    cat, dog = regions_from(ultralytics(2, masks=Stand(xy=outlines)))
    assert cat.polygon == ((20, 10), (60, 10), (60, 50), (20, 50))
    assert dog.polygon is None
    assert dog.box == DOG


def test_ultralytics_oriented_boxes_are_polygons():
    assert regions_from(ultralytics_obb(1))[0].polygon == ((20, 10), (60, 10), (60, 50), (20, 50))


def test_ultralytics_track_ids_and_one_result_in_a_list():
    assert [r.id for r in regions_from([ultralytics(2, ids=tensor([3.0, 5.0]))])] == ["3", "5"]
    assert [r.id for r in regions_from(ultralytics(2))] == [None, None]
    # stream=True gives a generator.
    assert len(regions_from(result for result in [ultralytics(2)])) == 2


def test_ultralytics_of_another_image_size_is_refused():
    refused(ultralytics(1), "200 x 100", "(400, 200)", image_size=(400, 200))


def test_ultralytics_classification_is_refused():
    refused(Stand(boxes=None, obb=None, masks=None, probs=Stand(top1=3), names=BY_ID), "has no boxes")


def test_rekognition_without_instances_and_faces():
    box = {"Left": 0.1, "Top": 0.1, "Width": 0.2, "Height": 0.4}
    (face,) = regions_from({"FaceDetails": [{"BoundingBox": box, "Confidence": 99.5}]}, image_size=SIZE)
    assert (face.box, face.label, face.score) == (pytest.approx(CAT), "face", pytest.approx(0.995))


def test_columns_of_different_length_are_refused():
    found = {"boxes": tensor(BOXES), "scores": tensor([0.5]), "labels": tensor([1, 2])}
    refused(found, "2 boxes but 1 scores")
    refused({**found, "scores": tensor([0.5, 0.5]), "masks": tensor(stacked(1))}, "2 boxes but 1 masks")


def test_google_leaves_out_zeros():
    row = {"name": "cat", "score": 0.9, "boundingPoly": {"normalizedVertices": [{}, {"x": 0.3}, {"x": 0.3, "y": 0.5}]}}
    assert regions_from([row], image_size=SIZE)[0].box == pytest.approx((0, 0, 60, 50))
    pixels = {"description": "STOP", "boundingPoly": {"vertices": [{"x": 20, "y": 10}, {"x": 60, "y": 50}]}}
    assert regions_from([pixels])[0].box == CAT


def test_counts_of_a_cascade_are_no_scores():
    found = (np.array([xywh(CAT)], np.int32), np.array([12], np.int32))
    assert regions_from(found)[0].score is None
    with_levels = (found[0], found[1], np.array([1.5]))
    assert regions_from(with_levels)[0].score == 1.5


def test_florence_captions_are_refused():
    refused({"<CAPTION>": "a cat and a dog"}, "<CAPTION>", "bboxes")


def test_contours_of_opencv():
    import cv2

    canvas = np.zeros((60, 80), np.uint8)
    cv2.rectangle(canvas, (10, 20), (29, 39), 255, cv2.FILLED)
    cv2.circle(canvas, (60, 30), 8, 255, cv2.FILLED)
    contours, _ = cv2.findContours(canvas, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    found = sorted(region.box for region in regions_from(contours, image_size=(80, 60)))
    assert found == [(10, 20, 30, 40), (52, 22, 69, 39)]
    assert all(region.polygon for region in regions_from(contours))


def test_tuples_of_decimals_are_not_taken_for_opencv_s():
    boxes, scores = np.array([[100.5, 100, 200, 210], [10, 20, 60, 90]], np.float32), np.array([0.99, 0.8], np.float32)
    refused((boxes, scores), "box_format='xyxy'")
    refused((np.array([1, 2]), scores, boxes), "box_format='xyxy'")
    first, second = regions_from((boxes, scores), box_format="xyxy")  # as facenet-pytorch gives them
    assert (first.box, second.box) == ((100.5, 100, 200, 210), (10, 20, 60, 90))
    assert first.score == pytest.approx(0.99)
    whole = boxes.astype(int)
    assert regions_from((whole, scores))[0].box == (100, 100, 300, 310)
    assert regions_from((whole, scores), box_format="xyxy")[0].box == (100, 100, 200, 210)
    refused((boxes, scores, np.array([3.0, 7.0])))  # classes are no scores


def test_an_answer_of_google_vision_that_failed_or_holds_other_things_is_not_taken_for_nothing():
    refused({"responses": [{"error": {"code": 3, "message": "Bad image data."}}]}, "Bad image data.")
    faces = [{"boundingPoly": {"vertices": [{"x": 1, "y": 2}, {"x": 30, "y": 40}]}, "detectionConfidence": 0.9}]
    for found in (faces, {"responses": [{"faceAnnotations": faces}]}):
        (face,) = regions_from(found)
        assert (face.box, face.score, face.label) == ((1, 2, 30, 40), 0.9, "face")
    refused({"responses": [{"labelAnnotations": [{"description": "sea", "score": 0.9}]}]}, "labelAnnotations", "whole")


@pytest.mark.parametrize("scores", ["scores", "confidences", "confidence", "conf"])
@pytest.mark.parametrize("names", ["labels", "class_names", "classes", "names"])
def test_columns_under_the_names_in_use(scores, names):
    found = {
        "boxes": [[1, 2, 30, 40], [1, 2, 30, 41]],
        scores: [0.9, 0.1],
        names: ["cat", "dog"],
        "labels": ["cat", "dog"],
    }
    assert regions_from(found, min_score=0.5) == [Region(box=(1, 2, 30, 40), label="cat", score=0.9)]
    if scores == "scores":
        del found["labels"]
        found.setdefault(names, ["cat", "dog"])
        assert [region.label for region in regions_from(found)] == ["cat", "dog"]
