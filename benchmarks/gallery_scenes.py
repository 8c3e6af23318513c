"""The images of the marker gallery, and what is marked on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from langchain_vipllava import Region


@dataclass(frozen=True)
class GalleryScene:
    """One image of the gallery.

    Attributes:
        name: name of its file.
        title: what the page says.
        image: RGB.
        regions: what is marked.
        options: of `mark`, for ours.
        focus: `(left, top, right, bottom)` of what is shown; None for all of it.
    """

    name: str
    title: str
    image: Image.Image
    regions: list[Region]
    options: dict[str, Any] = field(default_factory=dict)
    focus: tuple[int, int, int, int] | None = None


def scenes() -> list[GalleryScene]:
    """Make every image of the gallery."""
    makers: tuple[Callable[[], GalleryScene], ...] = (
        photograph,
        red_ground,
        equal_boxes,
        screenshot,
        icons,
        grid,
        shelf,
        overlapping,
        turned_boxes,
        masks,
        kinds,
        whole,
    )
    return [make() for make in makers]


def photograph() -> GalleryScene:
    """An astronaut, a rocket, a flag (scikit-image, public domain)."""
    from skimage import data  # noqa: PLC0415  # optional

    boxes = [(174, 65, 273, 164), (330, 20, 480, 250), (0, 0, 130, 330), (110, 220, 330, 440)]
    image = Image.fromarray(data.astronaut())
    return GalleryScene("photograph", "Photograph", image, _regions(boxes), {"numbers": True})


def red_ground() -> GalleryScene:
    """Red and lime paper."""
    image = Image.new("RGB", (640, 480), (255, 0, 0))
    pen = ImageDraw.Draw(image)
    pen.rectangle((320, 0, 640, 480), fill=(0, 255, 0))
    boxes = [(60, 60, 160, 180), (180, 250, 290, 420), (380, 60, 480, 180), (480, 260, 600, 420)]
    for index, box in enumerate(boxes):
        _object(pen, box, index)
    return GalleryScene("red-ground", "Red and lime ground", image, _regions(boxes), {"numbers": True})


def equal_boxes() -> GalleryScene:
    """One box twice, another one four times, an arrow, a point and a mask twice."""
    image = _paper((640, 480))
    pen = ImageDraw.Draw(image)
    places = [(40, 40, 200, 200), (250, 40, 410, 200), (460, 40, 600, 200), (60, 280, 200, 420), (290, 280, 430, 420)]
    for index, box in enumerate(places):
        _object(pen, (box[0] + 25, box[1] + 25, box[2] - 25, box[3] - 25), index)
    boxes = [places[0]] * 2 + [places[1]] * 4 + [places[2]] * 2 + [places[3]] * 2 + [places[4]] * 2
    kinds = ["rectangle"] * 6 + ["arrow"] * 2 + ["mask"] * 2 + ["point"] * 2
    return GalleryScene("equal-boxes", "One box several times", image, _regions(boxes), {"kind": kinds})


def screenshot() -> GalleryScene:
    """A desktop program of 1920 x 1080 with menu items of 66 x 34."""
    image = Image.new("RGB", (1920, 1080), (245, 245, 247))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, 1920, 44), fill=(228, 230, 235))
    boxes = []
    for index, word in enumerate(("File", "Edit", "View", "Help")):
        box = (12 + 78 * index, 5, 78 + 78 * index, 39)
        pen.text((box[0] + 33, 22), word, fill=(20, 20, 20), font=_font(20), anchor="mm")
        boxes.append(box)
    for index in range(6):
        left, top = 60 + 620 * (index % 3), 120 + 460 * (index // 3)
        pen.rounded_rectangle((left, top, left + 560, top + 400), 16, fill="white", outline=(210, 212, 220), width=2)
        pen.rectangle((left + 24, top + 24, left + 536, top + 230), fill=_PAINTS[index])
        pen.text((left + 24, top + 270), f"Card {index + 1}", fill=(30, 30, 30), font=_font(34), anchor="lm")
        pen.rounded_rectangle((left + 24, top + 320, left + 164, top + 372), 8, fill=(40, 90, 220))
        pen.text((left + 94, top + 346), "Open", fill="white", font=_font(24), anchor="mm")
    boxes += [(60, 120, 620, 520), (84, 440, 224, 492), (680, 120, 1240, 520)]
    return GalleryScene(
        "screenshot", "Screenshot, 1920 x 1080", image, _regions(boxes), {"numbers": True}, (0, 0, 960, 540)
    )


def icons() -> GalleryScene:
    """70 icons of 40 px."""
    image = Image.new("RGB", (1000, 760), (38, 50, 66))
    pen = ImageDraw.Draw(image)
    boxes = [(40 + 96 * (i % 10), 40 + 100 * (i // 10), 80 + 96 * (i % 10), 80 + 100 * (i // 10)) for i in range(70)]
    for index, box in enumerate(boxes):
        _object(pen, box, index)
        pen.text((box[0] + 20, box[3] + 12), f"app {index + 1}", fill="white", font=_font(13), anchor="mm")
    return GalleryScene("icons", "70 icons of 40 px", image, _regions(boxes), {"numbers": True, "kind": "auto"})


def grid() -> GalleryScene:
    """A grid of 6 x 6 cells."""
    image = _paper((720, 720))
    pen = ImageDraw.Draw(image)
    boxes = [(120 * (i % 6), 120 * (i // 6), 120 * (i % 6) + 120, 120 * (i // 6) + 120) for i in range(36)]
    for index, box in enumerate(boxes):
        _object(pen, (box[0] + 30, box[1] + 30, box[2] - 30, box[3] - 30), index)
    options = {"numbers": True, "kind": ["rectangle"] * 9 + [None] * 27}
    return GalleryScene("grid", "A grid of 6 x 6 cells", image, _regions(boxes), {**options, "kind": "auto"})


def shelf() -> GalleryScene:
    """Goods side by side on the boards of a shelf."""
    rng = np.random.default_rng(4)
    image = Image.new("RGB", (1200, 800), (120, 90, 60))
    pen = ImageDraw.Draw(image)
    boxes: list[tuple[int, int, int, int]] = []
    for row in range(3):
        floor, x = 250 + 260 * row, 20
        pen.rectangle((0, floor, 1200, floor + 16), fill=(70, 48, 30))
        while x < 1080:
            width, height = int(rng.integers(60, 130)), int(rng.integers(120, 210))
            box = (x, floor - height, x + width, floor)
            paint = tuple(int(c) for c in rng.integers(40, 255, 3))
            pen.rectangle((*box[:2], box[2] - 1, box[3] - 1), fill=paint)
            pen.rectangle((x + 8, floor - height + 30, x + width - 9, floor - height + 70), fill="white")
            pen.text(
                (x + width / 2, floor - height + 50), f"{len(boxes) + 1}00 g", fill="black", font=_font(17), anchor="mm"
            )
            boxes.append(box)
            x += width + int(rng.integers(0, 6))
    return GalleryScene("shelf", "A shelf", image, _regions(boxes), {"numbers": True, "kind": "auto"})


def overlapping() -> GalleryScene:
    """Boxes over and in one another."""
    image = _paper((720, 540))
    pen = ImageDraw.Draw(image)
    boxes = [(310, 190, 420, 300), (60, 60, 460, 400), (260, 140, 660, 480), (330, 210, 400, 280), (80, 80, 200, 180),
             (70, 300, 250, 500), (560, 60, 690, 220), (500, 180, 620, 300)]  # fmt: skip
    for index, box in enumerate(sorted(boxes, key=lambda b: -(b[2] - b[0]) * (b[3] - b[1]))):
        _object(pen, (box[0] + 8, box[1] + 8, box[2] - 8, box[3] - 8), index)
    return GalleryScene("overlapping", "Overlapping boxes", image, _regions(boxes), {"numbers": True})


def turned_boxes() -> GalleryScene:
    """Ships in a harbor, as an oriented detector reports them."""
    rng = np.random.default_rng(3)
    image = Image.new("RGB", (800, 600), (38, 92, 120))
    pen = ImageDraw.Draw(image)
    regions = []
    places = [(120, 110), (330, 90), (560, 120), (160, 300), (400, 290), (640, 330), (180, 480), (460, 490), (690, 510)]
    for index, (x, y) in enumerate(places):
        corners = _turned(x, y, int(rng.integers(110, 190)), int(rng.integers(24, 50)), float(rng.uniform(0, math.pi)))
        pen.polygon([(a, b) for a, b in _turned_hull(corners)], fill=_PAINTS[index % len(_PAINTS)])
        regions.append(Region(polygon=corners, id=f"r{index + 1}"))
    options = {"numbers": True}
    return GalleryScene("turned-boxes", "Turned boxes", image, regions, options)


def masks() -> GalleryScene:
    """Masks of a ring, a blob, a letter and an arm."""
    image = _paper((720, 540))
    canvas = np.array(image)
    regions = []
    for index in range(5):
        mask = np.zeros((540, 720), np.uint8)
        if index == 0:
            cv2.ellipse(mask, (170, 160), (110, 90), 20, 0, 360, 1, 40)
        elif index == 1:
            cv2.ellipse(mask, (480, 150), (150, 70), -15, 0, 360, 1, -1)
        elif index == 2:
            cv2.polylines(mask, [np.array([(90, 320), (90, 480), (290, 480)])], False, 1, 46)
        elif index == 3:
            cv2.fillPoly(mask, [np.array([(360, 300), (430, 500), (330, 520), (300, 360)])], 1)
        else:
            cv2.circle(mask, (560, 400), 70, 1, -1)
            cv2.line(mask, (560, 400), (690, 300), 1, 26)
        canvas[mask > 0] = _PAINTS[index]
        regions.append(Region(mask=mask, id=f"r{index + 1}"))
    return GalleryScene("masks", "Masks", Image.fromarray(canvas), regions, {"numbers": True, "kind": "mask"})


def kinds() -> GalleryScene:
    """The eight kinds, on large and on small things."""
    names = ["rectangle", "ellipse", "triangle", "point", "scribble", "mask contour", "mask", "arrow"]
    image = _paper((840, 500))
    pen = ImageDraw.Draw(image)
    boxes = [(30 + 205 * (i % 4), 30 + 160 * (i // 4), 150 + 205 * (i % 4), 150 + 160 * (i // 4)) for i in range(8)]
    boxes += [(50 + 100 * i, 400, 82 + 100 * i, 432) for i in range(8)]
    for index, box in enumerate(boxes):
        _object(pen, box, index)
    options = {"numbers": True, "kind": names * 2, "color": ["red"] * 8 + ["blue"] * 8}
    return GalleryScene("kinds", "The eight kinds, on large and on small things", image, _regions(boxes), options)


def whole() -> GalleryScene:
    """One region of nearly the whole image, and one in it."""
    image = _paper((640, 480))
    pen = ImageDraw.Draw(image)
    _object(pen, (120, 60, 520, 420), 0)
    return GalleryScene(
        "whole", "90% of the image", image, _regions([(16, 12, 624, 468), (250, 180, 380, 300)]), {"numbers": True}
    )


_PAINTS = [(190, 70, 60), (60, 130, 90), (70, 90, 170), (210, 180, 70), (120, 70, 130), (220, 130, 60), (60, 60, 60),
           (230, 230, 225)]  # fmt: skip


def _regions(boxes: list[tuple[int, int, int, int]]) -> list[Region]:
    return [Region(box=box, id=f"r{index + 1}") for index, box in enumerate(boxes)]


def _paper(size: tuple[int, int]) -> Image.Image:
    """Return a light, slightly uneven ground."""
    noise = np.random.default_rng(0).normal(206, 4, (size[1], size[0], 1))
    return Image.fromarray(np.repeat(noise, 3, axis=2).clip(0, 255).astype(np.uint8))


def _object(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], index: int) -> None:
    x0, y0, x1, y1 = box
    paint = _PAINTS[index % len(_PAINTS)]
    if index % 3 == 0:
        pen.rectangle((x0, y0, x1 - 1, y1 - 1), fill=paint)
    elif index % 3 == 1:
        pen.ellipse((x0, y0, x1 - 1, y1 - 1), fill=paint)
    else:
        pen.polygon([((x0 + x1) / 2, y0), (x1 - 1, y1 - 1), (x0, y1 - 1)], fill=paint)


def _turned(x: float, y: float, length: float, width: float, angle: float) -> list[tuple[float, float]]:
    along = np.array([math.cos(angle), math.sin(angle)]) * length / 2
    across = np.array([-math.sin(angle), math.cos(angle)]) * width / 2
    return [
        (float(x + p[0]), float(y + p[1])) for p in (along + across, along - across, -along - across, across - along)
    ]


def _turned_hull(corners: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the outline of a ship in its turned box."""
    a, b, c, d = (np.array(corner) for corner in corners)
    bow = (a + b) / 2
    points = (a + (d - a) * 0.25, bow, b + (c - b) * 0.25, c, d)
    return [(float(p[0]), float(p[1])) for p in points]


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
