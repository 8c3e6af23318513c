"""Ten boxes on a 1920 x 1080 image: `mark`, plain cv2, supervision, and a full-size layer per region."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image, ImageDraw

from benchmarks.answering import Row
from benchmarks.checkpoint import make_image
from benchmarks.timing import measure
from langchain_vipllava import Region, mark
from langchain_vipllava.markers.kinds import COLORS, MarkerKind

BOXES = [(40 + 180 * index, 120, 200 + 180 * index, 500 + 40 * index) for index in range(10)]
KINDS: list[MarkerKind] = ["ellipse" if index == 9 else "rectangle" for index in range(10)]


def rows(repeats: int) -> list[Row]:
    """Measure one row per baseline. Every implementation takes a PIL image and returns one."""
    image = make_image(0, (1920, 1080)).decode()
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
    annotate = _supervision(image)
    if annotate is not None:
        functions["supervision"] = annotate
    times = measure(functions, 10 * repeats)
    return [
        Row("mark 10 boxes on 1920x1080", name, times["ours"], times[name], targets[name])
        for name in functions
        if name != "ours"
    ]


def _supervision(image: Image.Image) -> Callable[[], object] | None:
    try:
        import supervision  # noqa: PLC0415  # optional
    except ImportError:
        return None
    detections = supervision.Detections(xyxy=np.array(BOXES, dtype=float), class_id=np.arange(10))
    annotator = supervision.BoxAnnotator(thickness=15)
    return lambda: annotator.annotate(image.copy(), detections)
