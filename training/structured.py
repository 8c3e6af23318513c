"""Questions whose answer is JSON, with the schema in the question as `ChatVipLlava` writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_vipllava.protocol.output_spec import OutputSpec
from langchain_vipllava.schemas.narrow_schema import narrow_schema
from training.json_values import (
    WORDING_OF,
    Aspect,
    describe_property,
    draw_case,
    draw_key,
    draw_property,
    dumps,
    object_of,
)
from training.turn import Turn, end_of

if TYPE_CHECKING:
    from training.questions import Asker

STRUCTURED: Mapping[str, float] = {
    "json_object": 0.12,
    "json_value": 0.06,
    "json_regions": 0.36,
    "json_bool": 0.12,
    "json_count": 0.06,
    "json_list": 0.24,
    "json_follow": 0.04,
}
"""Kinds of questions, and their shares."""

_COUNT_KEYS = ("count", "number", "objects", "how_many", "total", "n", "object_count")
_BOOL_KEYS = ("answer", "same", "result", "is_true", "yes", "value", "correct")
_LIST_KEYS = ("objects", "things", "items", "names", "shapes", "values", "answers")
_REGION_IDS = (("r1", "r2", "r3"), ("0", "1", "2"), ("0", "1", "2"), ("r2", "r5", "r7"), ("a", "b", "c"))
_ABOUT_ONE = (
    "What is the object {0}?",
    "What is {0}?",
    "Describe the object {0}.",
    "Tell me about the object {0}.",
    "Name color and shape of the object {0}.",
    "What color and shape does the object {0} have?",
    "What are the color and the shape of the object {0}?",
)
_ABOUT_MARKED = {
    "name": (
        "What are the marked objects?",
        "What is each marked object?",
        "Describe each marked object.",
        "Name the marked objects.",
        "What is in each region?",
        "What is each of them?",
        "What are the objects {all}?",
        "What is {all}?",
        "Describe the objects {all}.",
    ),
    "color": (
        "What colors are the objects {all}?",
        "What color is each marked object?",
        "Which color does each object have?",
        "What color is each of them?",
        "What are the colors of the objects {all}?",
        "Name the colors of the marked objects.",
    ),
    "shape": (
        "What shapes are the objects {all}?",
        "What shape is each marked object?",
        "Which shape does each object have?",
        "What shape is each of them?",
        "What are the shapes of the objects {all}?",
        "Name the shapes of the marked objects.",
    ),
}
_LISTING: Mapping[Aspect, tuple[str, ...]] = {
    "name": ("List the objects from left to right.", "What objects are there, from left to right?"),
    "color": ("List the colors of the objects from left to right.", "What colors do the objects have?"),
    "shape": ("List the shapes of the objects from left to right.", "What shapes do the objects have?"),
}


def ask_json(asker: Asker, kind: str) -> list[Turn]:
    """Ask a question of this kind about a random marker of the scene, or about the whole image."""
    return _follow(asker) if kind == "json_follow" else [_KINDS[kind](asker)]


def _ask_object(asker: Asker) -> Turn:
    rng, index = asker.rng, int(asker.rng.integers(len(asker.looks)))
    aspects: list[Aspect] = list(rng.permutation(["color", "shape", "name"]))
    aspects = aspects[: int(rng.choice([1, 2, 3], p=[0.25, 0.6, 0.15]))]
    answer, properties = _about(asker, index, aspects)
    schema = object_of(rng, properties)
    if len(aspects) == 1 and rng.random() < 0.5:
        wording = asker.word(WORDING_OF[aspects[0]], asker.phrase(index))
    else:
        wording = str(rng.choice(_ABOUT_ONE)).format(asker.phrase(index))
    return _turn(asker, "json_object", wording, schema, answer, index)


def _about(asker: Asker, index: int, aspects: Sequence[Aspect]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the answer about one marker, and the schemas of its properties."""
    rng, case = asker.rng, draw_case(asker.rng)
    answer, properties = {}, {}
    for aspect in aspects:
        [value], schema = draw_property(rng, aspect, [asker.thing(index)], case)
        key = draw_key(rng, aspect)
        answer[key], properties[key] = value, describe_property(rng, aspect, schema)
    return answer, properties


def _ask_value(asker: Asker) -> Turn:
    rng, index = asker.rng, int(asker.rng.integers(len(asker.looks)))
    aspect: Aspect = rng.choice(["color", "shape", "name"])
    [answer], schema = draw_property(rng, aspect, [asker.thing(index)], draw_case(rng))
    wording = asker.word(WORDING_OF[aspect], asker.phrase(index))
    return _turn(asker, "json_value", wording, schema, answer, index)


def _ask_regions(asker: Asker) -> Turn:
    """Ask about every marker at once, as with `MarkedImage.answers_schema`."""
    rng, count = asker.rng, len(asker.looks)
    ids = _REGION_IDS[int(rng.integers(len(_REGION_IDS)))][:count]
    things = [asker.thing(index) for index in range(count)]
    case, aspect = draw_case(rng), str(rng.choice(["name", "color", "shape", "both"]))
    aspects: list[Aspect] = ["color", "shape"] if aspect == "both" else [aspect]  # type: ignore[list-item]
    drawn = [(draw_key(rng, part), *draw_property(rng, part, things, case, whole=True)) for part in aspects]
    if aspect == "both":
        part = object_of(rng, {key: schema for key, _, schema in drawn}, closed=True)
        values: list[Any] = [{key: found[index] for key, found, _ in drawn} for index in range(count)]
    else:
        [(_, values, part)] = drawn
    answer = dict(zip(ids, values, strict=True))
    properties = {ids[i]: {**part, "description": f"the object {asker.phrase(i)}"} for i in range(count)}
    phrases = [asker.phrase(index) for index in range(count)]
    named = f"{', '.join(phrases[:-1])} and {phrases[-1]}" if count > 1 else phrases[0]
    wording = str(rng.choice(_ABOUT_MARKED["name" if aspect == "both" else aspect])).format(all=named)
    turn = _turn(asker, "json_regions", wording, object_of(rng, properties, closed=True), answer, -1)
    numbers = [look.thing for look in asker.looks]
    described = tuple(
        (turn.question.index(f"(the object {phrase})") + len(f"(the object {phrase}"), thing)
        for phrase, thing in zip(phrases, numbers, strict=True)
    )
    return replace(turn, named=described, mentions=_spans(turn.answer, [dumps(value) for value in values], numbers))


def _ask_bool(asker: Asker) -> Turn:
    turn = asker.ask_two() if len(asker.looks) > 1 and asker.rng.random() < 0.6 else None
    turn = turn or asker.ask_whether(int(asker.rng.integers(len(asker.looks))))
    yes, schema = turn.answer == "Yes.", {"type": "boolean"}
    if asker.rng.random() < 0.5:
        return _with_schema(turn, schema, yes)
    key = str(asker.rng.choice(_BOOL_KEYS))
    turn = _with_schema(turn, object_of(asker.rng, {key: schema}), {key: yes})
    return replace(turn, decided_at=turn.answer.index(":") + 1)


def _ask_count(asker: Asker) -> Turn:
    count, schema = len(asker.scene.things), {"type": "integer"}
    if asker.rng.random() < 0.4:
        return _turn(asker, "json_count", asker.word("count"), schema, count, -1)
    key = str(asker.rng.choice(_COUNT_KEYS))
    return _turn(asker, "json_count", asker.word("count"), object_of(asker.rng, {key: schema}), {key: count}, -1)


def _ask_list(asker: Asker) -> Turn:
    rng, things = asker.rng, asker.scene.things
    asked = str(rng.choice(["name", "color", "shape", "both"], p=[0.25, 0.3, 0.3, 0.15]))
    aspects: list[Aspect] = ["color", "shape"] if asked == "both" else [asked]  # type: ignore[list-item]
    drawn = [(draw_key(rng, part), *draw_property(rng, part, things, "lower", whole=True)) for part in aspects]
    if asked == "both":
        items = object_of(rng, {key: schema for key, _, schema in drawn}, closed=True)
        values: list[Any] = [{key: found[i] for key, found, _ in drawn} for i in range(len(things))]
    else:
        [(_, values, items)] = drawn
    answer: Any = values
    schema: dict[str, Any] = {"type": "array", "items": items}
    shape = rng.random()
    if shape < 0.6:
        key = str(rng.choice(_LIST_KEYS))
        properties: dict[str, Any] = {key: schema}
        answer = {key: values}
        if shape < 0.15:
            properties, answer = {"count": {"type": "integer"}, **properties}, {"count": len(things), **answer}
        schema = object_of(rng, properties, closed=True)
    name: Aspect = "name" if asked == "both" else aspects[0]
    wording = asker.word("describe") if name == "name" and rng.random() < 0.7 else str(rng.choice(_LISTING[name]))
    turn = _turn(asker, "json_list", wording, schema, answer, -1)
    return replace(turn, mentions=_spans(turn.answer, [dumps(value) for value in values], list(range(len(things)))))


def _follow(asker: Asker) -> list[Turn]:
    """Go from a free answer to JSON, or from JSON to a free answer: only the last question names a schema."""
    rng, index = asker.rng, int(asker.rng.integers(len(asker.looks)))
    first: Aspect = rng.choice(["color", "shape", "name"])
    second: Aspect = rng.choice(["color", "shape"])
    opening = asker.ask_one(index, WORDING_OF[first])
    if rng.random() < 0.5:
        [value], schema = draw_property(rng, second, [asker.thing(index)], draw_case(rng))
        key = draw_key(rng, second)
        schema, answer = object_of(rng, {key: schema}), {key: value}
        return [opening, _turn(asker, "json_follow", asker.word(f"it_{second}"), schema, answer, index, named=False)]
    answered = {draw_key(rng, first): draw_property(rng, first, [asker.thing(index)], "lower")[0][0]}
    return [replace(opening, answer=dumps(answered), taught=False), asker.about_it(index, second)]


_KINDS: Mapping[str, Callable[[Asker], Turn]] = {
    "json_object": _ask_object,
    "json_value": _ask_value,
    "json_regions": _ask_regions,
    "json_bool": _ask_bool,
    "json_count": _ask_count,
    "json_list": _ask_list,
}


def _turn(
    asker: Asker, kind: str, wording: str, schema: Mapping[str, Any], answer: Any, index: int, *, named: bool = True
) -> Turn:
    question = wording + _suffix(schema)
    if index < 0:
        return Turn(kind, question, dumps(answer))
    thing = asker.looks[index].thing
    ends = ((end_of(asker.phrase(index), question), thing),) if named else ()
    return Turn(kind, question, dumps(answer), thing, ends)


def _with_schema(turn: Turn, schema: Mapping[str, Any], answer: Any) -> Turn:
    return replace(turn, question=turn.question + _suffix(schema), answer=dumps(answer))


def _suffix(schema: Mapping[str, Any]) -> str:
    return OutputSpec(schema=narrow_schema(schema)).question_suffix


def _spans(text: str, parts: Sequence[str], things: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    """Return where the parts of an answer stand, each about one object."""
    spans, end = [], 0
    for part, thing in zip(parts, things, strict=True):
        start = text.index(part, end)
        end = start + len(part)
        spans.append((start, end, thing))
    return tuple(spans)
