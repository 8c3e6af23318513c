"""Options that several commands share: only their declarations, so that --help loads nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

KINDS = "rectangle, ellipse, triangle, point, scribble, mask contour, mask, arrow"
"""The kinds of `markers.kinds`, which loads OpenCV; a test compares them."""

COLORS = "red, lime, blue, yellow, fuchsia, aqua, orange, purple, gold"
"""The colors of `markers.kinds`, in the order in which they are given out; a test compares them."""

_MARKS, _MODEL, _OUTPUT = "Regions and markers", "Model", "Output"

ImageArgument = Annotated[
    str, typer.Argument(help="Path, http(s) URL or data: URI of an image; - reads the image from standard input.")
]
BoxOption = Annotated[
    list[str] | None,
    typer.Option(
        "--box", "-b", help="A box x0,y0,x1,y1 in pixels (or a point x,y); can be repeated.", rich_help_panel=_MARKS
    ),
]
DetectionsOption = Annotated[
    str | None,
    typer.Option(
        "--detections",
        "-d",
        help="File with a detector's output, such as JSON, CSV, YOLO txt or Pascal VOC XML; - reads standard input.",
        rich_help_panel=_MARKS,
    ),
]
DetectorOption = Annotated[
    str | None,
    typer.Option(
        "--detector",
        help="Run a detector: 'shapes', 'faces', or package.module:name of your own callable, such as a pipeline.",
        rich_help_panel=_MARKS,
    ),
]
SegmenterOption = Annotated[
    str | None,
    typer.Option(
        "--segmenter",
        help="Turn points into masks: 'shapes', package.module:name of your own callable, or sam:CHECKPOINT.",
        rich_help_panel=_MARKS,
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        help="Format of the detections, such as coco or ultralytics, where it cannot be told.", rich_help_panel=_MARKS
    ),
]
BoxFormatOption = Annotated[
    str | None,
    typer.Option(
        help="Layout of bare boxes: xyxy, xywh, cxcywh or yxyx; with an n at the end for 0..1.", rich_help_panel=_MARKS
    ),
]
MinScoreOption = Annotated[float, typer.Option(help="Leave out detections below this score.", rich_help_panel=_MARKS)]
MaxRegionsOption = Annotated[
    int | None,
    typer.Option(help="Mark at most this many detections, best scores first.", rich_help_panel=_MARKS),
]
KindOption = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        "-k",
        help=f"Kind of marker: one for all regions, or one per region. One of {KINDS}; auto chooses.",
        rich_help_panel=_MARKS,
    ),
]
ColorOption = Annotated[
    list[str] | None,
    typer.Option(
        "--color",
        "-c",
        help=f"Color of a marker: one per region. One of {COLORS}; auto chooses.",
        rich_help_panel=_MARKS,
    ),
]
NumbersOption = Annotated[bool, typer.Option("--numbers", help="Draw a number at each region.", rich_help_panel=_MARKS)]
ZoomOption = Annotated[
    bool, typer.Option("--zoom", help="Crop around the regions if they are small.", rich_help_panel=_MARKS)
]
SeedOption = Annotated[
    int | None,
    typer.Option(help="Seed. Draws in the hand-drawn style of the training data.", rich_help_panel=_MARKS),
]

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        envvar="VIPLLAVA_MODEL",
        help="Hub id or folder of a ViP-LLaVA checkpoint, such as llava-hf/vip-llava-7b-hf; "
        "'bundled', the default, is the small checkpoint in this package. With --base-url the name under which the "
        "servers serve, by default their only one.",
        rich_help_panel=_MODEL,
    ),
]
BaseUrlOption = Annotated[
    list[str] | None,
    typer.Option(
        "--base-url",
        envvar="VIPLLAVA_BASE_URL",
        help="Ask the server at this address, such as http://gpu-host:8000/v1, instead of loading a model; can be "
        "repeated. Its key comes from VIPLLAVA_API_KEY.",
        rich_help_panel=_MODEL,
    ),
]
TokenizerOption = Annotated[
    str | None,
    typer.Option(
        help="Folder or hub id of the checkpoint that the servers run, where --model does not name it.",
        rich_help_panel=_MODEL,
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cuda, cuda:1, mps or cpu.", rich_help_panel=_MODEL)]
DtypeOption = Annotated[str, typer.Option(help="auto, float16, bfloat16 or float32.", rich_help_panel=_MODEL)]
QuantizationOption = Annotated[
    str | None, typer.Option(help="8bit or 4bit weights, on a CUDA GPU or a CPU.", rich_help_panel=_MODEL)
]
AttentionOption = Annotated[str | None, typer.Option(help="sdpa, eager or flash_attention_2.", rich_help_panel=_MODEL)]
PromptFormatOption = Annotated[
    str,
    typer.Option(
        help="user_assistant, llava_v1 or human_assistant. The published 7B and 13B were trained with llava_v1, the "
        "bundled checkpoint with user_assistant.",
        rich_help_panel=_MODEL,
    ),
]
MaxTokensOption = Annotated[int, typer.Option(help="Maximum number of tokens of an answer.", rich_help_panel=_MODEL)]
TemperatureOption = Annotated[
    float,
    typer.Option(help="0 always takes the most likely token; higher values vary the answers.", rich_help_panel=_MODEL),
]
SamplingSeedOption = Annotated[
    int | None,
    typer.Option(help="Makes the answers of a --temperature above 0 repeatable.", rich_help_panel=_MODEL),
]

_SAVED = "An existing file is overwritten, but never the input; folders are not made."
SaveOption = Annotated[
    Path | None,
    typer.Option("--save", "-o", help=f"Write the marked image to this file. {_SAVED}", rich_help_panel=_OUTPUT),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        "--save",
        help=f"File for the marked image; - writes a PNG to standard output. {_SAVED}",
        rich_help_panel=_OUTPUT,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Write JSON to standard output, one document per line.", rich_help_panel=_OUTPUT)
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", help="Write nothing but answers and errors.", rich_help_panel=_OUTPUT)
]
