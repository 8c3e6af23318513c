"""Arrays, tensors and lists of numbers."""

from __future__ import annotations

import numpy as np

from langchain_vipllava.regions.region import Region
from tests.regions.layouts.layout import SIZE, Layout

GROUP = "Tables of numbers"

_CUP = (300, 100, 400, 200)

LAYOUTS = (
    Layout(
        "(N, 4) array or list, two corners",
        lambda: np.array([_CUP]),
        "NumPy, torch",
        (Region(box=_CUP),),
        arguments={"box_format": "xyxy"},
    ),
    Layout("the same, nothing said", lambda: np.array([_CUP]), "NumPy, torch", refusal="box_format='xyxy', 'xywh' or"),
    Layout(
        "(N, 4), y first, in 0..1",
        lambda: np.array([[100 / 480, 300 / 640, 200 / 480, 400 / 640]]),
        "TensorFlow",
        (Region(box=_CUP),),
        arguments={"box_format": "yxyxn", "image_size": SIZE},
    ),
)
