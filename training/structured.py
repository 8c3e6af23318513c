"""Questions whose answer is JSON, with the schema in the question as `ChatVipLlava` writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_vipllava.protocol.narrow_schema import narrow_schema
from langchain_vipllava.protocol.output_spec import OutputSpec
from training.scene import PAINT_NAMES, SHAPES, Thing
from training.turn import Turn, end_of

if TYPE_CHECKING:
    from training.questions import Asker

STRUCTURED: Mapping[str, float] = {
    "json_object": 0.42,
    "json_value": 0.2,
    "json_regions": 0.16,
    "json_bool": 0.1,
    "json_count": 0.06,
    "json_list": 0.06,
}
"""Kinds of questions, and their shares."""

_COLOR_KEYS = ("color", "color", "color", "colour", "paint", "hue")
_SHAPE_KEYS = ("shape", "shape", "shape", "form", "outline")
_NAME_KEYS = ("object", "name", "what", "thing", "answer", "description", "label")
_COUNT_KEYS = ("count", "number", "objects", "how_many", "total")
_BOOL_KEYS = ("answer", "same", "result", "is_true", "yes")
_LIST_KEYS = ("objects", "things", "items", "names")
_REGION_IDS = (("r1", "r2", "r3"), ("0", "1", "2"), ("r2", "r5", "r7"))
_ABOUT_ONE = (
    "What is the object {0}?",
    "What is {0}?",
    "Describe the object {0}.",
    "Tell me about the object {0}.",
    "Name color and shape of the object {0}.",
    "What color and shape does the object {0} have?",
)
_ABOUT_MARKED = (
    "What are the marked objects?",
    "What is each marked object?",
    "Describe each marked object.",
    "Name the marked objects.",
    "What is in each region?",
    "What is each of them?",
)
_WORDING_OF = {"color": "color", "shape": "shape", "name": "identify"}


def ask_json(asker: Asker, kind: str) -> Turn:
    """Ask a question of this kind about a random marker of the scene, or about the whole image."""
    return _KINDS[kind](asker)


def _ask_object(asker: Asker) -> Turn:
    rng, index = asker.rng, int(asker.rng.integers(len(asker.looks)))
    thing = asker.thing(index)
    aspects = [str(aspect) for aspect in rng.permutation(["color", "shape", "name"])]
    aspects = aspects[: int(rng.choice([1, 2, 3], p=[0.25, 0.6, 0.15]))]
    case = _draw_case(asker)
    properties = {_key(asker, aspect): _property(asker, aspect, thing, case) for aspect in aspects}
    answer = {key: value for key, (value, _) in properties.items()}
    schema = _object({key: part for key, (_, part) in properties.items()})
    if len(aspects) == 1 and rng.random() < 0.5:
        return _turn(
            asker, "json_object", asker.word(_WORDING_OF[aspects[0]], asker.phrase(index)), schema, answer, index
        )
    wording = str(rng.choice(_ABOUT_ONE)).format(asker.phrase(index))
    return _turn(asker, "json_object", wording, schema, answer, index)


def _ask_value(asker: Asker) -> Turn:
    index, aspect = int(asker.rng.integers(len(asker.looks))), str(asker.rng.choice(["color", "shape", "name"]))
    answer, schema = _property(asker, aspect, asker.thing(index), _draw_case(asker))
    wording = asker.word(_WORDING_OF[aspect], asker.phrase(index))
    return _turn(asker, "json_value", wording, schema, answer, index)


def _ask_regions(asker: Asker) -> Turn:
    """Ask about every marker at once, as with `MarkedImage.answers_schema`."""
    rng = asker.rng
    ids = _REGION_IDS[int(rng.integers(len(_REGION_IDS)))]
    case, aspect = _draw_case(asker), str(rng.choice(["name", "name", "color", "shape", "both"]))
    answer: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    for index in range(len(asker.looks)):
        thing = asker.thing(index)
        if aspect == "both":
            parts = {key: _property(asker, key, thing, case, whole=True) for key in ("color", "shape")}
            value: Any = {key: value for key, (value, _) in parts.items()}
            part = _object({key: part for key, (_, part) in parts.items()})
        else:
            value, part = _property(asker, aspect, thing, case, whole=True)
        answer[ids[index]] = value
        properties[ids[index]] = {**part, "description": f"the object {asker.phrase(index)}"}
    wording = str(rng.choice(_ABOUT_MARKED))
    turn = _turn(asker, "json_regions", wording, _object(properties), answer, -1)
    return _with_mentions(asker, turn, answer)


def _ask_bool(asker: Asker) -> Turn:
    turn = asker.ask_two() if len(asker.looks) > 1 else None
    if turn is None:
        return _ask_value(asker)
    yes = turn.answer == "Yes."
    schema: dict[str, Any] = {"type": "boolean"}
    if asker.rng.random() < 0.5:
        return _replace(turn, schema, yes)
    key = str(asker.rng.choice(_BOOL_KEYS))
    return replace(_replace(turn, _object({key: schema}), {key: yes}), kind="json_bool")


def _ask_count(asker: Asker) -> Turn:
    count = len(asker.scene.things)
    schema: dict[str, Any] = {"type": "integer"}
    if asker.rng.random() < 0.4:
        return _turn(asker, "json_count", asker.word("count"), schema, count, -1)
    key = str(asker.rng.choice(_COUNT_KEYS))
    return _turn(asker, "json_count", asker.word("count"), _object({key: schema}), {key: count}, -1)


def _ask_list(asker: Asker) -> Turn:
    things = asker.scene.things
    answer: Any = [_short_name(thing) for thing in things]
    schema: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
    if asker.rng.random() < 0.5:
        key = str(asker.rng.choice(_LIST_KEYS))
        answer, schema = {key: answer}, _object({key: schema})
    turn = _turn(asker, "json_list", asker.word("describe"), schema, answer, -1)
    return _replace_mentions(
        turn, _spans(turn.answer, [_short_name(thing) for thing in things], list(range(len(things))))
    )


_KINDS = {
    "json_object": _ask_object,
    "json_value": _ask_value,
    "json_regions": _ask_regions,
    "json_bool": _ask_bool,
    "json_count": _ask_count,
    "json_list": _ask_list,
}


def _draw_case(asker: Asker) -> str:
    return str(asker.rng.choice(["lower", "title", "upper"], p=[0.75, 0.2, 0.05]))


def _key(asker: Asker, aspect: str) -> str:
    keys = {"color": _COLOR_KEYS, "shape": _SHAPE_KEYS, "name": _NAME_KEYS}[aspect]
    return str(asker.rng.choice(keys))


def _property(asker: Asker, aspect: str, thing: Thing, case: str, *, whole: bool = False) -> tuple[str, dict[str, Any]]:
    """Return the value of an aspect, and the schema of its property: an enum or a string.

    With `whole`, an enum names all colors or shapes: the same for every object.
    """
    value = {"color": thing.color, "shape": thing.shape, "name": _short_name(thing)}[aspect]
    if aspect == "name" or asker.rng.random() < 0.3:
        return value, {"type": "string"}
    names = PAINT_NAMES if aspect == "color" else SHAPES
    count = len(names) if whole else int(asker.rng.integers(2, len(names) + 1))
    others = [str(name) for name in asker.rng.permutation([name for name in names if name != value])][: count - 1]
    listed = [name for name in names if name == value or name in others]
    if asker.rng.random() < 0.5:
        listed = [str(name) for name in asker.rng.permutation(listed)]
    return _cased(value, case), {"enum": [_cased(name, case) for name in listed]}


def _short_name(thing: Thing) -> str:
    return f"{thing.color} {thing.shape}"


def _cased(word: str, case: str) -> str:
    return {"lower": word, "title": word.capitalize(), "upper": word.upper()}[case]


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(properties)}


def _turn(asker: Asker, kind: str, wording: str, schema: Mapping[str, Any], answer: Any, index: int) -> Turn:
    suffix = OutputSpec(schema=narrow_schema(schema)).question_suffix
    question = wording + suffix
    things = [asker.looks[index].thing] if index >= 0 else []
    named = tuple((end_of(asker.phrase(index), question), thing) for thing in things)
    return Turn(kind, question, _dumps(answer), things[0] if things else -1, named)


def _replace(turn: Turn, schema: Mapping[str, Any], answer: Any) -> Turn:
    suffix = OutputSpec(schema=narrow_schema(schema)).question_suffix
    return replace(turn, question=turn.question + suffix, answer=_dumps(answer))


def _with_mentions(asker: Asker, turn: Turn, answer: Mapping[str, Any]) -> Turn:
    """Say which characters of an answer are about which object, and where the question names it."""
    things = [look.thing for look in asker.looks]
    values = [_dumps(value) for value in answer.values()]
    named = tuple((end_of(asker.phrase(index), turn.question), thing) for index, thing in enumerate(things))
    return replace(_replace_mentions(turn, _spans(turn.answer, values, things)), named=named)


def _replace_mentions(turn: Turn, mentions: Sequence[tuple[int, int, int]]) -> Turn:
    return replace(turn, mentions=tuple(mentions))


def _spans(text: str, parts: Sequence[str], things: Sequence[int]) -> list[tuple[int, int, int]]:
    spans, end = [], 0
    for part, thing in zip(parts, things, strict=True):
        start = text.index(part, end)
        end = start + len(part)
        spans.append((start, end, thing))
    return spans


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
