"""What datasets, scripts and labeling services write: text, CSV and JSON."""

from __future__ import annotations

import math

from langchain_vipllava.regions.region import Region
from tests.regions.layouts.layout import SIZE, Layout

GROUP = "Datasets, scripts and labeling services"

_SIZED = {"image_size": SIZE}
_CUP_BOX = (64, 96, 256, 288)  # 10%, 20%, 40%, 60% of 640 x 480
_CUP = (Region(box=_CUP_BOX, label="cup"),)
_KITE = [[300, 100], [400, 150], [350, 260]]
_KITES = (Region(polygon=_KITE, label="kite"),)
_PAIR = (*_CUP, *_KITES)
_STANDING = (Region(polygon=[(320, 120), (320, 320), (280, 320), (280, 120)], label="pen"),)
_POSE_BOX = (377.6, 249.6, 441.6, 278.4)  # 0.64, 0.55, 0.1, 0.06
_POSE = (Region(box=_POSE_BOX, label="class 0"),)


def _pose(count, *, visibility):
    """A line of YOLO's text with keypoints in the box, on a circle: the first is right of the center."""
    points = []
    for number in range(count):
        angle = 2.4 * number
        points += [round(0.64 + 0.045 * math.cos(angle), 4), round(0.55 + 0.025 * math.sin(angle), 4)]
        points += [2] * visibility
    return "0 0.64 0.55 0.1 0.06 " + " ".join(map(str, points))


def _numbered(regions, id="0"):
    return tuple(region.model_copy(update={"id": id}) for region in regions)


LAYOUTS = (
    Layout(
        "DOTA text",
        lambda: (
            "imagesource:GoogleEarth\ngsd:0.146\n320 120 320 320 280 320 280 120 pen 0\n"
            "300.0 100.0 400.0 150.0 420.0 200.0 350.0 260.0 small-vehicle 1\n"
        ),
        "DOTA, annotation format",
        (
            Region(box=(280, 120, 320, 320), label="pen"),
            Region(polygon=[(300, 100), (400, 150), (420, 200), (350, 260)], label="small-vehicle"),
        ),
    ),
    Layout(
        "YOLO text with names",
        lambda: "cup 0.25 0.4 0.3 0.4\nred spoon 0.7 0.5 0.4 0.8 0.97\n",
        "scripts around YOLO",
        (*_CUP, Region(box=(320, 48, 576, 432), label="red spoon", score=0.97)),
        arguments=_SIZED,
    ),
    Layout(
        "YOLO text with commas",
        lambda: "0,0.25,0.4,0.3,0.4\n",
        "scripts around YOLO",
        _CUP,
        arguments={**_SIZED, "labels": {0: "cup"}},
    ),
    Layout(
        "YOLO text, turned boxes",
        lambda: "0 0.5 0.25 0.5 0.6666667 0.4375 0.6666667 0.4375 0.25\n",
        "Ultralytics, OBB datasets",
        _STANDING,
        arguments={**_SIZED, "labels": {0: "pen"}},
    ),
    *(
        Layout(
            f"YOLO text, {count} keypoint{'s' * (count > 1)} {'with' if visibility else 'without'} visibility",
            lambda count=count, visibility=visibility: _pose(count, visibility=visibility),
            "Ultralytics, Pose datasets",
            _POSE,
            arguments=_SIZED,
        )
        for count in (1, 4, 5, 17, 21)
        for visibility in (True, False)
        if (count, visibility) != (1, False)
    ),
    Layout(
        "YOLO text, 1 keypoint without visibility, or a triangle",
        lambda: _pose(1, visibility=False),
        "Ultralytics, Pose datasets",
        refusal="format='yolo-pose' or 'yolo-seg'",
        arguments=_SIZED,
    ),
    Layout(
        "the same, named",
        lambda: _pose(1, visibility=False),
        "Ultralytics, Pose datasets",
        _POSE,
        arguments={"format": "yolo-pose", **_SIZED},
    ),
    Layout(
        "COCO keypoint rows",
        lambda: [
            {"image_id": 1, "category_id": 1, "bbox": [64, 96, 192, 192], "num_keypoints": 1, "id": 9}
            | {"keypoints": [100, 120, 2, *[0] * 48], "iscrowd": 0, "area": 9.0, "segmentation": []}
        ],
        "COCO, Data format",
        _numbered(_CUP, "9"),
        arguments={"labels": {1: "cup"}},
    ),
    Layout(
        "COCO keypoint results, without `bbox`",
        lambda: [
            {
                "image_id": 1,
                "category_id": 1,
                "keypoints": [64, 96, 1, 256, 200, 1, 100, 288, 1, 0, 0, 0],
                "score": 0.97,
            }
        ],
        "COCO, Results format",
        (Region(box=_CUP_BOX, label="cup", score=0.97),),
        arguments={"labels": {1: "cup"}},
    ),
    Layout(
        "KITTI text",
        lambda: "cup 0.00 0 1.85 64.00 96.00 256.00 288.00 1.67 1.87 3.69 -16.53 2.39 58.49 1.57\n",
        "KITTI's development kit",
        _CUP,
    ),
    Layout(
        "MOT Challenge text",
        lambda: "1,3,64,96,192,192,0.97,-1,-1,-1\n",
        "MOT16's paper",
        (Region(box=_CUP_BOX, score=0.97, id="3"),),
    ),
    Layout(
        "lines of a name and a box in pixels",
        lambda: "cup 64 96 256 288\n",
        "mAP of Cartucho",
        _CUP,
        arguments={"box_format": "xyxy"},
    ),
    Layout(
        "the same lines, nothing said", lambda: "cup 64 96 256 288\n", "mAP of Cartucho", refusal="pass box_format="
    ),
    Layout(
        "Roboflow `predictions` with polygons",
        lambda: {
            "time": 0.1,
            "image": {"width": 640, "height": 480},
            "predictions": [
                {
                    "x": 350.0,
                    "y": 180.0,
                    "width": 100.0,
                    "height": 160.0,
                    "confidence": 0.97,
                    "class": "kite",
                    "class_id": 1,
                }
                | {"points": [{"x": x, "y": y} for x, y in _KITE], "detection_id": "d"}
            ],
        },
        "Roboflow, Hosted API",
        (Region(polygon=_KITE, label="kite", score=0.97),),
    ),
    Layout(
        "CVAT JSON",
        lambda: {
            "version": 0,
            "tags": [],
            "shapes": [
                {"type": "rectangle", "points": [200, 200, 400, 240], "rotation": 90.0, "frame": 0, "label": "pen"},
                {"type": "polygon", "points": [300, 100, 400, 150, 350, 260], "frame": 0, "label": "kite"},
            ],
            "tracks": [],
        },
        "CVAT's API, annotations of a job",
        (*_STANDING, *_KITES),
    ),
    Layout(
        "V7 Darwin JSON",
        lambda: {
            "version": "2.0",
            "item": {"name": "a.png", "slots": [{"width": 640, "height": 480}]},
            "annotations": [
                {"id": "i", "name": "kite", "bounding_box": {"x": 300, "y": 100, "w": 100, "h": 160}}
                | {"polygon": {"paths": [[{"x": x, "y": y} for x, y in _KITE]]}}
            ],
        },
        "V7, Darwin JSON",
        _KITES,
    ),
    Layout(
        "Cityscapes polygons",
        lambda: {"imgHeight": 480, "imgWidth": 640, "objects": [{"label": "kite", "polygon": _KITE}]},
        "Cityscapes' scripts",
        _KITES,
    ),
    Layout(
        "BDD100K labels",
        lambda: {
            "name": "a.png",
            "labels": [{"category": "cup", "box2d": {"x1": 64, "y1": 96, "x2": 256, "y2": 288}, "attributes": {}}],
        },
        "BDD100K, Label format",
        _CUP,
    ),
    Layout(
        "Label Studio, CSV",
        lambda: (
            "annotation_id,image,id,label\n5,/a.png,1,"
            '"[{""x"": 10, ""y"": 20, ""width"": 30, ""height"": 40, ""rotation"": 0, ""rectanglelabels"": [""cup""], '
            '""original_width"": 640, ""original_height"": 480}]"\n'
        ),
        "Label Studio, Export",
        _CUP,
    ),
    Layout(
        "Labelbox export",
        lambda: {
            "data_row": {"id": "d"},
            "media_attributes": {"height": 480, "width": 640},
            "projects": {
                "p": {
                    "labels": [
                        {
                            "annotations": {
                                "objects": [
                                    {"name": "cup", "value": "cup"}
                                    | {"bounding_box": {"top": 96, "left": 64, "height": 192, "width": 192}},
                                    {"name": "kite", "value": "kite", "polygon": [{"x": x, "y": y} for x, y in _KITE]},
                                ]
                            }
                        }
                    ]
                }
            },
        },
        "Labelbox, Export image annotations",
        _PAIR,
    ),
    Layout(
        "VoTT asset",
        lambda: {
            "asset": {"id": "a", "name": "a.png", "size": {"width": 640, "height": 480}},
            "regions": [
                {"id": "r", "type": "RECTANGLE", "tags": ["cup"]}
                | {"boundingBox": {"height": 192, "width": 192, "left": 64, "top": 96}, "points": []}
            ],
            "version": "2.2.0",
        },
        "VoTT's source",
        _CUP,
    ),
    Layout(
        "Scale AI task",
        lambda: {
            "task_id": "t",
            "response": {
                "annotations": [
                    {"left": 64, "top": 96, "width": 192, "height": 192, "label": "cup", "uuid": "u"},
                    {"vertices": [{"x": x, "y": y} for x, y in _KITE], "label": "kite", "type": "polygon"},
                ]
            },
        },
        "Scale AI, Image annotation",
        _PAIR,
    ),
    Layout(
        "SageMaker Ground Truth line",
        lambda: {
            "source-ref": "s3://b/a.png",
            "boxes": {
                "image_size": [{"width": 640, "height": 480, "depth": 3}],
                "annotations": [{"class_id": 0, "left": 64, "top": 96, "width": 192, "height": 192}],
            },
            "boxes-metadata": {
                "objects": [{"confidence": 0.97}],
                "class-map": {"0": "cup"},
                "type": "groundtruth/object-detection",
            },
        },
        "SageMaker, Output data",
        (Region(box=_CUP_BOX, label="cup", score=0.97),),
    ),
    Layout(
        "a dict of columns",
        lambda: {"xmin": [64], "ymin": [96], "xmax": [256], "ymax": [288], "name": ["cup"]},
        "pandas, `DataFrame.to_dict('list')`",
        _CUP,
    ),
    Layout(
        "CSV with a header",
        lambda: "label,xmin,ymin,xmax,ymax\ncup,64,96,256,288\n",
        "TensorFlow's object detection, CSV",
        _CUP,
    ),
    Layout(
        "Ultralytics `summary()` with segments",
        lambda: [
            {"name": "kite", "class": 1, "confidence": 0.97, "box": {"x1": 300, "y1": 100, "x2": 400, "y2": 260}}
            | {"segments": {"x": [300, 400, 350], "y": [100, 150, 260]}}
        ],
        "Ultralytics' source",
        (Region(polygon=_KITE, label="kite", score=0.97),),
    ),
    Layout(
        "Ultralytics `summary()` with keypoints",
        lambda: [
            {"name": "cup", "class": 0, "confidence": 0.97, "box": {"x1": 64, "y1": 96, "x2": 256, "y2": 288}}
            | {"keypoints": {"x": [100.0], "y": [120.0], "visible": [0.9]}}
        ],
        "Ultralytics' source",
        (Region(box=_CUP_BOX, label="cup", score=0.97),),
    ),
)
