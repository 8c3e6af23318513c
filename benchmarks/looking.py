"""How often a heat map is hottest on the object that was asked about: `python -m benchmarks.looking`.

Fresh scenes of `training/scene.py` with one to three markers of any kind and color; the question names the first one. A
hit is a `peak` in the box of its region. Beside it: how often a point that is drawn evenly over the image would hit.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from langchain_vipllava import FaintMarkerWarning, Workspace
from langchain_vipllava.backends.local import LocalBackend
from langchain_vipllava.backends.vision import BackendVision
from langchain_vipllava.workspace.vision_model import VisionModel
from training.scene import Look, Scene, draw_looks, draw_scene, region_of

SEED = 2121
"""Chosen: not one of those with which the patches were chosen."""


@dataclass(frozen=True)
class Seen:
    """One heat map.

    Attributes:
        kind: of the marker.
        answer: of the model.
        right: whether it is true.
        hit: whether the peak lies on the marked object.
        chance: share of the image that the object's box covers.
    """

    kind: str
    answer: str
    right: bool
    hit: bool
    chance: float


def look(model: VisionModel, scenes: int, seed: int = SEED) -> Iterator[Seen]:
    """Yield the heat map of one question about each scene.

    Args:
        model: answers, and says how likely an answer is.
        scenes: how many.
        seed: of the scenes.
    """
    for index in range(scenes):
        rng = np.random.default_rng((seed, index))
        scene, looks = _draw(rng)
        workspace = Workspace(model=model)
        image_id = workspace.add_image(Image.fromarray(scene.image), session="looking")
        regions = [region_of(rng, scene, one, outline_only=True) for one in looks]
        marked = workspace.mark(
            image_id, regions, session="looking", kind=[one.kind for one in looks], color=[one.color for one in looks]
        )
        asked = marked.marked.markers[0]
        answered = workspace.ask(marked.image_id, f"What is the object {{{asked.region.id}}}?", session="looking")
        x, y = workspace.heat_map(marked.image_id, session="looking").peak
        x0, y0, x1, y1 = asked.region.box
        true = scene.things[looks[0].thing].name
        yield Seen(
            looks[0].kind,
            answered.answer,
            answered.answer.lower().removesuffix(".") == true,
            bool(x0 <= x <= x1 and y0 <= y <= y1),
            (x1 - x0) * (y1 - y0) / (scene.size[0] * scene.size[1]),
        )


def _draw(rng: np.random.Generator) -> tuple[Scene, list[Look]]:
    while True:
        scene = draw_scene(rng, int(rng.integers(2, 5)))
        looks = draw_looks(rng, scene)
        if len({(one.kind, one.color) for one in looks}) == len(looks):
            return scene, looks


def main() -> None:
    """Print the share of hits."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.looking", description=__doc__)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--model", default="bundled")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", FaintMarkerWarning)  # some markers are faint, as in the world
    seen: list[Seen] = []
    for found in look(BackendVision(LocalBackend.load(model=arguments.model)), arguments.scenes, arguments.seed):
        seen.append(found)
        print(
            f"{len(seen):3} {'hit ' if found.hit else 'MISS'} {found.kind:13} {found.answer}"
            f"{'' if found.right else ' (wrong)'}",
            flush=True,
        )
    hits, chance = np.mean([found.hit for found in seen]), np.mean([found.chance for found in seen])
    print(f"The peak lies on the marked object in {hits:.1%} of {len(seen)} scenes; by chance in {chance:.1%}.")


if __name__ == "__main__":
    main()
