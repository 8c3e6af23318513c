"""Scenes of the bundled checkpoint's world in which markers are hard: small, overlapping or of low contrast.

`python -m benchmarks.hard_scenes FOLDER` writes them as a set for `langchain-vipllava bench markers`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from langchain_vipllava import Region
from training.questions import capital
from training.scene import PAINTS, SHAPES, Thing, make_outline

SIDES = (240, 900)
"""Pixels of the long side."""

_SHIFT = 4  # fractional bits of cv2's fixed-point coordinates


@dataclass(frozen=True)
class Hard:
    """What makes scenes hard.

    Attributes:
        radius: of an object, in units of the long side; training has 0.08 to 0.2.
        gap: between the circles around two objects, in units of the smaller radius; negative where they overlap.
        contrast: RGB distance between an object and the ground; training has at least 110.
        noise: standard deviation of the ground's noise, of 255.
    """

    radius: tuple[float, float] = (0.09, 0.14)
    gap: tuple[float, float] | None = None
    contrast: tuple[float, float] = (110, 500)
    noise: tuple[float, float] = (0, 0)


DIFFICULTIES: Mapping[str, Hard] = {
    "small": Hard(radius=(0.035, 0.065)),
    "overlapping": Hard(gap=(-0.55, 0.0)),
    "low contrast": Hard(contrast=(25, 70), noise=(8, 24)),
}


@dataclass(frozen=True)
class HardScene:
    """An image, its objects as regions, and what they are.

    Attributes:
        image: (H, W, 3) RGB uint8.
        regions: what is marked; the first is asked about.
        names: of all regions, such as "a red circle".
    """

    image: np.ndarray
    regions: tuple[Region, ...]
    names: tuple[str, ...]

    @property
    def answer(self) -> str:
        """The right answer to "What is the object {0}?"."""
        return f"{capital(self.names[0])}."


def draw_hard_scene(rng: np.random.Generator, hard: Hard) -> HardScene:
    """Draw a scene of 3 to 5 objects, of which 2 or 3 are marked."""
    side = int(rng.integers(*SIDES))
    ratio = math.exp(rng.uniform(-1, 1) * math.log(2))
    size = (side, round(side / ratio)) if ratio >= 1 else (round(side * ratio), side)
    places = None
    while places is None:
        places = _places(rng, size, hard, int(rng.integers(3, 6)))
    ground, paints = _ground(rng, hard)
    noise = rng.normal(0, 1, (size[1], size[0], 1)) * rng.uniform(*hard.noise)
    canvas = np.clip(ground + noise, 0, 255).astype(np.uint8)
    things = [_draw(rng, canvas, place, str(rng.choice(paints))) for place in places]
    if things[0].name == things[1].name:  # both markers would have the same answer
        return draw_hard_scene(rng, hard)
    count = int(rng.integers(2, 4))
    as_box = rng.random() < 0.5  # as detectors return them; else as segmenters do
    regions = tuple(_region(thing, as_box=bool(as_box)) for thing in things[:count])
    return HardScene(canvas, regions, tuple(thing.name for thing in things[:count]))


def _places(
    rng: np.random.Generator, size: tuple[int, int], hard: Hard, count: int
) -> list[tuple[float, float, float]] | None:
    """Draw (x, y, radius) of every object; None if they did not fit."""
    side = max(size)
    found: list[tuple[float, float, float]] = []
    for index in range(count):
        for _ in range(60):
            radius = rng.uniform(*hard.radius) * side
            x, y = (rng.uniform(radius, length - radius) for length in size)
            needed = 0.02 * side
            if hard.gap is not None and index:
                u, v, r = found[int(rng.integers(index))]
                distance, angle = radius + r + rng.uniform(*hard.gap) * min(radius, r), rng.uniform(0, 2 * math.pi)
                x, y = u + distance * math.cos(angle), v + distance * math.sin(angle)
                needed = hard.gap[0] * radius
            inside = radius <= x <= size[0] - radius and radius <= y <= size[1] - radius
            if inside and all(math.hypot(x - u, y - v) >= radius + r + needed for u, v, r in found):
                found.append((x, y, radius))
                break
        else:
            return None
    return found


def _ground(rng: np.random.Generator, hard: Hard) -> tuple[np.ndarray, list[str]]:
    """Draw the color of the ground, and return the paints that stand out from it as much as they should."""
    low, high = hard.contrast
    while True:
        ground = rng.uniform(0, 255, 3)
        distances = {name: float(np.linalg.norm(ground - np.array(rgb))) for name, rgb in PAINTS.items()}
        paints = [name for name, distance in distances.items() if low <= distance <= high]
        if len(paints) >= 2:
            return ground, paints


def _draw(rng: np.random.Generator, canvas: np.ndarray, place: tuple[float, float, float], color: str) -> Thing:
    x, y, radius = place
    shape = str(rng.choice(SHAPES))
    outline = make_outline(shape, radius, float(rng.uniform(0, 2 * math.pi))) + np.array([x, y])
    fixed = ((outline - 0.5) * (1 << _SHIFT)).round().astype(np.int32)
    cv2.fillPoly(canvas, [fixed], PAINTS[color], cv2.LINE_AA, _SHIFT)
    return Thing(shape, color, (x, y), outline)


def _region(thing: Thing, *, as_box: bool) -> Region:
    if not as_box:
        return Region(polygon=[(x, y) for x, y in thing.outline.tolist()])
    (x0, y0), (x1, y1) = thing.outline.min(axis=0).tolist(), thing.outline.max(axis=0).tolist()
    return Region(box=(x0, y0, x1, y1))


def write_set(folder: Path, count: int, seed: int) -> Path:
    """Write `markers.jsonl` and its images: `count` scenes as in training, and as many of each difficulty."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (group, hard) in enumerate({"plain": Hard(), **DIFFICULTIES}.items()):
        rng = np.random.default_rng([seed, number])
        for index in range(count):
            scene, name = draw_hard_scene(rng, hard), f"images/{group.replace(' ', '-')}-{index}.png"
            Image.fromarray(scene.image).save(folder / name)
            regions = [region.model_dump(mode="json", exclude_none=True) for region in scene.regions]
            row = {"image": name, "regions": regions, "question": "What is the object {0}?", "answer": scene.answer}
            lines.append(json.dumps({**row, "group": group}))
    target = folder / "markers.jsonl"
    target.write_text("\n".join(lines) + "\n")
    return target


def main() -> None:
    """Write the set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=50, help="scenes of each of the four sorts")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(write_set(options.folder, options.count, options.seed))


if __name__ == "__main__":
    main()
