"""Values of JSON answers, and the schemas that admit them: what an object is, as a string or from an enum."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from training.scene import PAINT_NAMES, SHAPES, Thing

Aspect = Literal["color", "shape", "name"]
"""What is asked about an object; its name is color and shape: "red square"."""

WORDING_OF: Mapping[Aspect, str] = {"color": "color", "shape": "shape", "name": "identify"}
"""Key into the table of wordings for each aspect."""

KEYS: Mapping[Aspect, tuple[str, ...]] = {
    "color": ("color", "color", "color", "colour", "paint", "hue", "main_color", "object_color", "fill"),
    "shape": ("shape", "shape", "shape", "form", "outline", "geometry", "object_shape", "figure"),
    "name": ("object", "name", "what", "thing", "answer", "description", "label", "title", "item"),
}
"""Keys for each aspect; the usual ones are listed several times."""

_DESCRIPTIONS: Mapping[Aspect, tuple[str, ...]] = {
    "color": ("the color of the object", "color", "Its color", "which color it has", "color of the marked object"),
    "shape": ("the shape of the object", "shape", "Its shape", "which shape it has", "shape of the marked object"),
    "name": ("what the object is", "color and shape", "a short name", "color and shape of the object"),
}
_OTHER_COLORS = ("pink", "brown", "gray", "cyan", "other", "unknown", "none")
_OTHER_SHAPES = ("oval", "line", "arrow", "hexagon", "other", "unknown", "none")


def dumps(value: Any) -> str:
    """Write JSON as the package's grammar does: without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def short_name(thing: Thing) -> str:
    """Color and shape: "red square"."""
    return f"{thing.color} {thing.shape}"


def draw_key(rng: np.random.Generator, aspect: Aspect) -> str:
    """Draw a key for an aspect."""
    return str(rng.choice(KEYS[aspect]))


def draw_case(rng: np.random.Generator) -> str:
    """Draw how the values of an enum are written."""
    return str(rng.choice(["lower", "title", "upper", "sentence"], p=[0.76, 0.14, 0.05, 0.05]))


def cased(word: str, case: str) -> str:
    """Write a word as `draw_case` says."""
    return {"lower": word, "title": word.capitalize(), "upper": word.upper(), "sentence": f"{word.capitalize()}."}[case]


def value_of(aspect: Aspect, thing: Thing) -> str:
    """Return an aspect of an object, in lower case."""
    return {"color": thing.color, "shape": thing.shape, "name": short_name(thing)}[aspect]


def draw_property(
    rng: np.random.Generator, aspect: Aspect, things: Sequence[Thing], case: str, *, whole: bool = False
) -> tuple[list[str], dict[str, Any]]:
    """Draw the schema of an aspect: a string, or an enum of the true values and others.

    Args:
        rng: source of all randomness.
        aspect: what is asked.
        things: the objects, all asked about with the same schema.
        case: of `draw_case`.
        whole: let an enum name every color or shape.

    Returns:
        The value of every object, and the schema.
    """
    values = [value_of(aspect, thing) for thing in things]
    if rng.random() < (0.75 if aspect == "name" else 0.3):
        return values, {"type": "string"}
    names, others = {
        "color": (PAINT_NAMES, _OTHER_COLORS),
        "shape": (SHAPES, _OTHER_SHAPES),
        "name": (tuple(f"{c} {s}" for c in PAINT_NAMES for s in SHAPES), ("other",)),
    }[aspect]
    most = 8 if aspect == "name" else len(names)
    count = most if whole and aspect != "name" else int(rng.integers(2, most + 1))
    wrong = [str(name) for name in rng.permutation([name for name in names if name not in values])]
    listed = [name for name in names if name in values or name in wrong[: max(count - len(set(values)), 1)]]
    if rng.random() < 0.5:
        listed = [str(name) for name in rng.permutation(listed)]
    if rng.random() < 0.2:
        listed += [str(name) for name in rng.permutation(others)[: int(rng.integers(1, 3))]]
    article = aspect == "name" and rng.random() < 0.4
    written = {name: cased(f"a {name}" if article else name, case) for name in listed}
    return [written[value] for value in values], {"enum": [written[name] for name in listed]}


def describe_property(rng: np.random.Generator, aspect: Aspect, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Let some schemas of a property say what it is, as `Field(description=...)` does."""
    if rng.random() < 0.25:
        return {**schema, "description": str(rng.choice(_DESCRIPTIONS[aspect]))}
    return dict(schema)


def object_of(rng: np.random.Generator, properties: Mapping[str, Any], *, closed: bool = False) -> dict[str, Any]:
    """Return the schema of an object; some of the properties of some objects are not required unless `closed`."""
    optional = not closed and rng.random() < 0.12
    required = [key for key in properties if not (optional and rng.random() < 0.5)]
    return {"type": "object", "properties": dict(properties), "required": required}
