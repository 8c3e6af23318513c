"""Marking a 1920 x 1080 image: ten boxes, beside plain cv2, supervision and a full-size layer per region; 60 numbers.

supervision draws the 60 labels above their boxes, or with `smart_position` off one another. `mark` looks for a place of
each number that nothing else claims, and for colors that stand out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

from benchmarks.answering import Row
from benchmarks.checkpoint import make_image
from benchmarks.timing import measure
from langchain_vipllava import Region, mark
from langchain_vipllava.markers.kinds import COLORS, MarkerKind

SIZE = (1920, 1080)
BOXES = [(40 + 180 * index, 120, 200 + 180 * index, 500 + 40 * index) for index in range(10)]
KINDS: list[MarkerKind] = ["ellipse" if index == 9 else "rectangle" for index in range(10)]

NUMBERED = 60
"""Regions with numbers: a crowded scene, or a screen."""


def rows(repeats: int) -> list[Row]:
    """Measure one row per baseline. Every implementation takes a PIL image and returns one."""
    image = make_image(0, SIZE).decode()
    return [*_ten_boxes(image, repeats), *_numbered(image, repeats)]


def _ten_boxes(image: Image.Image, repeats: int) -> list[Row]:
    regions = [Region(box=box) for box in BOXES]
    colors = [*COLORS.values(), COLORS["red"]]

    def ours() -> None:
        mark(image, regions, kind=KINDS)

    def plain_cv2() -> None:
        canvas = np.array(image)
        for (x0, y0, x1, y1), color in zip(BOXES, colors, strict=True):
            cv2.rectangle(canvas, (x0, y0), (x1, y1), color, 15)
        Image.fromarray(canvas)

    def layer_per_region() -> None:
        """Composite a transparent layer of the image's size for each region, as ViP-LLaVA's repository does."""
        result = image
        for box, color in zip(BOXES, colors, strict=True):
            result = result.convert("RGB")  # ViP-LLaVA's code copies here too
            layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
            ImageDraw.Draw(layer).rectangle(box, outline=(*color, 255), width=15)
            result = Image.alpha_composite(result.convert("RGBA"), layer).convert("RGB")

    functions: dict[str, Callable[[], object]] = {
        "ours": ours,
        "plain cv2": plain_cv2,
        "a layer per region": layer_per_region,
    }
    targets = {"plain cv2": 0.5, "a layer per region": 100.0, "supervision": 1.0}
    if (supervision := _supervision()) is not None:
        detections = supervision.Detections(xyxy=np.array(BOXES, dtype=float), class_id=np.arange(10))
        annotator = supervision.BoxAnnotator(thickness=15)
        functions["supervision"] = lambda: annotator.annotate(image.copy(), detections)
    return _rows("mark 10 boxes on 1920x1080", functions, targets, repeats)


def _numbered(image: Image.Image, repeats: int) -> list[Row]:
    if (supervision := _supervision()) is None:
        return []
    rng = np.random.default_rng(0)
    sides = rng.uniform(60, 150, (NUMBERED, 2))
    corners = rng.uniform(0, 1, (NUMBERED, 2)) * (np.array(SIZE) - sides)
    boxes = np.hstack([corners, corners + sides])
    regions = [Region(box=tuple(box)) for box in boxes.tolist()]
    detections = supervision.Detections(xyxy=boxes, class_id=np.arange(NUMBERED))
    texts = [str(number + 1) for number in range(NUMBERED)]
    annotator = supervision.BoxAnnotator(thickness=15)

    def labeled(labels: Any) -> None:
        labels.annotate(annotator.annotate(image.copy(), detections), detections, texts)

    names = {"supervision, boxes and labels": False, "supervision, labels off one another": True}
    functions: dict[str, Callable[[], object]] = {
        "ours": lambda: mark(image, regions, kind="auto", numbers=True),
        **{name: partial(labeled, supervision.LabelAnnotator(smart_position=smart)) for name, smart in names.items()},
    }
    return _rows(f"mark {NUMBERED} numbered regions on 1920x1080", functions, dict.fromkeys(names, 1.0), repeats)


def _rows(
    workload: str, functions: Mapping[str, Callable[[], object]], targets: Mapping[str, float], repeats: int
) -> list[Row]:
    times = measure(functions, 10 * repeats)
    return [Row(workload, name, times["ours"], times[name], targets[name]) for name in functions if name != "ours"]


def _supervision() -> Any:
    try:
        import supervision  # noqa: PLC0415  # optional
    except ImportError:
        return None
    return supervision
