"""Markers as ViP-LLaVA's training drew them, in plain Pillow: what `mark(seed=...)` is compared with.

Written from the numbers of `llava/visual_prompt_generator.py` in the ViP-LLaVA repository, apart from the package's own
drawing code. Boxes only.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

Box = tuple[float, float, float, float]
Pair = tuple[float, float]


class TrainingMarker:
    """Draws one marker on a transparent layer.

    Args:
        size: (width, height) of the image in pixels.
        box: (x0, y0, x1, y1) of the region in pixels.
        rng: source of all randomness.
    """

    def __init__(self, size: tuple[int, int], box: Box, rng: random.Random) -> None:
        self.box, self.rng = box, rng
        self.unit = max(size) / 336
        self.layer = Image.new("L", size, 0)
        self.pen = ImageDraw.Draw(self.layer)

    def draw(self, kind: str) -> np.ndarray:
        """Return the alpha of the marker, (H, W) uint8."""
        alpha = self.rng.randint(48, 128) if kind == "mask" else self.rng.randint(96, 255)
        drawing: Callable[[int], None] = getattr(self, kind.replace(" ", "_"))
        drawing(alpha)
        return np.asarray(self.layer)

    def whole(self, low: int, high: int) -> int:
        """Return a random whole number of pixels between two sizes in pixels of 336."""
        return max(self.rng.randint(int(low * self.unit), int(high * self.unit)), 1)

    def place(self) -> Pair:
        """Return a random point in the box."""
        return self.rng.uniform(self.box[0], self.box[2]), self.rng.uniform(self.box[1], self.box[3])

    def rectangle(self, alpha: int) -> None:
        """Draw the box, its line inside."""
        self.pen.rectangle(self.box, outline=alpha, width=self.whole(2, 8))

    def ellipse(self, alpha: int) -> None:
        """Draw an ellipse up to half as large again as the box, its line inside."""
        width, scale = self.whole(2, 8), self.rng.uniform(1, 1.5)
        x0, y0, x1, y1 = self.box
        cx, cy, half_x, half_y = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2 * scale, (y1 - y0) / 2 * scale
        self.pen.ellipse((cx - half_x, cy - half_y, cx + half_x, cy + half_y), outline=alpha, width=width)

    def triangle(self, alpha: int) -> None:
        """Draw three random points, until no angle is over 150 degrees."""
        width = self.whole(2, 8)
        corners = [self.place() for _ in range(3)]
        while not _is_wide(corners):
            corners = [self.place() for _ in range(3)]
        self.pen.line([*corners, corners[0]], fill=alpha, width=width, joint="curve")

    def point(self, alpha: int) -> None:
        """Draw a filled ellipse near the center."""
        radius = self.whole(5, 20)
        aspect = 1.0 if self.rng.random() < 0.5 else self.rng.uniform(0.5, 2)
        x0, y0, x1, y1 = self.box
        cx = self.rng.gauss((x0 + x1) / 2, math.sqrt((x1 - x0) / 8))
        cy = self.rng.gauss((y0 + y1) / 2, math.sqrt((y1 - y0) / 8))
        half_x, half_y = radius * aspect, radius / aspect
        self.pen.ellipse((cx - half_x, cy - half_y, cx + half_x, cy + half_y), fill=alpha)

    def scribble(self, alpha: int) -> None:
        """Draw a Bezier curve over four random points."""
        width = self.whole(2, 12)
        a, b, c, d = (np.array(self.place()) for _ in range(4))
        curve = [
            tuple((1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d)
            for t in np.linspace(0, 1, int(1000 * self.unit))
        ]
        for start, end in pairwise(curve):
            self.pen.line([start, end], fill=alpha, width=width)

    def mask_contour(self, alpha: int) -> None:
        """Draw the box's outline with a square brush."""
        reach = self.whole(1, 2)
        x0, y0, x1, y1 = self.box
        for dx in range(-reach, reach + 1):
            for dy in range(-reach, reach + 1):
                self.pen.polygon([(x + dx, y + dy) for x, y in ((x0, y0), (x0, y1), (x1, y1), (x1, y0))], outline=alpha)

    def mask(self, alpha: int) -> None:
        """Fill the box."""
        x0, y0, x1, y1 = self.box
        self.pen.polygon([(x0, y0), (x0, y1), (x1, y1), (x1, y0)], fill=alpha)

    def arrow(self, alpha: int) -> None:
        """Draw a straight or bent shaft and a filled or open head, whose tip lies near the center."""
        width, longest = self.whole(1, 6), max(int(50 * self.unit), 1)
        x0, y0, x1, y1 = self.box
        length = self.rng.uniform(0.8 * min(x1 - x0, y1 - y0), longest)
        angle = self.rng.uniform(0, 2 * math.pi)
        tip = (
            (x0 + x1) / 2 + self.rng.uniform(-0.25, 0.25) * (x1 - x0),
            (y0 + y1) / 2 + self.rng.uniform(-0.25, 0.25) * (y1 - y0),
        )
        head = max(self.rng.uniform(0.2, 0.5) * length, int(6 * self.unit))
        tail = _from(tip, angle, length - head)
        shaft = [tip, tail]
        if self.rng.random() < 0.5:
            bend = [self.rng.uniform(-5, 5) * int(self.unit) for _ in range(2)]
            shaft.insert(1, ((tip[0] + tail[0]) / 2 + bend[0], (tip[1] + tail[1]) / 2 + bend[1]))
        self.pen.line(shaft, fill=alpha, width=width)
        sides = [_from(tip, angle + math.pi / 3, head), tip, _from(tip, angle - math.pi / 3, head)]
        if self.rng.random() < 0.5:
            self.pen.polygon(sides, fill=alpha)
        else:
            self.pen.line(sides, fill=alpha, width=width)


def _from(start: Pair, angle: float, distance: float) -> Pair:
    return start[0] + distance * math.cos(angle), start[1] + distance * math.sin(angle)


def _is_wide(corners: list[Pair]) -> bool:
    for index in range(3):
        here, *others = (np.array(corners[(index + step) % 3]) for step in range(3))
        first, second = others[0] - here, others[1] - here
        if first @ second / np.linalg.norm(first) / np.linalg.norm(second) < math.cos(math.radians(150)):
            return False
    return True
