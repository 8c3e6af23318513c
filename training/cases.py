"""What the evaluation asks: fresh images with questions whose answers are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from langchain_vipllava import pad_to_square
from langchain_vipllava.images.view import crop_to_square
from training.questions import Asker
from training.scene import ImageShape, Look, Scene, draw_looks, draw_scene, mark_scene
from training.wordings import ASPECTS, HELD_OUT, SIDES, WORDINGS

CANONICAL = {kind: words[:1] for kind, words in WORDINGS.items()}


@dataclass(frozen=True)
class Case:
    """One question with its answer.

    Attributes:
        image: what the processor gets, square.
        questions: one per turn; the model answers each before it hears the next.
        answer: to the last one.
        style: "constant" or "hand-drawn".
        objects: how many there are.
        lost: whether what the question is about is not in the image.
    """

    image: Image.Image
    questions: tuple[str, ...]
    answer: str
    style: str = ""
    objects: int = 0
    lost: bool = False


@dataclass(frozen=True)
class Marked:
    """A scene with its markers drawn, and who asks about it."""

    scene: Scene
    looks: list[Look]
    image: Image.Image
    style: str
    asker: Asker

    def case(self, *questions: str, answer: str, image: Image.Image | None = None) -> Case:
        """A case about this image, padded to a square."""
        shown = pad_to_square(self.image) if image is None else image
        return Case(shown, questions, answer, self.style, len(self.scene.things))


def draw_marked(
    rng: np.random.Generator,
    *,
    kind: str | None = None,
    shape: ImageShape = "any",
    least_marked: int = 1,
    held_out: bool = False,
) -> Marked:
    """Draw 2 to 4 objects, 1 to 3 of them marked, the first one with this kind."""
    while True:
        scene = draw_scene(rng, int(rng.integers(2, 5)), shape)
        looks = draw_looks(rng, scene, int(rng.integers(least_marked, min(3, len(scene.things)) + 1)))
        if kind is not None:
            looks[0] = replace(looks[0], kind=kind)
        if len({(look.kind, look.color) for look in looks}) == len(looks):
            break
    seed = int(rng.integers(2**31)) if rng.random() < 0.5 else None
    image = mark_scene(rng, scene, looks, seed).image
    asker = Asker(rng, scene, looks, HELD_OUT if held_out else CANONICAL)
    return Marked(scene, looks, image, "constant" if seed is None else "hand-drawn", asker)


def identify(
    rng: np.random.Generator, kind: str | None = None, shape: ImageShape = "any", *, held_out: bool = False
) -> Case:
    """Ask "What is ...?" about the first marker."""
    marked = draw_marked(rng, kind=kind, shape=shape, held_out=held_out)
    turn = marked.asker.one(0, "identify")
    return marked.case(turn.question, answer=turn.answer)


def aspect(rng: np.random.Generator, kind: str, *, held_out: bool = False) -> Case:
    """Color or shape of what the first marker marks."""
    turn = (marked := draw_marked(rng, held_out=held_out)).asker.one(0, kind)
    return marked.case(turn.question, answer=turn.answer)


def moved(rng: np.random.Generator) -> tuple[Case, Case]:
    """The same image twice, the same marker on two objects that differ."""
    while True:
        scene = draw_scene(rng, int(rng.integers(2, 5)))
        first, second = (int(i) for i in rng.permutation(len(scene.things))[:2])
        if scene.things[first].name != scene.things[second].name:
            break
    look, seed = draw_looks(rng, scene, 1)[0], int(rng.integers(2**31)) if rng.random() < 0.5 else None
    cases = []
    for thing in (first, second):
        looks = [replace(look, thing=thing)]
        turn = Asker(rng, scene, looks, CANONICAL).one(0, "identify")
        image = pad_to_square(mark_scene(rng, scene, looks, seed).image)
        cases.append(Case(image, (turn.question,), turn.answer))
    return cases[0], cases[1]


def unmarked(rng: np.random.Generator) -> Case:
    """Ask "What is ...?" about a marker that was not drawn."""
    marked = draw_marked(rng)
    turn = marked.asker.one(0, "identify")
    bare = pad_to_square(Image.fromarray(marked.scene.image))
    return marked.case(turn.question, answer=turn.answer, image=bare)


def cropped(rng: np.random.Generator) -> tuple[Case, Case]:
    """A 3:1 image padded, and the same with its middle cut out instead."""
    marked = draw_marked(rng, shape="wide")
    turn = marked.asker.one(0, "identify")
    padded = marked.case(turn.question, answer=turn.answer)
    width, height = marked.image.size
    lost = abs(marked.asker.thing(0).center[0] - width / 2) > height / 2
    cut = marked.case(turn.question, answer=turn.answer, image=crop_to_square(marked.image))
    return replace(padded, lost=lost), replace(cut, lost=lost)


def follow_up(rng: np.random.Generator, kind: str, *, held_out: bool = False) -> Case:
    """A question about a marker, then one that only the conversation settles."""
    marked = draw_marked(rng, least_marked=2, held_out=held_out)
    asker, first = marked.asker, str(rng.choice(ASPECTS))
    opening = asker.one(0, first)
    turn = asker.and_the(1, first) if kind == "and" else asker.about_it(0, kind.removeprefix("it_"))
    return marked.case(opening.question, turn.question, answer=turn.answer)


def chain(rng: np.random.Generator) -> Case:
    """Three turns: about one marker, "And the object ...?", then "it"."""
    marked = draw_marked(rng, least_marked=2)
    asker, first = marked.asker, str(rng.choice(["color", "shape"]))
    last = "shape" if first == "color" else "color"
    turns = [asker.one(0, first), asker.and_the(1, first), asker.about_it(1, last)]
    return marked.case(*(turn.question for turn in turns), answer=turns[-1].answer)


def two(rng: np.random.Generator, kinds: tuple[str, ...] = SIDES, *, held_out: bool = False) -> Case:
    """A question about two markers."""
    while True:
        marked = draw_marked(rng, least_marked=2, held_out=held_out)
        turn = marked.asker.two(str(rng.choice(kinds)))
        if turn is not None:
            return marked.case(turn.question, answer=turn.answer)


def whole(rng: np.random.Generator, kind: str, *, held_out: bool = False) -> Case:
    """Ask how many objects there are, or for a description, with 1 to 5 of them."""
    scene = draw_scene(rng)
    looks = draw_looks(rng, scene)
    asker = Asker(rng, scene, looks, HELD_OUT if held_out else CANONICAL)
    turn = asker.one(0, kind)
    seed = int(rng.integers(2**31)) if rng.random() < 0.5 else None
    image = pad_to_square(mark_scene(rng, scene, looks, seed).image)
    return Case(image, (turn.question,), turn.answer, objects=len(scene.things))


def many(make: Callable[[], Case], count: int) -> list[Case]:
    """Make that many cases."""
    return [make() for _ in range(count)]
