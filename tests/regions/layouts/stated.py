"""Outputs that say the layout of their boxes themselves."""

from __future__ import annotations

from enum import Enum, IntEnum

import numpy as np

from langchain_vipllava.regions.region import Region
from langchain_vipllava.regions.rle import encode_rle
from tests.regions.layouts.layout import SIZE, Layout
from tests.regions.layouts.parts import CENTER, CUP, DEGREES, SIDES, TURNED, cxcywh, fractions, mask_of, tensor, xywh

GROUP = "Outputs that state their layout"


class BoxMode(IntEnum):
    """detectron2's, which is not installed here."""

    XYXY_ABS = 0
    XYWH_ABS = 1
    XYXY_REL = 2
    XYWH_REL = 3
    XYWHA_ABS = 4


class BoundingBoxFormat(Enum):
    """torchvision's, which is not installed here."""

    XYXY = "XYXY"
    XYWH = "XYWH"
    CXCYWHR = "CXCYWHR"
    XYXYXYXY = "XYXYXYXY"


def _boxes(values, name):
    """Return a tensor that carries what torchvision's BoundingBoxes carries."""
    boxes = tensor(values)
    boxes.format = BoundingBoxFormat[name]
    boxes.canvas_size = (SIZE[1], SIZE[0])
    return boxes


def _grounded_sam(box_format="xyxy"):
    row = {"class_name": "cup", "bbox": [300.0, 100.0, 400.0, 200.0], "score": 0.9}
    row["segmentation"] = encode_rle(mask_of(CUP))
    return {"image_path": "a", "annotations": [row], "box_format": box_format, "img_width": 640, "img_height": 480}


_CUP = Region(box=CUP, label="cup", score=0.9)

LAYOUTS = (
    Layout(
        "result JSON with `box_format`",
        _grounded_sam,
        "Grounded-SAM-2",
        (Region(box=CUP, label="cup", score=0.9, mask=mask_of(CUP)),),
    ),
    Layout(
        "the same, and another `box_format=`",
        _grounded_sam,
        "Grounded-SAM-2",
        refusal="box_format='xywh' contradicts the output",
        arguments={"box_format": "xywh"},
    ),
    Layout(
        "the same with a layout that nobody knows",
        lambda: _grounded_sam("tlbr"),
        "made up",
        refusal="box_format='tlbr', which is not a known layout",
    ),
    Layout(
        "`bbox_mode` 0 in annotations",
        lambda: [{"bbox": list(CUP), "bbox_mode": 0, "category_id": 0}],
        "detectron2 datasets",
        (Region(box=CUP, label="class 0"),),
        arguments={"image_size": SIZE},
    ),
    Layout(
        "`bbox_mode` as `BoxMode`, in a dataset dict",
        lambda: {
            "file_name": "a.jpg",
            "height": 480,
            "width": 640,
            "image_id": 1,
            "annotations": [{"bbox": list(CUP), "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "segmentation": []}],
        },
        "detectron2 datasets",
        (Region(box=CUP, label="class 0"),),
    ),
    Layout(
        "`BoxMode.XYWHA_ABS`, turned",
        lambda: [{"bbox": [*CENTER, *SIDES, -DEGREES], "bbox_mode": BoxMode.XYWHA_ABS, "category_id": 0}],
        "detectron2 datasets",
        (Region(polygon=TURNED, label="class 0"),),
    ),
    Layout(
        "`bbox_mode` as text, relative",
        lambda: [{"bbox": fractions(CUP), "bbox_mode": "BoxMode.XYXY_REL", "category_id": 0}],
        "detectron2 datasets",
        (Region(box=CUP, label="class 0"),),
        arguments={"image_size": SIZE},
    ),
    Layout(
        "targets with `BoundingBoxes` XYWH",
        lambda: {"boxes": _boxes([xywh(CUP)], "XYWH"), "labels": tensor([1])},
        "torchvision tv_tensors",
        (Region(box=CUP, label="cup"),),
        arguments={"labels": {1: "cup"}},
    ),
    Layout(
        "`BoundingBoxes` CXCYWHR",
        lambda: _boxes([[*map(float, CENTER), *SIDES, -DEGREES]], "CXCYWHR"),
        "torchvision tv_tensors",
        (Region(polygon=TURNED),),
    ),
    Layout(
        "`BoundingBoxes` XYXYXYXY",
        lambda: _boxes([[side for point in TURNED for side in point]], "XYXYXYXY"),
        "torchvision tv_tensors",
        (Region(polygon=TURNED),),
    ),
    Layout(
        'columns with `"format": "cxcywh"`',
        lambda: {"format": "cxcywh", "boxes": np.array([cxcywh(CUP)]), "labels": ["cup"], "scores": [0.9]},
        "KerasCV",
        (_CUP,),
    ),
    Layout(
        'columns with `"bounding_box_format": "rel_yxyx"`',
        lambda: {
            "bounding_box_format": "rel_yxyx",
            "boxes": [[CUP[1] / 480, CUP[0] / 640, CUP[3] / 480, CUP[2] / 640]],
            "labels": ["cup"],
            "scores": [0.9],
        },
        "KerasCV",
        (_CUP,),
        arguments={"image_size": SIZE},
    ),
    Layout(
        'rows with `"normalized": true`',
        lambda: [{"bbox": fractions(CUP), "format": "xyxy", "normalized": True, "label": "cup", "score": 0.9}],
        "a REST service",
        (_CUP,),
        arguments={"image_size": SIZE},
    ),
    Layout(
        'rows with `"unit": "percent"`',
        lambda: [{"bbox": fractions(CUP, 100), "box_format": "xyxy", "unit": "percent", "label": "cup", "score": 0.9}],
        "a REST service",
        (_CUP,),
        arguments={"image_size": SIZE},
    ),
    Layout(
        "dicts with a box of four numbers",
        lambda: [{"bbox": list(CUP), "label": "cup", "score": 0.9}],
        "a REST service",
        refusal="pass box_format='xyxy', 'xywh' or",
    ),
    Layout(
        "an image format beside the boxes",
        lambda: {"format": "JPEG", "mode": "RGB", "boxes": [CUP], "labels": ["cup"], "scores": [0.9]},
        "a REST service",
        (_CUP,),
    ),
)
