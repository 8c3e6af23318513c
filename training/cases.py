"""Test cases of the evaluation: new images, questions and their correct answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from langchain_vipllava import pad_to_square
from langchain_vipllava.images.view import crop_to_square
from langchain_vipllava.markers.kinds import MarkerKind
from training.questions import MIN_DISTANCE, Asker, describe, orders
from training.scene import ImageShape, Look, Scene, draw_looks, draw_scene, mark_scene
from training.wordings import ASPECTS, HELD_OUT, SIDES, WORDINGS, YES_OR_NO

EITHER_ORDER = f"objects less than {MIN_DISTANCE:.0%} apart from left to right in either order"
CANONICAL = {kind: words[:1] for kind, words in (WORDINGS | YES_OR_NO).items()}


@dataclass(frozen=True)
class Case:
    """One test case.

    Attributes:
        image: input of the processor, square.
        questions: one per turn; the model answers each before it gets the next.
        answer: correct answer to the last question.
        also: further correct answers, which name objects at nearly the same distance from the left in another order.
        style: "constant" or "hand-drawn" markers.
        objects: number of objects in the image.
        is_off_center: whether a center crop cuts the object in question off.
    """

    image: Image.Image
    questions: tuple[str, ...]
    answer: str
    also: tuple[str, ...] = ()
    style: str = ""
    objects: int = 0
    is_off_center: bool = False


@dataclass(frozen=True)
class Marked:
    """A scene, its markers, the image with the markers drawn, and a source of questions."""

    scene: Scene
    looks: list[Look]
    image: Image.Image
    style: str
    asker: Asker

    def case(self, *questions: str, answer: str, image: Image.Image | None = None) -> Case:
        """Make a case about this image padded to a square, or about another image."""
        shown = pad_to_square(self.image) if image is None else image
        return Case(shown, questions, answer, style=self.style, objects=len(self.scene.things))


def draw_marked(
    rng: np.random.Generator,
    *,
    kind: MarkerKind | None = None,
    shape: ImageShape = "any",
    min_marked: int = 1,
    held_out: bool = False,
) -> Marked:
    """Draw a scene of 2 to 4 objects with 1 to 3 markers; the first marker is of this kind."""
    while True:
        scene = draw_scene(rng, int(rng.integers(2, 5)), shape)
        looks = draw_looks(rng, scene, int(rng.integers(min_marked, min(3, len(scene.things)) + 1)))
        if kind is not None:
            looks[0] = replace(looks[0], kind=kind)
        if len({(look.kind, look.color) for look in looks}) == len(looks):
            break
    seed = int(rng.integers(2**31)) if rng.random() < 0.5 else None
    image = mark_scene(rng, scene, looks, seed).image
    asker = Asker(rng, scene, looks, HELD_OUT if held_out else CANONICAL)
    return Marked(scene, looks, image, "constant" if seed is None else "hand-drawn", asker)


def identify(
    rng: np.random.Generator, kind: MarkerKind | None = None, shape: ImageShape = "any", *, held_out: bool = False
) -> Case:
    """Ask "What is ...?" about the first marker."""
    marked = draw_marked(rng, kind=kind, shape=shape, held_out=held_out)
    turn = marked.asker.ask_one(0, "identify")
    return marked.case(turn.question, answer=turn.answer)


def aspect(rng: np.random.Generator, kind: str, *, held_out: bool = False) -> Case:
    """Ask for the color or shape of the first marker's object."""
    marked = draw_marked(rng, held_out=held_out)
    turn = marked.asker.ask_one(0, kind)
    return marked.case(turn.question, answer=turn.answer)


def moved(rng: np.random.Generator) -> tuple[Case, Case]:
    """Draw the same scene twice, with the same marker on two different objects."""
    while True:
        scene = draw_scene(rng, int(rng.integers(2, 5)))
        first, second = (int(i) for i in rng.permutation(len(scene.things))[:2])
        if scene.things[first].name != scene.things[second].name:
            break
    look, seed = draw_looks(rng, scene, 1)[0], int(rng.integers(2**31)) if rng.random() < 0.5 else None
    cases = []
    for thing in (first, second):
        looks = [replace(look, thing=thing)]
        turn = Asker(rng, scene, looks, CANONICAL).ask_one(0, "identify")
        image = pad_to_square(mark_scene(rng, scene, looks, seed).image)
        cases.append(Case(image, (turn.question,), turn.answer))
    return cases[0], cases[1]


def unmarked(rng: np.random.Generator) -> Case:
    """Ask "What is ...?" about a marker that is not drawn."""
    marked = draw_marked(rng)
    turn = marked.asker.ask_one(0, "identify")
    bare = pad_to_square(Image.fromarray(marked.scene.image))
    return marked.case(turn.question, answer=turn.answer, image=bare)


def cropped(rng: np.random.Generator) -> tuple[Case, Case]:
    """Ask about a 3:1 image twice: padded to a square, and center-cropped."""
    marked = draw_marked(rng, shape="wide")
    turn = marked.asker.ask_one(0, "identify")
    padded = marked.case(turn.question, answer=turn.answer)
    width, height = marked.image.size
    is_off_center = abs(marked.asker.thing(0).center[0] - width / 2) > height / 2
    center_crop = marked.case(turn.question, answer=turn.answer, image=crop_to_square(marked.image))
    return replace(padded, is_off_center=is_off_center), replace(center_crop, is_off_center=is_off_center)


def follow_up(rng: np.random.Generator, kind: str, *, held_out: bool = False) -> Case:
    """Ask about a marker, then ask a question that refers to the first one."""
    marked = draw_marked(rng, min_marked=2, held_out=held_out)
    asker, opening_kind = marked.asker, str(rng.choice(ASPECTS))
    opening = asker.ask_one(0, opening_kind)
    turn = asker.and_the(1, opening_kind) if kind == "and" else asker.about_it(0, kind.removeprefix("it_"))
    return marked.case(opening.question, turn.question, answer=turn.answer)


def chain(rng: np.random.Generator) -> Case:
    """Ask three turns: about one marker, "And the object ...?", then about "it"."""
    marked = draw_marked(rng, min_marked=2)
    asker, opening_kind = marked.asker, str(rng.choice(["color", "shape"]))
    last_kind = "shape" if opening_kind == "color" else "color"
    turns = [asker.ask_one(0, opening_kind), asker.and_the(1, opening_kind), asker.about_it(1, last_kind)]
    return marked.case(*(turn.question for turn in turns), answer=turns[-1].answer)


def two_regions(rng: np.random.Generator, kinds: tuple[str, ...] = SIDES, *, held_out: bool = False) -> Case:
    """Compare the objects of two markers."""
    while True:
        marked = draw_marked(rng, min_marked=2, held_out=held_out)
        turn = marked.asker.ask_two(str(rng.choice(kinds)))
        if turn is not None:
            return marked.case(turn.question, answer=turn.answer)


def whether(rng: np.random.Generator, kind: str, *, held_out: bool = False) -> Case:
    """Ask whether the first marker's object has a color or a shape, one of WHETHER; half of the answers are yes."""
    marked = draw_marked(rng, held_out=held_out)
    turn = marked.asker.ask_whether(0, kind)
    return marked.case(turn.question, answer=turn.answer)


def is_it(rng: np.random.Generator, *, held_out: bool = False) -> Case:
    """Ask about a marker, then whether "it" has a color or a shape."""
    marked = draw_marked(rng, min_marked=2, held_out=held_out)
    opening = marked.asker.ask_one(0, str(rng.choice(ASPECTS)))
    turn = marked.asker.is_it(0)
    return marked.case(opening.question, turn.question, answer=turn.answer)


def whole_image(rng: np.random.Generator, kind: str, *, held_out: bool = False) -> Case:
    """Ask for the number of objects, or for a description, with 1 to 5 objects."""
    scene = draw_scene(rng)
    looks = draw_looks(rng, scene)
    asker = Asker(rng, scene, looks, HELD_OUT if held_out else CANONICAL)
    turn = asker.ask_one(0, kind)
    seed = int(rng.integers(2**31)) if rng.random() < 0.5 else None
    image = pad_to_square(mark_scene(rng, scene, looks, seed).image)
    also = tuple(describe(order) for order in orders(scene)) if kind == "describe" else ()
    return Case(image, (turn.question,), turn.answer, also, objects=len(scene.things))


def make_cases(make: Callable[[], Case], count: int) -> list[Case]:
    """Call `make` `count` times."""
    return [make() for _ in range(count)]
