"""Score a checkpoint on plain grounds of every named color: `python -m training.grounds [CHECKPOINT]`.

Asks "What is ...?" about one of two markers of one kind. Three ways to color them: by contrast, as `mark` does when it
is asked for no color; in the fixed order red, lime; and at random on the usual backgrounds of the evaluation. `--pairs`
scores every color on every ground instead: the source of the thresholds in `markers/contrast.py`.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from PIL import Image

from langchain_vipllava import FaintMarkerWarning, mark, pad_to_square
from langchain_vipllava.markers.kinds import COLORS, MarkerColor, MarkerKind
from training.cases import CANONICAL, Case
from training.evaluate import Checkpoint
from training.kinds import COLOR_NAMES, KINDS
from training.questions import Asker
from training.scene import Look, Scene, draw_scene, region_of

Coloring = Literal["by contrast", "fixed order", "random"]
RGB = tuple[int, int, int]


def draw_case(
    rng: np.random.Generator, kind: MarkerKind, coloring: Coloring | MarkerColor, ground: RGB | None = None
) -> Case:
    """Draw a scene of three objects, mark two of them with this kind, and ask about the first.

    Args:
        rng: source of all randomness.
        kind: of both markers.
        coloring: how the markers get their colors; or the color of the first, the second then is clear.
        ground: RGB of a plain background; None draws one.
    """
    scene = draw_scene(rng, 3, ground=ground)
    things = [int(index) for index in rng.permutation(3)[:2]]
    colors = _choose_colors(rng, coloring, ground)
    image, looks = _mark(rng, scene, things, kind, colors)
    turn = Asker(rng, scene, looks, CANONICAL).ask_one(0, "identify")
    return Case(pad_to_square(image), (turn.question,), turn.answer)


def _choose_colors(
    rng: np.random.Generator, coloring: Coloring | MarkerColor, ground: RGB | None
) -> list[MarkerColor] | None:
    if coloring == "by contrast":
        return None
    if coloring == "fixed order":
        return list(COLOR_NAMES[:2])
    shuffled: list[MarkerColor] = [COLOR_NAMES[index] for index in rng.permutation(len(COLOR_NAMES))]
    if coloring == "random":
        return shuffled[:2]
    clear = [name for name in shuffled if name != coloring and (ground is None or distance(COLORS[name], ground) > 60)]
    return [coloring, clear[0]]


def _mark(
    rng: np.random.Generator,
    scene: Scene,
    things: Sequence[int],
    kind: MarkerKind,
    colors: Sequence[MarkerColor] | None,
) -> tuple[Image.Image, list[Look]]:
    regions = [region_of(rng, scene, Look(thing, kind, "red"), outline_only=False) for thing in things]
    marked = mark(Image.fromarray(scene.image), regions, kind=kind, color=colors)
    looks = [Look(thing, kind, marker.color) for thing, marker in zip(things, marked.markers, strict=True)]
    return marked.image, looks


def distance(one: RGB, other: RGB) -> float:
    """Return the CIELAB distance of two RGB colors."""
    pair = cv2.cvtColor(np.array([[one, other]], np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    return float(np.linalg.norm(pair[0] - pair[1]))


def score_grounds(checkpoint: Checkpoint, seed: int, count: int) -> list[tuple[str, float, float]]:
    """Return (ground, accuracy by contrast, accuracy in fixed order) for each named color, the usual one first."""

    def score(coloring: Coloring, ground: RGB | None, stream: int) -> float:
        rng = np.random.default_rng([seed, stream])
        cases = [draw_case(rng, KINDS[index % len(KINDS)], coloring, ground) for index in range(count)]
        return float(checkpoint.score(cases).mean())

    usual = float(np.mean([score("random", None, 1000 + stream) for stream in range(len(COLORS))]))
    rows = [("usual backgrounds, random colors", usual, usual)]
    for stream, (name, rgb) in enumerate(COLORS.items()):
        rows.append((name, score("by contrast", rgb, stream), score("fixed order", rgb, stream)))
    return rows


def score_pairs(checkpoint: Checkpoint, seed: int, count: int) -> list[tuple[float, str, str, float]]:
    """Return (CIELAB distance, ground, marker color, accuracy) for every pair of named colors."""
    rows = []
    for ground, rgb in COLORS.items():
        for color in COLOR_NAMES:
            rng = np.random.default_rng([seed, COLOR_NAMES.index(ground), COLOR_NAMES.index(color)])
            cases = [draw_case(rng, KINDS[index % len(KINDS)], color, rgb) for index in range(count)]
            hits = checkpoint.score(cases)
            rows.append((distance(rgb, COLORS[color]), str(ground), str(color), float(hits.mean())))
    return sorted(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=Path("langchain_vipllava/bundled"))
    parser.add_argument("--count", type=int, default=400, help="questions per ground")
    parser.add_argument("--seed", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", action="store_true", help="every color on every ground")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore", FaintMarkerWarning)
    checkpoint = Checkpoint(options.checkpoint)
    if options.pairs:
        print("| distance | ground | marker | accuracy |\n|---|---|---|---|")
        for gap, ground, color, accuracy in score_pairs(checkpoint, options.seed, options.count):
            print(f"| {gap:.0f} | {ground} | {color} | {accuracy:.1%} |")
        return
    rows = score_grounds(checkpoint, options.seed, options.count)
    print("| ground | by contrast | red, lime |\n|---|---|---|")
    for name, contrast, fixed in rows:
        print(f"| {name} | {contrast:.1%} | {fixed:.1%} |")
    contrast, fixed = (float(np.mean([row[column] for row in rows[1:]])) for column in (1, 2))
    print(f"| all named colors | {contrast:.1%} | {fixed:.1%} |")
    print(f"\n{options.count} questions per ground, seed {options.seed}")


if __name__ == "__main__":
    main()
