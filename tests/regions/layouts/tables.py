"""Arrays, tensors, data frames and lists of numbers."""

from __future__ import annotations

import json

import numpy as np

from langchain_vipllava.regions.region import Region
from tests.regions.layouts.layout import SIZE, Layout
from tests.regions.layouts.parts import BOXES, CAT, CENTER, CUP, SIDES, cxcywh, fractions, mask_of, tensor, xywh

GROUP = "Tables of numbers and columns"

_CUP = Region(box=CUP, label="cup", score=0.9)
_BARE = (Region(box=CUP), Region(box=CAT))
_COLUMNS = {"xmin": [300], "ymin": [100], "xmax": [400], "ymax": [200], "confidence": [0.9], "name": ["cup"]}


def _frame(**columns):
    import pandas as pd

    return pd.DataFrame(columns or _COLUMNS)


def _frame_of(rows):
    import pandas as pd

    return pd.DataFrame(rows)


LAYOUTS = (
    Layout("(N, 4) array or list", lambda: np.array(BOXES), "NumPy", refusal="pass box_format='xyxy', 'xywh' or"),
    Layout("(N, 4), two corners", lambda: np.array(BOXES), "NumPy", _BARE, arguments={"box_format": "xyxy"}),
    Layout(
        "(N, 4), y first, in 0..1",
        lambda: np.array([[CUP[1] / 480, CUP[0] / 640, CUP[3] / 480, CUP[2] / 640]]),
        "TensorFlow",
        (Region(box=CUP),),
        arguments={"box_format": "yxyxn", "image_size": SIZE},
    ),
    Layout(
        "(N, 5) or (N, 6), score and class behind the box",
        lambda: tensor([[*CUP, 0.9, 7]]),
        "torch",
        (Region(box=CUP, score=0.9, label="class 7"),),
        arguments={"box_format": "xyxy"},
    ),
    Layout(
        "(N, 5), center and size, then a score or an angle",
        lambda: np.array([[*CENTER, *SIDES, 0.6]]),
        "Ultralytics `obb.xywhr`",
        refusal="format='xywhr' for an angle",
        arguments={"box_format": "cxcywh"},
    ),
    Layout(
        "the same, with a score",
        lambda: np.array([[*cxcywh(CUP), 0.6]]),
        "NumPy",
        (Region(box=CUP, score=0.6),),
        arguments={"box_format": "cxcywh", "format": "table"},
    ),
    Layout(
        "`Results.boxes.data`, (N, 6)",
        lambda: tensor([[*CUP, 0.9, 41]]),
        "Ultralytics",
        (Region(box=CUP, score=0.9, label="class 41"),),
        arguments={"format": "ultralytics-data"},
    ),
    Layout(
        "`Results.boxes.data` of a tracker, (N, 7)",
        lambda: tensor([[*CUP, 5, 0.9, 41]]),
        "Ultralytics",
        (Region(box=CUP, score=0.9, label="class 41", id="5"),),
        arguments={"format": "ultralytics-data"},
    ),
    Layout("rows of 7 numbers", lambda: tensor([[*CUP, 5, 0.9, 41]]), "Ultralytics", refusal="'ultralytics-data'"),
    Layout(
        "`tracker.update`, (N, 8)",
        lambda: np.array([[*CUP, 5, 0.9, 41, 0]]),
        "BoxMOT",
        (Region(box=CUP, score=0.9, label="class 41", id="5"),),
        arguments={"format": "boxmot"},
    ),
    Layout("rows of 8 numbers", lambda: np.array([[*CUP, 5, 0.9, 41, 0]]), "BoxMOT", refusal="'boxmot'"),
    Layout(
        "`Sort.update`, (N, 5)",
        lambda: np.array([[*CUP, 5.0]]),
        "SORT",
        (Region(box=CUP, id="5"),),
        arguments={"format": "sort"},
    ),
    Layout(
        "MOT Challenge rows of one frame, (N, 10)",
        lambda: np.array([[1, 5, *xywh(CUP), 0.9, -1, -1, -1]]),
        "MOT16",
        (Region(box=CUP, id="5", score=0.9),),
        arguments={"format": "mot"},
    ),
    Layout(
        "dict of columns with named corners",
        lambda: _COLUMNS,
        "`DataFrame.to_dict('list')`",
        (_CUP,),
    ),
    Layout(
        "`DataFrame.to_dict()`",
        lambda: {name: dict(enumerate(values)) for name, values in _COLUMNS.items()},
        "pandas",
        (_CUP,),
    ),
    Layout("`DataFrame` with named corners", _frame, "pandas", (_CUP,), needs="pandas"),
    Layout(
        "`DataFrame` with a column of boxes",
        lambda: _frame(bbox=[list(CUP)], label=["cup"], score=[0.9]),
        "pandas",
        (_CUP,),
        arguments={"box_format": "xyxy"},
        needs="pandas",
    ),
    Layout("a row of a `DataFrame`, a `Series`", lambda: _frame().iloc[0], "pandas", (_CUP,), needs="pandas"),
    Layout(
        "`DataFrame` whose index has a name",
        lambda: _frame().set_index("name"),
        "pandas",
        (_CUP,),
        needs="pandas",
    ),
    Layout(
        "`DataFrame` without names of columns",
        lambda: _frame_of([CUP]),
        "pandas",
        (Region(box=CUP),),
        arguments={"box_format": "xyxy"},
        needs="pandas",
    ),
    Layout("`DataFrame.to_dict('split')`", lambda: _frame().to_dict("split"), "pandas", (_CUP,), needs="pandas"),
    Layout("structured array", lambda: _frame().to_records(index=False), "NumPy", (_CUP,), needs="pandas"),
    Layout(
        "`model(img).pandas().xyxy[0]`",
        lambda: _frame(**_COLUMNS, **{"class": [41]}),
        "YOLOv5",
        (_CUP,),
        needs="pandas",
    ),
    Layout(
        "`DataFrame.to_json(orient='records')`",
        lambda: json.dumps([{name: values[0] for name, values in _COLUMNS.items()}]),
        "pandas",
        (_CUP,),
    ),
    Layout(
        "CSV text or file with a header",
        lambda: "xmin,ymin,xmax,ymax,confidence,name\n300,100,400,200,0.9,cup\n",
        "pandas `to_csv`",
        (_CUP,),
    ),
    Layout(
        "CSV with a column of boxes as JSON",
        lambda: 'name,bbox,confidence\ncup,"[300, 100, 400, 200]",0.9\n',
        "pandas `to_csv`",
        (_CUP,),
        arguments={"box_format": "xyxy"},
    ),
    Layout(
        "`DataFrame` of that file",
        lambda: _frame(bbox=["[300, 100, 400, 200]"], name=["cup"], score=[0.9]),
        "pandas `read_csv`",
        (_CUP,),
        arguments={"box_format": "xyxy"},
        needs="pandas",
    ),
    Layout(
        "CSV with pandas' index",
        lambda: ",label,xmin,ymin,xmax,ymax\n0,cup,300,100,400,200\n",
        "pandas `to_csv`",
        (Region(box=CUP, label="cup"),),
    ),
    Layout(
        "CSV with the boxes of several images",
        lambda: "filename,class,xmin,ymin,xmax,ymax\na.jpg,cup,300,100,400,200\nb.jpg,cup,1,1,20,20\n",
        "TensorFlow's object detection, CSV",
        refusal="its rows are of 2 images",
    ),
    Layout(
        "JSON lines",
        lambda: '{"xyxy": [300, 100, 400, 200], "label": "cup", "score": 0.9}\n' * 2,
        "text",
        (_CUP, _CUP),
    ),
    Layout("`{boxes, scores, labels}`", lambda: {"boxes": [CUP], "scores": [0.9], "labels": ["cup"]}, "any", (_CUP,)),
    Layout(
        "the same with scores in percent",
        lambda: {"boxes": [CUP], "scores": [96.0], "labels": ["cup"]},
        "any",
        refusal="divide it by 100",
    ),
    Layout(
        "dicts with a score in percent",
        lambda: [{"xyxy": CUP, "confidence": 96.0}],
        "any",
        refusal="divide it by 100",
    ),
    Layout(
        "dicts with a box and a mask, box in 0..1",
        lambda: [{"label": "cup", "score": 0.9, "bbox": fractions(CUP), "mask": mask_of(CUP).astype(np.uint8)}],
        "a REST service",
        (Region(box=CUP, mask=mask_of(CUP), label="cup", score=0.9),),
        arguments={"image_size": SIZE, "box_format": "xyxyn"},
    ),
    Layout(
        "(boxes, scores, phrases)",
        lambda: (tensor([cxcywhn()]), tensor([0.9]), ["cup"]),
        "GroundingDINO `predict`",
        refusal="format='grounding-dino'",
        arguments={"image_size": SIZE},
    ),
    Layout(
        "(boxes, scores, phrases) of GroundingDINO",
        lambda: (tensor([cxcywhn()]), tensor([0.9]), ["cup"]),
        "GroundingDINO `predict`",
        (_CUP,),
        arguments={"image_size": SIZE, "format": "grounding-dino"},
    ),
    Layout("fractions without a word", lambda: [{"xyxy": fractions(CUP)}], "any", refusal="box_format='xyxyn'"),
)


def cxcywhn():
    """Return the cup as center and size in 0..1."""
    return fractions(cxcywh(CUP))
