"""What vision-language models answer: text, JSON in text, and what their processors make of it."""

from __future__ import annotations

import base64
import json
from io import BytesIO

import numpy as np
from PIL import Image

from langchain_vipllava.regions.region import Region
from tests.regions.layouts.layout import SIZE, Layout

GROUP = "Vision-language models"

# 640 x 480: x in thousandths is 0.64 px, y is 0.48 px; a 1024th is 0.625 px and 0.46875 px.
_CUP = Region(box=(64, 96, 256, 288), label="cup")  # 100, 200, 400, 600 of 1000
_SPOON = Region(box=(320, 48, 576, 432), label="red spoon")  # 500, 100, 900, 900 of 1000
_BOTH = (_CUP, _SPOON)
_SIZED = {"image_size": SIZE}
_POINTS = (Region(point=(64, 96), label="cup"), Region(point=(320, 48), label="cup"))

_GEMINI = [{"box_2d": [200, 100, 600, 400], "label": "cup"}, {"box_2d": [100, 500, 900, 900], "label": "red spoon"}]
_QWEN3 = [{"bbox_2d": [100, 200, 400, 600], "label": "cup"}, {"bbox_2d": [500, 100, 900, 900], "label": "red spoon"}]


def _png(values):
    file = BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _mask(right):
    mask = np.zeros((480, 640), dtype=bool)
    mask[96:288, 64:right] = True
    return mask


def _gemini_mask():
    # the left half of the box, as a map of the box
    part = np.zeros((192, 192), dtype=np.uint8)
    part[:, :96] = 255
    return [{"box_2d": [200, 100, 600, 400], "mask": f"data:image/png;base64,{_png(part)}", "label": "cup"}]


LAYOUTS = (
    Layout("Gemini `box_2d`", lambda: _GEMINI, "Gemini API, Image understanding", _BOTH, arguments=_SIZED),
    Layout(
        "Gemini, in a fence with sentences around",
        lambda: f"Here are the boxes:\n```json\n{json.dumps(_GEMINI, indent=2)}\n```\nI found 2 [two] objects.",
        "Gemini API, Image understanding",
        _BOTH,
        arguments=_SIZED,
    ),
    Layout(
        "Gemini, sentences around and no fence",
        lambda: f"There are two:\n{json.dumps(_GEMINI)}\nTell me if you need more.",
        "Gemini API, Image understanding",
        _BOTH,
        arguments=_SIZED,
    ),
    Layout(
        "Gemini, one object a line",
        lambda: "\n".join(map(json.dumps, _GEMINI)),
        "answers in forums",
        _BOTH,
        arguments=_SIZED,
    ),
    Layout(
        "Gemini, in an object of a response schema",
        lambda: {"objects": _GEMINI, "count": 2},
        "Gemini API, Structured output",
        _BOTH,
        arguments=_SIZED,
    ),
    Layout(
        "Gemini's masks",
        _gemini_mask,
        "Gemini API, Segmentation",
        (Region(box=(64, 96, 256, 288), mask=_mask(160), label="cup"),),
        arguments=_SIZED,
    ),
    Layout(
        "Gemini points, named",
        lambda: [{"point": [200, 100], "label": "cup"}, {"point": [100, 500], "label": "cup"}],
        "Gemini Robotics-ER, Pointing",
        _POINTS,
        arguments={"format": "gemini", **_SIZED},
    ),
    Layout(
        "Gemini points, or pixels of another model",
        lambda: [{"point": [200, 100], "label": "cup"}],
        "Gemini Robotics-ER, Pointing",
        refusal="format='gemini'",
        arguments=_SIZED,
    ),
    Layout(
        "Gemini, beyond 1000",
        lambda: [{"box_2d": [200, 100, 600, 1400], "label": "cup"}],
        "answers in forums",
        refusal="outside of 0..1000",
        arguments=_SIZED,
    ),
    Layout("Gemini, no size", lambda: _GEMINI, "Gemini API", refusal="pass image_size="),
    Layout(
        "Gemini, cut short",
        lambda: "```json\n" + json.dumps(_GEMINI)[:-20],
        "answers at the limit of tokens",
        refusal="cut short",
        arguments=_SIZED,
    ),
    Layout(
        "Qwen3-VL `bbox_2d`",
        lambda: f"```json\n{json.dumps(_QWEN3)}\n```",
        "Qwen3-VL's cookbook, 2D grounding",
        _BOTH,
        arguments={"format": "qwen3", **_SIZED},
    ),
    Layout(
        # 640 x 480 is resized to 644 x 476
        "Qwen2.5-VL `bbox_2d`",
        lambda: [{"bbox_2d": [64.4, 95.2, 257.6, 285.6], "label": "cup"}],
        "qwen_vl_utils, smart_resize",
        (_CUP,),
        arguments={"format": "qwen2.5", **_SIZED},
    ),
    Layout(
        "Qwen-VL `bbox_2d` in pixels of the image",
        lambda: [{"bbox_2d": [64, 96, 256, 288], "label": "cup"}],
        "Qwen2.5-VL's cookbook",
        (_CUP,),
        arguments={"box_format": "xyxy"},
    ),
    Layout(
        "Qwen-VL `bbox_2d`, nothing said",
        lambda: _QWEN3,
        "Qwen-VL",
        refusal="format='qwen2.5' or 'qwen3'",
        arguments=_SIZED,
    ),
    Layout(
        "Qwen3-VL `point_2d`",
        lambda: [{"point_2d": [100, 200], "label": "cup"}, {"point_2d": [500, 100], "label": "cup"}],
        "Qwen3-VL's cookbook, 2D grounding",
        _POINTS,
        arguments={"format": "qwen3", **_SIZED},
    ),
    Layout(
        "Qwen2-VL text",
        lambda: "<|object_ref_start|>cup<|object_ref_end|><|box_start|>(100,200),(400,600)<|box_end|><|im_end|>",
        "Qwen2-VL's README",
        (_CUP,),
        arguments=_SIZED,
    ),
    Layout(
        "Qwen-VL text",
        lambda: "<ref>cup</ref><box>(100,200),(400,600)</box> and <ref> red spoon</ref><box>(500,100),(900,900)</box>",
        "Qwen-VL's README",
        _BOTH,
        arguments=_SIZED,
    ),
    Layout(
        "InternVL text",
        lambda: "Sure. <ref>cup</ref><box>[[100, 200, 400, 600], [500, 100, 900, 900]]</box>",
        "InternVL, Grounding",
        (_CUP, _SPOON.model_copy(update={"label": "cup"})),
        arguments=_SIZED,
    ),
    Layout(
        "MiniCPM-V text",
        lambda: "<ref>cup</ref><box>100 200 400 600</box>",
        "MiniCPM-V 2.6",
        (_CUP,),
        arguments=_SIZED,
    ),
    Layout(
        "Ovis2.5 text",
        lambda: "The <ref>cup</ref><box>(0.100,0.200),(0.400,0.600)</box>.",
        "Ovis2.5's model card",
        (_CUP,),
        arguments=_SIZED,
    ),
    Layout(
        "DeepSeek-VL2 text",
        lambda: "<|ref|>cup<|/ref|><|det|>[[0, 0, 999, 333]]<|/det|>",
        "DeepSeek-VL2's source",
        (Region(box=(0, 0, 640, 160), label="cup"),),
        arguments=_SIZED,
    ),
    Layout(
        "GLM-4.5V text",
        lambda: "The cup is at <|begin_of_box|>[[100, 200, 400, 600]]<|end_of_box|>.",
        "GLM-V's README",
        (Region(box=_CUP.box),),
        arguments=_SIZED,
    ),
    Layout(
        "Seed-VL text",
        lambda: "<bbox>100 200 400 600</bbox>",
        "Seed1.5-VL's cookbook",
        (Region(box=_CUP.box),),
        arguments=_SIZED,
    ),
    Layout(
        "Molmo, one point",
        lambda: ' <point x="10.0" y="20.0" alt="cup">cup</point>',
        "Molmo's model card",
        _POINTS[:1],
        arguments=_SIZED,
    ),
    Layout(
        "Molmo, several points",
        lambda: 'Counting the <points x1="10.0" y1="20.0" x2="50.0" y2="10.0" alt="cup">cup</points> shows 2.',
        "Molmo's model card",
        _POINTS,
        arguments=_SIZED,
    ),
    Layout(
        "Molmo 2 points",
        lambda: '<points coords="1 1 100 200 2 500 100">cup</points>',
        "Molmo 2's source",
        _POINTS,
        arguments=_SIZED,
    ),
    Layout(
        "Molmo 2, several images",
        lambda: '<points coords="1 1 100 200;2 1 500 100">cup</points>',
        "Molmo 2's source",
        refusal="those of one image",
        arguments=_SIZED,
    ),
    Layout(
        "PaliGemma text",
        # y0, x0, y1, x1 of 1024
        lambda: "<loc0256><loc0128><loc0512><loc0640> cup ; <loc0000><loc0512><loc1023><loc0768> red spoon<eos>",
        "big_vision, PaliGemma",
        (Region(box=(80, 120, 400, 240), label="cup"), Region(box=(320, 0, 480, 479.53125), label="red spoon")),
        arguments=_SIZED,
    ),
    Layout(
        "PaliGemma text with masks, read as boxes",
        lambda: "<loc0256><loc0128><loc0512><loc0640>" + "<seg007>" * 16 + " cup",
        "big_vision, PaliGemma",
        (Region(box=(80, 120, 400, 240), label="cup"),),
        arguments=_SIZED,
    ),
    Layout(
        "Florence-2 text",
        # (bin + 0.5) / 1000
        lambda: "</s><s><s>cup<loc_99><loc_199><loc_399><loc_599></s>",
        "Florence-2's processor",
        (Region(box=(63.68, 95.76, 255.68, 287.76), label="cup"),),
        arguments=_SIZED,
    ),
    Layout(
        "Florence-2 text, boxes or outline",
        lambda: "cup<loc_99><loc_199><loc_399><loc_599><loc_9><loc_19><loc_39><loc_59>",
        "Florence-2's processor",
        refusal="post_process_generation",
        arguments=_SIZED,
    ),
    Layout(
        "Kosmos-2 entities",
        lambda: [("a cup", (12, 17), [(0.1, 0.2, 0.4, 0.6)]), ("a spoon", (21, 28), [(0.5, 0.1, 0.9, 0.9)])],
        "transformers, Kosmos-2",
        (Region(box=_CUP.box, label="a cup"), Region(box=_SPOON.box, label="a spoon")),
        arguments=_SIZED,
    ),
    Layout(
        "Kosmos-2 `post_process_generation`",
        lambda: ("An image of a cup.", [("a cup", (12, 17), [(0.1, 0.2, 0.4, 0.6)])]),
        "transformers, Kosmos-2",
        (Region(box=_CUP.box, label="a cup"),),
        arguments=_SIZED,
    ),
    Layout(
        "Kosmos-2 text",
        # cells of 20 x 15 px: 100 is column 4, row 3; 334 is column 14, row 10; from center to center
        lambda: "<grounding> An image of<phrase> a cup</phrase><object><patch_index_0100><patch_index_0334></object>.",
        "transformers, Kosmos-2",
        (Region(box=(90, 52.5, 290, 157.5), label="a cup"),),
        arguments=_SIZED,
    ),
    Layout(
        "CogVLM text",
        lambda: "A cup [[100,200,400,600]] beside a spoon [[500,099,900,900]].",
        "CogVLM's README",
        (Region(box=_CUP.box, label="A cup"), Region(box=(320, 47.52, 576, 432), label="beside a spoon")),
        arguments=_SIZED,
    ),
    Layout(
        "CogVLM, one box",
        lambda: "[[100,200,400,600]]",
        "CogVLM's README",
        (Region(box=_CUP.box),),
        arguments={"format": "cogvlm", **_SIZED},
    ),
    Layout(
        "CogVLM, one box that is no JSON",
        lambda: "[[012,200,400,600]]",
        "CogVLM's README",
        (Region(box=(7.68, 96, 256, 288)),),
        arguments=_SIZED,
    ),
    Layout(
        "moondream `detect`",
        lambda: {"objects": [{"x_min": 0.1, "y_min": 0.2, "x_max": 0.4, "y_max": 0.6}]},
        "moondream's documentation, Detect",
        (Region(box=_CUP.box),),
        arguments=_SIZED,
    ),
    Layout(
        "moondream `point`",
        lambda: {"points": [{"x": 0.1, "y": 0.2}]},
        "moondream's documentation, Point",
        (Region(point=(64, 96)),),
        arguments=_SIZED,
    ),
    Layout("moondream, nothing found", lambda: {"objects": []}, "moondream's documentation", ()),
    Layout(
        "DINO-X",
        lambda: {
            "objects": [
                {
                    "bbox": [64.0, 96.0, 256.0, 288.0],
                    "category": "cup",
                    "score": 0.9,
                    # 192 columns of 192 rows, from column 64 and row 96
                    "mask": {"counts": [64 * 480 + 96, *[192, 288] * 191, 192, 384 * 480 + 192], "size": [480, 640]},
                }
            ]
        },
        "DINO-X API, Detection",
        (Region(box=_CUP.box, mask=_mask(256), label="cup", score=0.9),),
    ),
    Layout(
        "boxes without a name for their layout (Claude, GPT)",
        lambda: 'The cup:\n```json\n[{"label": "cup", "bbox": [64, 96, 256, 288]}]\n```',
        "answers in forums",
        refusal="pass box_format=",
    ),
    Layout(
        "the same, said",
        lambda: 'The cup:\n```json\n[{"label": "cup", "bbox": [64, 96, 256, 288]}]\n```',
        "answers in forums",
        (_CUP,),
        arguments={"box_format": "xyxy"},
    ),
    Layout(
        "phrases under other keys",
        lambda: [
            {"phrase": "cup", "x1": 64, "y1": 96, "x2": 256, "y2": 288},
            {"object": "red spoon", "x1": 320, "y1": 48, "x2": 576, "y2": 432},
        ],
        "answers in forums",
        _BOTH,
    ),
)
