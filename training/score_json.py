"""Score answers as JSON and tool calls, through the package itself: the same questions free, and constrained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.messages import HumanMessage

from langchain_vipllava import ChatVipLlava, MarkedImage
from langchain_vipllava.protocol.load_options import Quantization
from training.cases import CANONICAL, EITHER_ORDER
from training.questions import NUMBERS, Asker, orders
from training.scene import PAINT_NAMES, SHAPES, Look, draw_looks, draw_scene, mark_scene
from training.wordings import SIDES

COLOR: Mapping[str, Any] = {"enum": list(PAINT_NAMES)}
SHAPE: Mapping[str, Any] = {"enum": list(SHAPES)}


@dataclass(frozen=True)
class Question:
    """One question about a marked image.

    Attributes:
        message: the question with its image.
        answer: the correct JSON value, arguments of a tool, or free text in lower case.
        also: further correct values, see `Case.also`.
        schema: JSON schema of the answer, or of the arguments; None for free text.
    """

    message: HumanMessage
    answer: Any
    schema: Mapping[str, Any] | None = None
    also: Sequence[Any] = ()


def draw_question(rng: np.random.Generator, ask: str) -> Question:
    """Draw a scene, mark it as `mark` does by default or with random kinds and colors, and ask.

    Args:
        rng: source of all randomness.
        ask: a key of ASKS.
    """
    while True:
        scene = draw_scene(rng, int(rng.integers(2, 6)) if "count" in ask else int(rng.integers(2, 5)))
        looks = draw_looks(rng, scene, int(rng.integers(2, min(3, len(scene.things)) + 1)))
        by_contrast = bool(rng.random() < 0.5)
        if by_contrast:
            looks = [Look(look.thing, "rectangle", look.color) for look in looks]
        marked = mark_scene(rng, scene, looks, by_contrast=by_contrast)
        looks = [
            Look(look.thing, marker.kind, marker.color) for look, marker in zip(looks, marked.markers, strict=True)
        ]
        if len({(look.kind, look.color) for look in looks}) < len(looks):
            continue
        question = ASKS[ask](marked, Asker(rng, scene, looks, CANONICAL))
        if question is not None:
            return question


def _color(marked: MarkedImage, asker: Asker, *, schema: Any, key: str = "") -> Question:
    color = asker.thing(0).color
    message = marked.message("What color is the object {0}?")
    return Question(message, {key: color} if key else f"{color}." if schema is None else color, schema)


def _both(marked: MarkedImage, asker: Asker, *, schema: Any) -> Question:
    thing = asker.thing(0)
    answer = f"{thing.name}." if schema is None else {"color": thing.color, "shape": thing.shape}
    return Question(marked.message("What is the object {0}?"), answer, schema)


def _regions(marked: MarkedImage, asker: Asker, *, aspect: str) -> Question:
    things = [asker.thing(index) for index in range(len(asker.looks))]
    schema = marked.answers_schema(COLOR if aspect == "color" else SHAPE)
    answer = {str(index): getattr(thing, aspect) for index, thing in enumerate(things)}
    return Question(marked.message(f"What {aspect} is each marked object?"), answer, schema)


def _count(marked: MarkedImage, asker: Asker, *, schema: Any) -> Question:
    count = len(asker.scene.things)
    answer: Any = (
        f"{NUMBERS[count]}.".lower() if schema is None else {"count": count} if "properties" in schema else count
    )
    return Question(marked.message("How many objects are there?"), answer, schema)


def _side(marked: MarkedImage, asker: Asker, *, schema: Any) -> Question | None:
    turn = asker.ask_two(str(asker.rng.choice(SIDES)))
    if turn is None:
        return None
    answer: Any = turn.answer.lower() if schema is None else turn.answer == "Yes."
    if schema is not None and "properties" in schema:
        answer = {"answer": answer}
    return Question(marked.message(turn.question), answer, schema)


def _whether(marked: MarkedImage, asker: Asker, *, schema: Any) -> Question:
    turn = asker.ask_whether(0)
    return Question(marked.message(turn.question), {"answer": turn.answer == "Yes."}, schema)


def _list(marked: MarkedImage, asker: Asker) -> Question:
    colors = [thing.color for thing in asker.scene.things]
    also = [[thing.color for thing in order] for order in orders(asker.scene)]
    question = "List the colors of the objects from left to right."
    return Question(marked.message(question), colors, {"type": "array", "items": COLOR}, also)


def _call_region(marked: MarkedImage, asker: Asker) -> Question:
    region, thing = f"r{asker.rng.integers(1, 10)}", asker.thing(0)
    question = f"Region {region} is the object {{0}}. What is it?"
    answer = {"region": region, "color": thing.color, "shape": thing.shape}
    return Question(marked.message(question), answer, _object(region={"type": "string"}, color=COLOR, shape=SHAPE))


def _call_words(marked: MarkedImage, asker: Asker) -> Question:
    color, shape = (str(asker.rng.choice(words)) for words in (PAINT_NAMES, SHAPES))
    schema = _object(color={"type": "string"}, shape={"type": "string"})
    return Question(marked.message(f"Find the {color} {shape}."), {"color": color, "shape": shape}, schema)


def _object(**properties: Any) -> dict[str, Any]:
    return {"title": "Answer", "type": "object", "properties": properties, "required": list(properties)}


Ask = Callable[[MarkedImage, Asker], Question | None]
ASKS: Mapping[str, Ask] = {
    "color": partial(_color, schema=None),
    "color, as enum": partial(_color, schema={"title": "Color", **COLOR}),
    "color, as object": partial(_color, schema=_object(color=COLOR), key="color"),
    "color and shape": partial(_both, schema=None),
    "color and shape, as object": partial(_both, schema=_object(color=COLOR, shape=SHAPE)),
    "one color per region": partial(_regions, aspect="color"),
    "one shape per region": partial(_regions, aspect="shape"),
    "count": partial(_count, schema=None),
    "count, as integer": partial(_count, schema={"title": "Count", "type": "integer"}),
    "count, as object": partial(_count, schema=_object(count={"type": "integer"})),
    "left, right, above, below": partial(_side, schema=None),
    "left, right, above, below, as boolean": partial(_side, schema={"title": "Answer", "type": "boolean"}),
    "left, right, above, below, as object": partial(_side, schema=_object(answer={"type": "boolean"})),
    "colors from left to right, as list": _list,
    "tool call: color and shape": partial(_both, schema=_object(color=COLOR, shape=SHAPE)),
    "tool call: count": partial(_count, schema=_object(count={"type": "integer"})),
    "tool call: region id of the question": _call_region,
    "tool call: color and shape of the question": _call_words,
    "whether it is of a color or shape, as object": partial(_whether, schema=_object(answer={"type": "boolean"})),
}
"""What is asked, and how the answer is given."""

FREE = ("color", "color and shape", "count", "left, right, above, below")
"""Those of ASKS whose answer is text; the ones after each ask for the same as JSON."""


def answer_all(llm: ChatVipLlava, name: str, questions: Sequence[Question]) -> list[Any]:
    """Answer questions of one kind of ASKS as a user would."""
    answers: list[Any] = []
    for question in questions:
        if question.schema is None:
            answers.append(llm.invoke([question.message]).text.lower())
        elif name.startswith("tool call"):
            tool = {"name": "report", "description": "Report what was asked for.", "parameters": question.schema}
            calls = llm.bind_tools([tool], tool_choice="any").invoke([question.message]).tool_calls
            answers.append(calls[0]["args"])
        else:
            answers.append(llm.with_structured_output(dict(question.schema)).invoke([question.message]))
    return answers


def score_json(
    folder: Path, rng: np.random.Generator, count: int, quantization: Quantization | None = None
) -> list[tuple[str, float, int, str]]:
    """Score everything in ASKS: name, accuracy, number of cases, and target."""
    llm = ChatVipLlava(model=str(folder), quantization=quantization)
    rows = []
    for name in ASKS:
        questions = [draw_question(rng, name) for _ in range(count)]
        answers = answer_all(llm, name, questions)
        hits = [found == question.answer for found, question in zip(answers, questions, strict=True)]
        is_free, is_call = name in FREE, name.startswith("tool call")
        title = f"free answer: {name}" if is_free else name if is_call else f"JSON: {name}"
        rows.append((title, float(np.mean(hits)), count, "" if is_free or is_call else ">= 95%"))
        if questions[0].also:
            either = [found in question.also for found, question in zip(answers, questions, strict=True)]
            rows.append((f"{title} ({EITHER_ORDER})", float(np.mean(either)), count, ">= 95%"))
    return rows
