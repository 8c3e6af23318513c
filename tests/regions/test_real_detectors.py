"""Real objects of libraries that are too large for every run: `make test-detectors`."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.region import Region
from tests.regions.layouts.layout import SIZE, assert_same
from tests.regions.layouts.parts import CAT, CENTER, CUP, DEGREES, SIDES, TURNED, cxcywh, mask_of, tensor, xywh

pytestmark = pytest.mark.detectors

NAMES = {0: "person", 41: "cup"}
_CUP = Region(box=CUP, label="cup", score=0.9)


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    engine = pytest.importorskip("ultralytics.engine.results")
    return lambda **parts: engine.Results(np.zeros((480, 640, 3), np.uint8), "a.jpg", NAMES, **parts)


def test_ultralytics_boxes(results):
    found = results(boxes=tensor([[*CUP, 0.9, 41]]))
    for out in (found, [found], found.summary(), json.dumps(found.summary())):
        assert_same(regions_from(out, image_size=SIZE), (_CUP,))
    assert_same(regions_from(found.boxes, labels=NAMES), (_CUP,))
    assert_same(regions_from(found.boxes.data, format="ultralytics-data", labels=NAMES), (_CUP,))
    assert_same(regions_from(found.boxes.xywh, box_format="cxcywh"), (Region(box=CUP),))
    assert regions_from(results(boxes=tensor(np.zeros((0, 6))))) == []


def test_ultralytics_tracks(results):
    found = results(boxes=tensor([[*CUP, 5, 0.9, 41]]))
    expected = (Region(box=CUP, label="cup", score=0.9, id="5"),)
    assert_same(regions_from(found), expected)
    assert_same(regions_from(found.boxes.data, format="ultralytics-data", labels=NAMES), expected)


def test_ultralytics_masks(results):
    found = results(boxes=tensor([[*CUP, 0.9, 41]]), masks=tensor(mask_of(CUP)[None].astype(np.float32)))
    (region,) = regions_from(found)
    assert region.polygon is not None
    assert region.box == CUP
    (outline,) = regions_from(found.masks)
    assert outline.polygon == region.polygon
    assert_same(regions_from(found.masks.data), (Region(mask=mask_of(CUP)),))
    assert regions_from(found.summary())[0].polygon is not None
    assert regions_from(found.masks.xy, format="polygons")[0].polygon == region.polygon


def test_ultralytics_oriented_boxes(results):
    row = [*CENTER, *SIDES, math.radians(DEGREES)]
    found = results(obb=tensor([[*row, 0.9, 41]]))
    for out, arguments in (
        (found, {}),
        (found.summary(), {}),
        (found.obb, {"labels": NAMES}),
        (found.obb.data, {"labels": NAMES, "format": "xywhr"}),
    ):
        (region,) = regions_from(out, image_size=SIZE, **arguments)
        assert (region.label, region.score) == ("cup", pytest.approx(0.9))
        assert _corners(region) == pytest.approx(_corners(Region(polygon=TURNED)), abs=0.01)
    for out, arguments in ((found.obb.xyxyxyxy, {}), (found.obb.xywhr, {"format": "xywhr"})):
        assert _corners(regions_from(out, **arguments)[0]) == pytest.approx(_corners(Region(polygon=TURNED)), abs=0.01)
    with pytest.raises(DetectionError, match="format='xywhr'"):
        regions_from(found.obb.xywhr, box_format="cxcywh")


def test_ultralytics_poses(results):
    points = np.zeros((1, 17, 3), np.float32)
    points[0, :2] = (CAT[0], CAT[1], 0.9), (CAT[2], CAT[3], 0.9)
    found = results(boxes=tensor([[*CAT, 0.9, 0]]), keypoints=tensor(points))
    expected = Region(box=CAT, label="person", score=0.9)
    assert_same(regions_from(found), (expected,))
    assert_same(regions_from(found.summary()), (expected,))
    assert_same(regions_from(found.keypoints), (Region(box=CAT),))


def _corners(region):
    """Return the corners, flat, in an order that does not depend on the first."""
    return [side for point in sorted(region.polygon) for side in point]


def test_sahi():
    prediction = pytest.importorskip("sahi.prediction")
    from PIL import Image

    about = {"category_id": 41, "category_name": "cup", "score": 0.9, "full_shape": [480, 640]}
    cup = prediction.ObjectPrediction(bbox=list(CUP), **about)
    found = prediction.PredictionResult([cup], Image.new("RGB", SIZE))
    for out in (cup, [cup], found, found.to_coco_predictions(image_id=1), found.to_coco_annotations()):
        assert_same(regions_from(out), (_CUP,))
    flat = [300, 100, 400, 100, 400, 200, 300, 200]
    (region,) = regions_from(prediction.ObjectPrediction(bbox=list(CUP), segmentation=[flat], **about))
    assert region.polygon == ((300, 100), (400, 100), (400, 200), (300, 200))


def test_mediapipe():
    containers = pytest.importorskip("mediapipe.tasks.python.components.containers")
    box = containers.BoundingBox(*map(int, xywh(CUP)))
    category = containers.Category(score=0.9, category_name="cup")
    found = containers.DetectionResult([containers.Detection(bounding_box=box, categories=[category])])
    for out in (found, found.detections):
        assert_same(regions_from(out), (_CUP,))


@pytest.mark.parametrize(
    ("layout", "values", "expected"),
    [
        ("XYXY", CUP, Region(box=CUP)),
        ("XYWH", xywh(CUP), Region(box=CUP)),
        ("CXCYWH", cxcywh(CUP), Region(box=CUP)),
        ("CXCYWHR", [*CENTER, *SIDES, -DEGREES], Region(polygon=TURNED)),
        ("XYWHR", [*TURNED[0], *SIDES, -DEGREES], Region(polygon=TURNED)),
        ("XYXYXYXY", [side for point in TURNED for side in point], Region(polygon=TURNED)),
    ],
)
def test_torchvision_tensors(layout, values, expected):
    try:
        from torchvision import tv_tensors
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        pytest.skip(f"torchvision does not load here: {error}")
    boxes = tv_tensors.BoundingBoxes(tensor([values]).float(), format=layout, canvas_size=(480, 640))
    assert_same(regions_from(boxes), (expected,))
    with pytest.raises(DetectionError, match="320"):
        regions_from(boxes, image_size=(320, 240))
