"""Dicts of any origin: a REST service, a script, a language model."""

from __future__ import annotations

import numpy as np

from langchain_vipllava.regions.region import Region
from langchain_vipllava.regions.rle import encode_rle
from tests.regions.layouts.layout import SIZE, Layout
from tests.regions.layouts.parts import CUP, TURNED, fractions, mask_of, rectangle, xywh

GROUP = "Dicts of any origin"

_CUP = Region(box=CUP, label="cup", score=0.9)
_QUAD = rectangle(CUP)
_POLYGON = Region(polygon=TURNED, label="cup")
_MASK = Region(mask=mask_of(CUP), label="cup")
_LABEL_KEYS = ("label", "text", "object", "tags", "phrase", "description", "category_name", "class_name")

LAYOUTS = (
    Layout(
        "named corners, such as `xmin`, `left`, `cx`",
        lambda: [{"left": 300, "top": 100, "right": 400, "bottom": 200, "label": "cup", "score": 0.9}],
        "any",
        (_CUP,),
    ),
    Layout("`xyxy`, `xywh` or `cxcywh`", lambda: [{"xywh": xywh(CUP), "label": "cup", "score": 0.9}], "any", (_CUP,)),
    Layout("`bbox_xyxy`", lambda: [{"bbox_xyxy": CUP, "label": "cup", "score": 0.9}], "any", (_CUP,)),
    Layout(
        "`bbox_xyxyn`",
        lambda: [{"bbox_xyxyn": fractions(CUP), "label": "cup", "score": 0.9}],
        "any",
        (_CUP,),
        arguments={"image_size": SIZE},
    ),
    *(
        Layout(f"label under `{key}`", lambda key=key: [{"xyxy": CUP, key: "cup", "score": 0.9}], "any", (_CUP,))
        for key in _LABEL_KEYS
    ),
    Layout(
        "several `tags`",
        lambda: [{"xyxy": CUP, "tags": ["cup", "red"]}],
        "any",
        (Region(box=CUP, label="cup, red"),),
    ),
    Layout(
        "keys in another spelling, such as `XMin`, `ClassName`",
        lambda: [{"XMin": 300, "YMin": 100, "XMax": 400, "YMax": 200, "ClassName": "cup", "Confidence": 0.9}],
        "any",
        (_CUP,),
    ),
    Layout(
        "names and score inside of the box",
        lambda: [{"box": {"x_min": 300, "y_min": 100, "x_max": 400, "y_max": 200, "label": "cup", "score": 0.9}}],
        "CompreFace",
        (_CUP,),
    ),
    Layout(
        "`bounds` of named corners",
        lambda: [{"class_name": "cup", "bounds": {"left": 300, "top": 100, "width": 100, "height": 100}}],
        "a REST service",
        (Region(box=CUP, label="cup"),),
    ),
    Layout(
        "one row with `xyxy`, without a list",
        lambda: {"xyxy": CUP, "label": "cup", "score": 0.9},
        "any",
        (_CUP,),
    ),
    Layout(
        "`{success: false, predictions: []}`",
        lambda: {"success": False, "predictions": []},
        "a REST service that failed",
        refusal="the detector failed",
    ),
    Layout(
        'named corners with `"unit": "mm"`',
        lambda: [{"x1": 30, "y1": 10, "x2": 40, "y2": 20, "unit": "mm"}],
        "a REST service",
        refusal="'pixel', 'percent' or 'normalized'",
    ),
    Layout(
        "boxes in pixels of an image of another size",
        lambda: {"image": {"width": 1280, "height": 960}, "detections": [{"xyxy": CUP, "label": "cup"}]},
        "a REST service",
        refusal="its image is 1280 x 960 pixels",
        arguments={"image_size": SIZE},
    ),
    Layout("`polygon` of pairs", lambda: [{"polygon": [list(p) for p in TURNED], "label": "cup"}], "any", (_POLYGON,)),
    Layout(
        "`polygon` of points with x and y",
        lambda: [{"polygon": [{"x": x, "y": y} for x, y in TURNED], "label": "cup"}],
        "any",
        (_POLYGON,),
    ),
    Layout(
        "`poly` of flat numbers",
        lambda: [{"poly": [side for point in TURNED for side in point], "label": "cup"}],
        "any",
        (_POLYGON,),
    ),
    Layout(
        "corners and a polygon",
        lambda: [{"xmin": 300, "ymin": 100, "xmax": 400, "ymax": 200, "polygon": _QUAD, "label": "cup"}],
        "any",
        (Region(box=CUP, polygon=_QUAD, label="cup"),),
    ),
    Layout(
        "corners and a polygon that disagree",
        lambda: [{"xmin": 0, "ymin": 0, "xmax": 40, "ymax": 40, "polygon": TURNED}],
        "any",
        refusal="lies outside the box",
    ),
    Layout(
        "a box and a mask",
        lambda: [{"xyxy": CUP, "mask": mask_of(CUP)}],
        "any",
        (Region(box=CUP, mask=mask_of(CUP)),),
    ),
    Layout(
        "a box and an empty mask",
        lambda: [{"label": "cup", "score": 0.9, "bbox": fractions(CUP), "mask": np.zeros((480, 640), np.uint8)}],
        "a REST service",
        (_CUP,),
        arguments={"image_size": SIZE, "box_format": "xyxyn"},
    ),
    Layout("`segmentation` as an array", lambda: [{"segmentation": mask_of(CUP), "name": "cup"}], "any", (_MASK,)),
    Layout(
        "`segmentation` as RLE", lambda: [{"segmentation": encode_rle(mask_of(CUP)), "name": "cup"}], "any", (_MASK,)
    ),
    Layout(
        "`{success, predictions}`",
        lambda: {
            "success": True,
            "predictions": [
                {"x_min": 300, "y_min": 100, "x_max": 400, "y_max": 200, "label": "cup", "confidence": 0.9}
            ],
        },
        "DeepStack, CodeProject.AI",
        (_CUP,),
    ),
    Layout(
        "`{error, predictions: []}`",
        lambda: {"error": "out of memory", "predictions": []},
        "a REST service that failed",
        refusal="no known format",
    ),
    Layout(
        "`{result: {box_format, detections}}`",
        lambda: {"result": {"box_format": "xyxy", "detections": [{"bbox": CUP, "label": "cup", "score": 0.9}]}},
        "a REST service",
        (_CUP,),
    ),
    Layout(
        'named corners with `"unit": "percent"`',
        lambda: [{"xmin": 46.875, "ymin": 20.83333, "xmax": 62.5, "ymax": 41.66667, "unit": "percent", "label": "cup"}],
        "a REST service",
        (Region(box=CUP, label="cup"),),
        arguments={"image_size": SIZE},
    ),
    Layout(
        "`{xyxy, scores, labels}`",
        lambda: {"xyxy": np.array([CUP]), "scores": [0.9], "labels": ["cup"]},
        "any",
        (_CUP,),
    ),
    Layout(
        "a score of -1", lambda: [{"xyxy": CUP, "score": -1}], "any", refusal="Drop the key where the score is unknown"
    ),
)
