"""A source of training questions about a scene of three objects, two of them marked."""

from __future__ import annotations

from training.questions import Asker
from training.scene import draw_looks, draw_scene


def make_asker(rng):
    scene = draw_scene(rng, 3)
    return Asker(rng, scene, draw_looks(rng, scene, 2))
