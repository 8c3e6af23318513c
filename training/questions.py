"""Questions about a marked scene, alone and in conversations, with their answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from langchain_vipllava.markers.kinds import marker_phrase
from training.scene import Look, Scene, Thing
from training.wordings import ASPECTS, LEADS, SIDES, TAILS, WORDINGS

NUMBERS = ("Zero", "One", "Two", "Three", "Four", "Five")
CLEAR = 0.07  # of the long side: nearer than that, "left of" is a matter of taste

Mix = Mapping[str, float]
BINDING: Mix = {"identify": 0.5, "color": 0.25, "shape": 0.25}
"""One question about one marker: what has to be learnt first."""
EVERYTHING: Mix = {
    "identify": 0.22,
    "color": 0.08,
    "shape": 0.12,
    "follow": 0.18,
    "side": 0.18,
    "same": 0.14,
    "count": 0.05,
    "describe": 0.03,
}
"""All kinds of conversations."""
COMPARING: Mix = {"identify": 0.12, "shape": 0.08, "side": 0.65, "same": 0.15}
"""Mostly where two objects are: "left" and "right" are an XOR of word and place, found only when much asked for."""


@dataclass(frozen=True)
class Turn:
    """One question and its answer.

    Attributes:
        kind: key of the wordings that it comes from.
        question: as the user writes it.
        answer: as the model should.
        thing: which object it is about, from the left; -1 for none or several.
        named: (character, object) pairs: up to where the question has named which object.
        told: (start, end, object) triples: which characters of the answer tell of which object, where they
            tell of several.
    """

    kind: str
    question: str
    answer: str
    thing: int = -1
    named: tuple[tuple[int, int], ...] = ()
    told: tuple[tuple[int, int, int], ...] = ()


class Asker:
    """Makes questions about one marked scene.

    Args:
        rng: chooses what to ask.
        scene: what is there to see.
        looks: the markers.
        wordings: how questions are worded; None for those of training, plain or with a few words around.
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
        """Make one conversation, of a kind drawn from `mix`."""
        if not self.looks:
            return [self.one(0, str(self.rng.choice(["count", "describe"])))]
        kinds = list(mix)
        kind = kinds[int(self.rng.choice(len(kinds), p=np.array([*mix.values()]) / sum(mix.values())))]
        if kind in ("side", "same"):
            relations = SIDES if kind == "side" else ("same_color", "same_color", "same_shape")
            turn = self.two(str(self.rng.choice(relations)))
            return [turn or self.one(int(self.rng.integers(len(self.looks))), "identify")]
        if kind == "follow":
            return self.follow(int(self.rng.integers(2, 5)))
        return [self.one(int(self.rng.integers(len(self.looks))), kind)]

    def one(self, index: int, kind: str) -> Turn:
        """One question that stands alone: about the marker `index`, or about the image."""
        if kind in ("count", "describe"):
            answer = self.answer(index, kind)
            told = find_names(answer, self.scene.things) if kind == "describe" else ()
            return Turn(kind, self.word(kind), answer, told=told)
        return self.naming(kind, self.answer(index, kind), index)

    def naming(self, kind: str, answer: str, *indices: int) -> Turn:
        """A question that names what some markers mark."""
        phrases = [self.phrase(index) for index in indices]
        question = self.word(kind, *phrases)
        things = [self.looks[index].thing for index in indices]
        named = tuple((end_of(phrase, question), thing) for phrase, thing in zip(phrases, things, strict=True))
        return Turn(kind, question, answer, things[0] if len(things) == 1 else -1, named)

    def follow(self, turns: int) -> list[Turn]:
        """Several turns, most of which only the conversation settles."""
        index, aspect = int(self.rng.integers(len(self.looks))), str(self.rng.choice(ASPECTS))
        talk = [self.one(index, aspect)]
        while len(talk) < turns:
            step = self.rng.random()
            if step < 0.45 and index >= 0:
                aspect = str(self.rng.choice(["color", "shape", "identify"], p=[0.42, 0.42, 0.16]))
                talk.append(self.about_it(index, aspect))
            elif step < 0.8 and index >= 0 and len(self.looks) > 1:
                index = self.another(index)
                talk.append(self.and_the(index, aspect))
            elif step < 0.9:
                index, aspect = int(self.rng.integers(len(self.looks))), str(self.rng.choice(ASPECTS))
                talk.append(self.one(index, aspect))
            else:
                two = self.two() if self.rng.random() < 0.6 else None
                talk.append(two or self.one(0, str(self.rng.choice(["count", "describe"]))))
                index = -1  # nothing that "it" could mean
        return talk

    def about_it(self, index: int, aspect: str) -> Turn:
        """Ask "What color is it?", where "it" is what marker `index` marks."""
        kind = f"it_{aspect}"
        return Turn(kind, self.word(kind), self.answer(index, aspect), self.looks[index].thing)

    def and_the(self, index: int, aspect: str) -> Turn:
        """Ask "And the object ...?", which asks again what was asked last."""
        return self.naming("and", self.answer(index, aspect), index)

    def another(self, index: int) -> int:
        """Another marker than `index`."""
        return int(self.rng.choice([i for i in range(len(self.looks)) if i != index]))

    def two(self, kind: str | None = None) -> Turn | None:
        """A question about two markers, with yes as likely as no where the image allows; None if there are none."""
        count = len(self.looks)
        pairs = [(a, b) for a in range(count) for b in range(count) if a != b]
        kind = kind or str(self.rng.choice([*SIDES, "same_color", "same_color", "same_shape"]))
        answers = [self.compare(kind, a, b) for a, b in pairs]
        wanted = [answer for answer in answers if answer is not None]
        if not wanted:
            return None
        yes = bool(self.rng.random() < 0.5)
        if yes not in wanted:
            yes = not yes
        fitting = [pair for pair, answer in zip(pairs, answers, strict=True) if answer is yes]
        a, b = fitting[int(self.rng.integers(len(fitting)))]
        return self.naming(kind, "Yes." if yes else "No.", a, b)

    def compare(self, kind: str, a: int, b: int) -> bool | None:
        """Whether two marked objects stand in a relation; None where one could argue."""
        one, other = self.thing(a), self.thing(b)
        if kind == "same_color":
            return one.color == other.color
        if kind == "same_shape":
            return one.shape == other.shape
        axis = 0 if kind in ("left", "right") else 1
        ahead = (other.center[axis] - one.center[axis]) / max(self.scene.size)
        if kind in ("right", "below"):
            ahead = -ahead
        return None if abs(ahead) < CLEAR else ahead > 0

    def answer(self, index: int, kind: str) -> str:
        """The answer to a question that stands alone."""
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
        """What marker `index` marks."""
        return self.scene.things[self.looks[index].thing]

    def phrase(self, index: int) -> str:
        """How a question names marker `index`."""
        return marker_phrase(self.looks[index].kind, self.looks[index].color)

    def word(self, kind: str, *phrases: str) -> str:
        """Word a question."""
        if self.wordings is not None:
            return str(self.rng.choice(self.wordings[kind])).format(*phrases)
        known = WORDINGS[kind]
        first = kind == "identify" and self.rng.random() < 0.3
        question = known[0 if first else int(self.rng.integers(len(known)))].format(*phrases)
        around = self.rng.random()
        if around < 0.04:
            return str(self.rng.choice(LEADS)) + question
        return question + str(self.rng.choice(TAILS)) if around < 0.08 else question


def describe(things: Sequence[Thing]) -> str:
    """Name objects from left to right: "A blue circle, a red star and a black cross."."""
    names = [thing.name for thing in things]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{capital(listed)}."


def find_names(answer: str, things: Sequence[Thing]) -> tuple[tuple[int, int, int], ...]:
    """Where a description tells of which object: (start, end, object) triples of characters."""
    told, end = [], 0
    for index, thing in enumerate(things):
        start = answer.lower().index(thing.name, end)
        end = start + len(thing.name)
        told.append((start, end, index))
    return tuple(told)


def end_of(phrase: str, question: str) -> int:
    """The character behind a phrase; "the red mask" does not end within "the red mask contour"."""
    found = re.search(re.escape(phrase) + "(?! contour)", question)
    assert found is not None, (phrase, question)  # noqa: S101  # wordings have a place for every phrase
    return found.end()


def capital(text: str) -> str:
    """Make the first letter a capital."""
    return text[0].upper() + text[1:]
