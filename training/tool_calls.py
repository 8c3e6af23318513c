"""Conversations in which the model calls tools, told to it in the system text as `ChatVipLlava` does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from langchain_vipllava.protocol.output_spec import OutputSpec, format_calls
from langchain_vipllava.schemas.narrow_schema import narrow_schema
from training.json_values import (
    WORDING_OF,
    Aspect,
    cased,
    describe_property,
    draw_case,
    draw_key,
    object_of,
    value_of,
)
from training.kinds import COLOR_NAMES, KINDS
from training.scene import PAINT_NAMES, SHAPES
from training.turn import Turn, end_of
from training.wordings import ENGLISH

if TYPE_CHECKING:
    from training.questions import Asker

_FREE_SHARE = 0.2
"""Of the questions beside tools, those that none of the tools is for."""

_FREE = {"identify": 0.4, "color": 0.15, "shape": 0.15, "side": 0.15, "same": 0.1, "count": 0.05}
_VERBS = ("report", "save", "record", "log", "submit", "answer", "describe", "tag", "label", "set", "store", "note")
_COUNT_NOUNS = ("count", "number", "number_of_objects", "total", "object_count", "how_many")
_FIND_VERBS = ("find", "search", "select", "highlight", "mark", "filter", "pick", "locate")
_REGION_VERBS = ("zoom", "crop", "show", "open", "focus", "inspect", "mark", "ask", "look_at")
_REGION_KEYS = ("region", "region_id", "id", "regions", "target")
_WORDS = tuple(word for word in ENGLISH.split() if len(word) > 3)
_RESULTS = ("ok", "OK", "done", "saved", "Saved.", "null", "true", '{"status":"ok"}', "success", "Thank you.")
_REPORTING = (
    "What is the object {0}?",
    "What is {0}?",
    "Report the object {0}.",
    "Report what is {0}.",
    "Describe the object {0}.",
    "Save the color and the shape of the object {0}.",
    "Name color and shape of the object {0}.",
    "Use the tool for the object {0}.",
    "Look at the object {0}.",
)
_WITH_REGION = (
    "Region {region} is the object {0}. What is it?",
    "What is the object {0}? It is region {region}.",
    "Report region {region}, the object {0}.",
    "Describe the object {0} (region {region}).",
    "The object {0} has the id {region}. Report it.",
    "Save region {region}: the object {0}.",
)
_FINDING = ("{verb} the {words}.", "Please {verb} the {words}.", "{verb} all {words}s.", "Can you {verb} a {words}?",
            "Is there a {words}?", "Where is the {words}?", "{verb} every {words} in the image.")  # fmt: skip
_SHOWING = ("{verb} region {0}.", "{verb} {0}.", "Please {verb} region {0}.", "I want to see region {0}.",
            "What about region {0}?", "Look at region {0} again.")  # fmt: skip
_COMPARING = ("Compare region {0} and region {1}.", "Compare {0} with {1}.", "Compare the regions {0} and {1}.")


@dataclass(frozen=True)
class Toolbox:
    """Tools that a row of conversations may call.

    Attributes:
        output: the tools as the package tells them to the model.
        askers: for each tool, a function that asks something for which it is the right one.
        free: kinds of questions that none of the tools is for, and their shares.
    """

    output: OutputSpec
    askers: tuple[Callable[[Asker], Turn], ...] = field(repr=False)
    free: Mapping[str, float]

    def converse(self, asker: Asker) -> list[Turn]:
        """Ask for a call, and sometimes go on after its result, or ask what none of the tools is for."""
        if asker.rng.random() < _FREE_SHARE:
            return asker.converse(self.free)
        ask = self.askers[int(asker.rng.integers(len(self.askers)))]
        turn = ask(asker)
        if len(self.askers) == 1:  # then the grammar writes the name
            start = turn.answer.index(":") + 1
            turn = replace(turn, given=((start, turn.answer.index(",", start)),))
        if turn.thing < 0 or asker.rng.random() < 0.8:
            return [turn]
        index = next(i for i, look in enumerate(asker.looks) if look.thing == turn.thing)
        after = Turn("identify", str(asker.rng.choice(_RESULTS)), asker.answer(index, "identify"), turn.thing)
        return [turn, after]


def draw_toolbox(rng: np.random.Generator) -> Toolbox:
    """Draw one to three tools."""
    makers = [_reporter, _reporter, _counter, _finder, _shower]
    count = int(rng.choice([1, 2, 3], p=[0.65, 0.25, 0.1]))
    chosen = [makers[int(index)] for index in rng.permutation(len(makers))[:count]]
    if _reporter in chosen:  # once: nothing tells two of them apart
        chosen = [_reporter, *(make for make in chosen if make is not _reporter)]
    drawn = [make(rng) for make in chosen]
    order = rng.permutation(len(drawn))
    tools = tuple(drawn[int(index)][0] for index in order)
    for_tools = {_reporter: ("identify", "color", "shape"), _counter: ("count",)}
    answered = [kind for make in chosen for kind in for_tools.get(make, ())]
    free = {kind: share for kind, share in _FREE.items() if kind not in answered}
    return Toolbox(OutputSpec(tools, must_call=True), tuple(drawn[int(index)][1] for index in order), free)


Made = tuple[Mapping[str, Any], Callable[["Asker"], Turn]]


def _reporter(rng: np.random.Generator) -> Made:
    """A tool that takes what an object is, and often which region it is."""
    aspects: list[Aspect] = list(rng.permutation(["color", "shape", "name"]))
    aspects = aspects[: int(rng.choice([1, 2, 3], p=[0.3, 0.6, 0.1]))]
    keys = {aspect: draw_key(rng, aspect) for aspect in aspects}
    case, all_values = draw_case(rng), rng.random() < 0.5
    case = "lower" if case == "sentence" else case
    region_key = str(rng.choice(_REGION_KEYS)) if rng.random() < 0.5 else ""
    properties: dict[str, Any] = {}
    for aspect in aspects:
        names = {"color": PAINT_NAMES, "shape": SHAPES}.get(aspect)
        listed = [cased(name, case) for name in names] if names and all_values else None
        part: dict[str, Any] = {"enum": listed} if listed else {"type": "string"}
        properties[keys[aspect]] = describe_property(rng, aspect, part)
    if region_key:
        properties[region_key] = {"type": "string"}
        properties = {key: properties[key] for key in map(str, rng.permutation(list(properties)))}
    tool = _tool(rng, _VERBS, ("object", "shape", "thing", "region", "item"), properties)

    def ask(asker: Asker) -> Turn:
        index, region = int(asker.rng.integers(len(asker.looks))), _region(asker.rng)
        thing, phrase = asker.thing(index), asker.phrase(index)
        written = {
            keys[aspect]: cased(value_of(aspect, thing), case if "enum" in properties[keys[aspect]] else "lower")
            for aspect in aspects
        }
        if region_key:
            written[region_key] = region
        wording = str(asker.rng.choice(_WITH_REGION if region_key else _REPORTING))
        question = wording.format(phrase, region=region)
        if not region_key and len(aspects) == 1 and asker.rng.random() < 0.6:
            question = asker.word(WORDING_OF[aspects[0]], phrase)
        number = asker.looks[index].thing
        arguments = {key: written[key] for key in properties}
        said = [region] if region_key else []
        return _call(question, tool, arguments, number, ((end_of(phrase, question), number),), said=said)

    return tool, ask


def _counter(rng: np.random.Generator) -> Made:
    """A tool that takes the number of objects."""
    key = str(rng.choice(["count", "number", "total", "n", "value", "objects"]))
    tool = _tool(rng, _VERBS, _COUNT_NOUNS, {key: {"type": "integer"}})
    return tool, lambda asker: _call(asker.word("count"), tool, {key: len(asker.scene.things)}, -1)


def _finder(rng: np.random.Generator) -> Made:
    """A tool that takes a color and a shape of the question."""
    colors = COLOR_NAMES if rng.random() < 0.3 else PAINT_NAMES
    shapes = KINDS if colors is COLOR_NAMES else SHAPES
    aspects: list[Aspect] = list(rng.permutation(["color", "shape"]))
    aspects = aspects[: int(rng.choice([1, 2], p=[0.35, 0.65]))]
    keys = {aspect: draw_key(rng, aspect) for aspect in aspects}
    names = {"color": colors, "shape": shapes}
    properties: dict[str, Any] = {}
    for aspect in aspects:
        part: dict[str, Any] = {"enum": list(names[aspect])} if rng.random() < 0.5 else {"type": "string"}
        properties[keys[aspect]] = part
    tool = _tool(rng, _FIND_VERBS, ("object", "objects", "shape", "shapes", "thing", "marker"), properties)

    def ask(asker: Asker) -> Turn:
        said = {"color": str(asker.rng.choice(colors)), "shape": str(asker.rng.choice(shapes))}
        words = " ".join(said[aspect] for aspect in ("color", "shape") if aspect in aspects)
        words = words if "shape" in aspects else f"{words} object"
        verb = str(asker.rng.choice(_FIND_VERBS))
        question = str(asker.rng.choice(_FINDING)).format(verb=verb, words=words)
        arguments = {keys[aspect]: said[aspect] for aspect in aspects}
        copied = [said[aspect] for aspect in ("color", "shape") if aspect in aspects]
        return _call(question[0].upper() + question[1:], tool, arguments, -1, said=copied)

    return tool, ask


def _shower(rng: np.random.Generator) -> Made:
    """A tool that takes one or two ids of regions of the question."""
    two, listed = rng.random() < 0.3, rng.random() < 0.2
    keys = ["first", "second"] if two and not listed else [str(rng.choice(_REGION_KEYS))]
    part: dict[str, Any] = {"type": "string"}
    if listed:
        part = {"type": "array", "items": {"type": "string"}}
    tool = _tool(rng, _REGION_VERBS, ("region", "regions", "part"), dict.fromkeys(keys, part))

    def ask(asker: Asker) -> Turn:
        first = second = _region(asker.rng)
        while second == first:
            second = _region(asker.rng)
        verb = str(asker.rng.choice(["zoom in on", "crop", "show", "open", "inspect", "mark"]))
        question = str(asker.rng.choice(_COMPARING if two else _SHOWING)).format(first, second, verb=verb)
        ids = [first, second] if two else [first]
        arguments = {keys[0]: ids} if listed else dict(zip(keys, ids, strict=True))
        return _call(question[0].upper() + question[1:], tool, arguments, -1, said=ids)

    return tool, ask


def _tool(
    rng: np.random.Generator, verbs: tuple[str, ...], nouns: tuple[str, ...], properties: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Name and describe a tool: `report_object`, `Object`, `save`."""
    verb, noun = str(rng.choice(verbs)), str(rng.choice(nouns))
    name = str(rng.choice([f"{verb}_{noun}", verb, noun.title().replace("_", ""), str(rng.choice(_WORDS))]))
    said = f"{verb} the {noun}".replace("_", " ")
    description = str(rng.choice([f"{said[0].upper()}{said[1:]}.", f"{said[0].upper()}{said[1:]} in the image.", ""]))
    parameters = object_of(rng, properties)
    return {"name": name, "description": description, "parameters": narrow_schema(parameters)}


def _call(
    question: str,
    tool: Mapping[str, Any],
    arguments: Mapping[str, Any],
    thing: int,
    named: tuple[tuple[int, int], ...] = (),
    *,
    said: Sequence[str] = (),
) -> Turn:
    """Make a turn that calls a tool; `said` are the values that stand in the question, in its order."""
    answer, copied, end = format_calls([(tool["name"], arguments)]), [], 0
    for value in said:
        asked = re.compile(rf"\b{re.escape(value)}").search(question, end)
        assert asked is not None, (value, question)  # noqa: S101  # every wording has a slot for every value
        end = asked.end()
        written = answer.index(f'"{value}"', answer.index('"arguments"')) + 1
        copied.append((written, written + len(value), asked.start()))
    kind = "json_copy" if said and thing < 0 else "json_call"
    return Turn(kind, question, answer, thing, named, copied=tuple(copied))


def _region(rng: np.random.Generator) -> str:
    style, number = rng.random(), int(rng.integers(0, 21))
    return f"r{number}" if style < 0.7 else str(number) if style < 0.9 else f"region{number}"
