"""Turned boxes: their outline is the polygon of the region."""

from __future__ import annotations

import math

import numpy as np

from langchain_vipllava.regions.region import Region
from tests.regions.layouts.layout import SIZE, Layout
from tests.regions.layouts.parts import CENTER, DEGREES, SIDES, TURNED, Stand, tensor, turned

GROUP = "Turned boxes"

_RADIANS = math.radians(DEGREES)
_FLAT = [side for point in TURNED for side in point]
_ONE = (Region(polygon=TURNED),)
_XYWH = [CENTER[0] - SIDES[0] / 2, CENTER[1] - SIDES[1] / 2, *SIDES]
_BOUNDS = Region(polygon=TURNED).box


def _obb(**more):
    return Stand(
        xyxyxyxy=tensor([TURNED]),
        xywhr=tensor([[*CENTER, *SIDES, _RADIANS]]),
        xyxy=tensor([_BOUNDS]),
        conf=tensor([0.9]),
        cls=tensor([1.0]),
        id=None,
        **more,
    )


def _min_area_rect():
    import cv2

    return cv2.minAreaRect(np.array(TURNED, np.float32))


def _box_points():
    import cv2

    return cv2.boxPoints(((300, 200), (200, 40), 30.0))


_MIN_AREA = Region(polygon=turned(90 + 30, sides=(40, 200)))

LAYOUTS = (
    Layout(
        "`Results` with `obb`",
        lambda: Stand(boxes=None, obb=_obb(), names={1: "ship"}, masks=None, probs=None, orig_shape=(480, 640)),
        "Ultralytics",
        (Region(polygon=TURNED, label="ship", score=0.9),),
    ),
    Layout("`Results.obb`", _obb, "Ultralytics", (Region(polygon=TURNED, label="class 1", score=0.9),)),
    Layout("`obb.xyxyxyxy`, (N, 4, 2)", lambda: tensor([TURNED]), "Ultralytics", _ONE),
    Layout(
        "`obb.xywhr`, (N, 5)",
        lambda: tensor([[*CENTER, *SIDES, _RADIANS]]),
        "Ultralytics",
        _ONE,
        arguments={"format": "xywhr"},
    ),
    Layout(
        "(N, 5), nothing said", lambda: tensor([[*CENTER, *SIDES, _RADIANS]]), "Ultralytics", refusal="format='xywhr'"
    ),
    Layout(
        "`obb.data`, (N, 7)",
        lambda: tensor([[*CENTER, *SIDES, _RADIANS, 0.9, 1]]),
        "Ultralytics",
        (Region(polygon=TURNED, score=0.9, label="class 1"),),
        arguments={"format": "xywhr"},
    ),
    Layout(
        "`Results.summary()` of obb",
        lambda: [{"name": "ship", "class": 1, "confidence": 0.9, "box": _numbered_corners()}],
        "Ultralytics",
        (Region(polygon=TURNED, label="ship", score=0.9),),
    ),
    Layout(
        "(N, 5), clockwise degrees",
        lambda: np.array([[*CENTER, *SIDES, DEGREES]]),
        "OpenCV",
        _ONE,
        arguments={"format": "xywhr-degrees"},
    ),
    Layout(
        "`RotatedBoxes.tensor`, (N, 5)",
        lambda: tensor([[*CENTER, *SIDES, -DEGREES]]),
        "detectron2",
        _ONE,
        arguments={"format": "xywhr-degrees-ccw"},
    ),
    Layout(
        "`Instances` with `RotatedBoxes`",
        lambda: {
            "instances": Stand(
                pred_boxes=Stand(tensor=tensor([[*CENTER, *SIDES, -DEGREES]])),
                scores=tensor([0.9]),
                pred_classes=tensor([1]),
                image_size=(480, 640),
            )
        },
        "detectron2",
        (Region(polygon=TURNED, label="class 1", score=0.9),),
    ),
    Layout(
        "lists of (n, 6) arrays, one for each class",
        lambda: [np.zeros((0, 6), np.float32), np.array([[*CENTER, *SIDES, _RADIANS, 0.9]], np.float32)],
        "mmrotate 0.x",
        (Region(polygon=TURNED, label="class 1", score=0.9),),
        arguments={"format": "mmrotate"},
    ),
    Layout(
        "`pred_instances` with 5 columns",
        lambda: Stand(
            pred_instances=Stand(bboxes=tensor([[*CENTER, *SIDES, _RADIANS]]), scores=tensor([0.9]), labels=tensor([1]))
        ),
        "mmrotate 1.x",
        (Region(polygon=TURNED, label="class 1", score=0.9),),
    ),
    Layout("`cv2.minAreaRect`", lambda: (CENTER, SIDES, DEGREES), "OpenCV", _ONE),
    Layout("list of `cv2.minAreaRect`", lambda: [(CENTER, SIDES, DEGREES)] * 2, "OpenCV", _ONE * 2),
    Layout("`cv2.boxPoints`, (4, 2)", lambda: np.array(TURNED, np.float32), "OpenCV", _ONE),
    Layout("flat quads, (N, 8)", lambda: np.array([_FLAT]), "NumPy", _ONE, arguments={"format": "quads"}),
    Layout(
        "list of polygons",
        lambda: [np.array(TURNED), np.array(TURNED[:3])],
        "Ultralytics `masks.xy`",
        (Region(polygon=TURNED), Region(polygon=TURNED[:3])),
        arguments={"format": "polygons"},
    ),
    Layout(
        "list of polygons, nothing said",
        lambda: [np.array(TURNED), np.array(TURNED[:3])],
        "Ultralytics `masks.xy`",
        refusal="format='polygons'",
    ),
    Layout(
        "COCO with `attributes.rotation`",
        lambda: [{"image_id": 1, "category_id": 1, "bbox": _XYWH, "attributes": {"rotation": DEGREES}}],
        "CVAT export",
        (Region(polygon=TURNED, label="class 1"),),
        arguments={"image_size": SIZE},
    ),
    Layout(
        "dicts with `rotation`",
        lambda: [{"x": _XYWH[0], "y": _XYWH[1], "width": 200, "height": 40, "rotation": DEGREES, "label": "ship"}],
        "annotation tools",
        refusal="pass box_format='cxcywh' or 'xywh'",
    ),
    Layout(
        "dicts with `rotation`",
        lambda: [{"x": _XYWH[0], "y": _XYWH[1], "width": 200, "height": 40, "rotation": DEGREES, "label": "ship"}],
        "annotation tools",
        (Region(polygon=TURNED, label="ship"),),
        arguments={"box_format": "xywh"},
    ),
    Layout(
        "dicts with `theta`",
        lambda: [{"cx": 300, "cy": 200, "w": 200, "h": 40, "theta": _RADIANS}],
        "mmrotate",
        _ONE,
    ),
    Layout(
        "dicts with an `angle` of 0.5",
        lambda: [{"cx": 300, "cy": 200, "w": 200, "h": 40, "angle": 0.5}],
        "any",
        refusal="'angle_degrees' or 'angle_radians'",
    ),
    Layout(
        "dicts with an `angle` of 30",
        lambda: [{"cx": 300, "cy": 200, "w": 200, "h": 40, "angle": 30}],
        "any",
        _ONE,
    ),
)


def _numbered_corners():
    return {
        f"{axis}{number}": point[place] for number, point in enumerate(TURNED, 1) for place, axis in enumerate("xy")
    }
