"""Questions about a marked scene and their answers: single ones, and conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np

from langchain_vipllava.markers.kinds import marker_phrase
from training.scene import PAINT_NAMES, SHAPES, Look, Scene, Thing
from training.structured import STRUCTURED, ask_json
from training.turn import Turn, end_of
from training.wordings import ASPECTS, LEADS, MORE_WORDINGS, SIDES, TAILS, WHETHER, WORDINGS, YES_OR_NO

NUMBERS = ("Zero", "One", "Two", "Three", "Four", "Five")
MIN_DISTANCE = 0.07  # of the long side; objects closer than this are neither left nor right of each other

Mix = Mapping[str, float]
BINDING: Mix = {"identify": 0.5, "color": 0.25, "shape": 0.25}
"""Single questions about one marker. Training starts with these."""
EVERYTHING: Mix = {
    "identify": 0.22,
    "color": 0.08,
    "shape": 0.12,
    "follow": 0.18,
    "side": 0.18,
    "same": 0.14,
    "whether": 0.1,
    "count": 0.07,
    "describe": 0.14,
    "json": 0.5,
}
"""Every kind of conversation. Answers as JSON are many, because there are many forms of them."""
JSON_FIRST: Mix = {"json": 1.0}
"""Answers as JSON alone, whose questions are long."""
COMPARING: Mix = {"identify": 0.12, "shape": 0.08, "side": 0.65, "same": 0.15}
"""Mostly relative positions. "Left" and "right" are an XOR of word and position, which the model learns only from many
such questions."""


class Asker:
    """Generates questions about one marked scene.

    Args:
        rng: source of all randomness.
        scene: the image and its objects.
        looks: the markers.
        wordings: table of wordings; None uses those of the training set, sometimes with LEADS or TAILS.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        scene: Scene,
        looks: Sequence[Look],
        wordings: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.rng, self.scene, self.looks, self.wordings = rng, scene, looks, wordings

    def converse(self, mix: Mix) -> list[Turn]:
        """Generate one conversation of a kind drawn from `mix`."""
        if not self.looks:
            return [self.ask_one(0, str(self.rng.choice(["count", "describe"])))]
        kinds = list(mix)
        kind = kinds[int(self.rng.choice(len(kinds), p=np.array([*mix.values()]) / sum(mix.values())))]
        if kind in ("side", "same"):
            relations = SIDES if kind == "side" else ("same_color", "same_color", "same_shape")
            turn = self.ask_two(str(self.rng.choice(relations)))
            return [turn or self.ask_one(int(self.rng.integers(len(self.looks))), "identify")]
        if kind == "whether":
            return [self.ask_whether(int(self.rng.integers(len(self.looks))))]
        if kind == "json":
            shares = np.array([*STRUCTURED.values()])
            return ask_json(self, str(self.rng.choice(list(STRUCTURED), p=shares / shares.sum())))
        if kind == "follow":
            return self.follow(int(self.rng.integers(2, 5)))
        return [self.ask_one(int(self.rng.integers(len(self.looks))), kind)]

    def ask_one(self, index: int, kind: str) -> Turn:
        """Ask a question that needs no earlier turn: about the marker `index`, or about the image."""
        if kind in ("count", "describe"):
            answer = self.answer(index, kind)
            mentions = find_mentions(answer, self.scene.things) if kind == "describe" else ()
            return Turn(kind, self.word(kind), answer, mentions=mentions)
        return self.ask_by_name(kind, self.answer(index, kind), index)

    def ask_by_name(self, kind: str, answer: str, *indices: int) -> Turn:
        """Ask a question that names the objects of some markers."""
        phrases = [self.phrase(index) for index in indices]
        question = self.word(kind, *phrases)
        things = [self.looks[index].thing for index in indices]
        named = tuple((end_of(phrase, question), thing) for phrase, thing in zip(phrases, things, strict=True))
        return Turn(kind, question, answer, things[0] if len(things) == 1 else -1, named)

    def ask_whether(self, index: int, kind: str | None = None) -> Turn:
        """Ask whether an object has a color or a shape, one of WHETHER; half of the answers are yes."""
        kind = kind or str(self.rng.choice(WHETHER))
        said, is_so = self._name_one(index, kind)
        phrase = self.phrase(index)
        question = self.word(kind, phrase, said)
        end, asked = end_of(phrase, question), question.rindex(f" {said}")
        number = self.looks[index].thing
        return Turn(kind, question, "Yes." if is_so else "No.", number, ((end, number), (asked, -1)))

    def is_it(self, index: int) -> Turn:
        """Ask "Is it red?", where "it" is the object of marker `index`."""
        kind = str(self.rng.choice(WHETHER))
        said, is_so = self._name_one(index, kind)
        question = self.word(f"it_{kind}", said)
        looked_up = ((-1, 0, question.rindex(said)),)  # the answer's first token looks at the word
        thing = self.looks[index].thing
        return Turn(f"it_{kind}", question, "Yes." if is_so else "No.", thing, copied=looked_up)

    def _name_one(self, index: int, kind: str) -> tuple[str, bool]:
        """Draw a color or shape to ask for, and return whether the object has it: half of the time."""
        aspect, names = ("color", PAINT_NAMES) if kind == "is_color" else ("shape", SHAPES)
        true = str(getattr(self.thing(index), aspect))
        if self.rng.random() < 0.5:
            return true, True
        others = [name for name in (str(getattr(thing, aspect)) for thing in self.scene.things) if name != true]
        if others and self.rng.random() < 0.5:  # of another object, which is harder
            return str(self.rng.choice(others)), False
        return str(self.rng.choice([name for name in names if name != true])), False

    def follow(self, turns: int) -> list[Turn]:
        """Generate a conversation in which most turns refer to earlier ones."""
        index, aspect = int(self.rng.integers(len(self.looks))), str(self.rng.choice(ASPECTS))
        conversation = [self.ask_one(index, aspect)]
        while len(conversation) < turns:
            step = self.rng.random()
            if step < 0.1 and index >= 0:
                conversation.append(self.is_it(index))
            elif step < 0.45 and index >= 0:
                aspect = str(self.rng.choice(["color", "shape", "identify"], p=[0.42, 0.42, 0.16]))
                conversation.append(self.about_it(index, aspect))
            elif step < 0.8 and index >= 0 and len(self.looks) > 1:
                index = self.other_marker(index)
                conversation.append(self.and_the(index, aspect))
            elif step < 0.9:
                index, aspect = int(self.rng.integers(len(self.looks))), str(self.rng.choice(ASPECTS))
                conversation.append(self.ask_one(index, aspect))
            else:
                comparison = self.ask_two() if self.rng.random() < 0.6 else None
                conversation.append(comparison or self.ask_one(0, str(self.rng.choice(["count", "describe"]))))
                index = -1  # "it" has nothing to refer to
        return conversation

    def about_it(self, index: int, aspect: str) -> Turn:
        """Ask "What color is it?", where "it" is the object of marker `index`."""
        kind = f"it_{aspect}"
        return Turn(kind, self.word(kind), self.answer(index, aspect), self.looks[index].thing)

    def and_the(self, index: int, aspect: str) -> Turn:
        """Ask "And the object ...?", which repeats the previous question for another object."""
        return self.ask_by_name("and", self.answer(index, aspect), index)

    def other_marker(self, index: int) -> int:
        """Draw a marker other than `index`."""
        return int(self.rng.choice([i for i in range(len(self.looks)) if i != index]))

    def ask_two(self, kind: str | None = None) -> Turn | None:
        """Compare the objects of two markers. Yes and no are equally likely where the scene allows both.

        Returns:
            The turn; None if no pair has a clear answer.
        """
        count = len(self.looks)
        pairs = [(a, b) for a in range(count) for b in range(count) if a != b]
        kind = kind or str(self.rng.choice([*SIDES, "same_color", "same_color", "same_shape"]))
        answers = [self.compare(kind, a, b) for a, b in pairs]
        if all(answer is None for answer in answers):
            return None
        yes = bool(self.rng.random() < 0.5)
        if yes not in answers:
            yes = not yes
        matching = [pair for pair, answer in zip(pairs, answers, strict=True) if answer is yes]
        a, b = matching[int(self.rng.integers(len(matching)))]
        return self.ask_by_name(kind, "Yes." if yes else "No.", a, b)

    def compare(self, kind: str, a: int, b: int) -> bool | None:
        """Return whether the objects of markers `a` and `b` are in a relation; None where that is unclear."""
        first, second = self.thing(a), self.thing(b)
        if kind == "same_color":
            return first.color == second.color
        if kind == "same_shape":
            return first.shape == second.shape
        axis = 0 if kind in ("left", "right") else 1
        distance = (second.center[axis] - first.center[axis]) / max(self.scene.size)
        if kind in ("right", "below"):
            distance = -distance
        return None if abs(distance) < MIN_DISTANCE else distance > 0

    def answer(self, index: int, kind: str) -> str:
        """Return the answer to a question of this kind about marker `index`, or about the image."""
        if kind == "count":
            return f"{NUMBERS[len(self.scene.things)]}."
        if kind == "describe":
            return describe(self.scene.things)
        thing = self.thing(index)
        return {
            "identify": f"{capital(thing.name)}.",
            "color": f"{capital(thing.color)}.",
            "shape": f"A {thing.shape}.",
        }[kind]

    def thing(self, index: int) -> Thing:
        """Return the object of marker `index`."""
        return self.scene.things[self.looks[index].thing]

    def phrase(self, index: int) -> str:
        """Return the phrase that names marker `index`."""
        return marker_phrase(self.looks[index].kind, self.looks[index].color)

    def word(self, kind: str, *phrases: str) -> str:
        """Draw a wording and fill in the phrases."""
        if self.wordings is not None:
            return str(self.rng.choice(self.wordings[kind])).format(*phrases)
        wordings = YES_OR_NO[kind] if kind in YES_OR_NO else WORDINGS[kind] + MORE_WORDINGS.get(kind, ())
        first = kind == "identify" and self.rng.random() < 0.3
        question = wordings[0 if first else int(self.rng.integers(len(wordings)))].format(*phrases)
        extra = self.rng.random()
        if extra < 0.04:
            return str(self.rng.choice(LEADS)) + question
        return question + str(self.rng.choice(TAILS)) if extra < 0.08 else question


def describe(things: Sequence[Thing]) -> str:
    """List objects from left to right: "A blue circle, a red star and a black cross."."""
    names = [thing.name for thing in things]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{capital(listed)}."


def orders(scene: Scene) -> list[tuple[Thing, ...]]:
    """Return the orders from left to right that are right where objects closer than MIN_DISTANCE are in none."""
    least = MIN_DISTANCE * max(scene.size)
    return [
        order
        for order in permutations(scene.things)
        if all(order[j].center[0] - order[i].center[0] > -least for j in range(len(order)) for i in range(j))
    ]


def find_mentions(answer: str, things: Sequence[Thing]) -> tuple[tuple[int, int, int], ...]:
    """Return where a description mentions each object, see `Turn.mentions`."""
    mentions, end = [], 0
    for index, thing in enumerate(things):
        start = answer.lower().index(thing.name, end)
        end = start + len(thing.name)
        mentions.append((start, end, index))
    return tuple(mentions)


def capital(text: str) -> str:
    """Capitalize the first letter, and leave the rest as it is."""
    return text[0].upper() + text[1:]
