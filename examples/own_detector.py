"""A detector with a format that the package does not have: register the format, use it in a chain."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from langchain_vipllava import DetectRegions, MarkRegions, Region, register_format

SCENE = Path(__file__).parent / "scene.png"


def my_detector(image: Image.Image) -> dict[str, Any]:
    """Stands in for yours: finds one thing, in a format that nobody else uses."""
    assert image.mode == "RGB"
    return {"things": [{"what": "ball", "center": (0.5, 0.22), "half_side": 0.17}], "made_by": "my detector"}


def is_mine(detections: Any) -> bool:
    return isinstance(detections, dict) and detections.get("made_by") == "my detector"


def read_mine(detections: Any, context: Any) -> Iterator[Region]:
    width, height = context.image_size
    for thing in detections["things"]:
        x, y, half = thing["center"][0] * width, thing["center"][1] * height, thing["half_side"] * width
        yield Region(box=(x - half, y - half, x + half, y + half), label=thing["what"])


register_format("my detector", is_mine, read_mine)

chain = DetectRegions(detector=my_detector) | MarkRegions(kind="arrow", numbers=True)
marked = chain.invoke({"image": SCENE})["marked"]
print(marked.regions)
print(marked.phrases)
