"""How a marker is drawn: constant, or hand-drawn as in the training data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from langchain_vipllava.errors import MarkerError
from langchain_vipllava.images.view import VIEW_SIZE
from langchain_vipllava.markers.extent import Extent
from langchain_vipllava.markers.ink import Ink


class SizeRange(NamedTuple):
    """A size: of constant markers, and the range from which hand-drawn ones take it."""

    constant: float
    min: float
    max: float


# Of most kinds, as in training. The paper's constant style has opacity 128/255; ours is opaque, see choose_style.
LINE_WIDTH = SizeRange(3, 2, 8)
POINT_RADIUS = SizeRange(8, 5, 20)
OPACITY = SizeRange(1, 96 / 255, 1)


@dataclass(frozen=True)
class Style:
    """Sizes of one marker.

    Attributes:
        width: line width in pixels of the 336 px square that the model reads.
        radius: radius of a point, in the same pixels.
        opacity: 0 (invisible) to 1 (opaque).
        ellipse_scale: axes of an ellipse, in units of the box's half sides.
        inset: how far inside the box's edge the middle of a line lies, in model pixels; negative outside.
        shrink: size of the marker in units of its size on a large region.
        rank: place among the markers of equal regions, from 0.
        ranks: number of markers of equal regions.
        rng: source of the jitter of a hand-drawn marker; None for a constant one.
    """

    width: float
    radius: float
    opacity: float
    ellipse_scale: float = 1.2
    inset: float = 0.0
    shrink: float = 1.0
    rank: int = 0
    ranks: int = 1
    rng: np.random.Generator | None = None


@dataclass(frozen=True)
class MarkerSpec:
    """Everything that makes a marker kind.

    Attributes:
        preposition: what a question says before "the red rectangle".
        draw: converts a region's extent and a style to ink.
        width: line width in model pixels.
        radius: radius of a point in model pixels.
        opacity: 0 to 1.
    """

    preposition: str
    draw: Callable[[Extent, Style], list[Ink]]
    width: SizeRange = LINE_WIDTH
    radius: SizeRange = POINT_RADIUS
    opacity: SizeRange = OPACITY


_ELLIPSE_SCALE = SizeRange(1.2, 1, 1.5)
"""The range is the training's. The constant was chosen by looking: the line passes clear of most objects."""


def choose_style(
    spec: MarkerSpec,
    rng: np.random.Generator | None,
    *,
    width: float | None = None,
    radius: float | None = None,
    opacity: float | None = None,
) -> Style:
    """Choose the sizes of one marker: those passed in, else the constant ones, or with `rng` random ones.

    Constant markers are opaque (masks: 128/255). A question names their color, so it must be that color on any
    background.

    Raises:
        MarkerError: a size that is not positive or larger than the model's square, or an opacity outside 0..1.
    """
    for name, value, limit in (("width", width, VIEW_SIZE), ("radius", radius, VIEW_SIZE), ("opacity", opacity, 1)):
        if value is not None and not (isinstance(value, (int, float, np.integer, np.floating)) and 0 < value <= limit):
            unit = "" if limit == 1 else ", in pixels of the model's square"
            raise MarkerError(f"{name}={value!r}; expected a number above 0 and at most {limit}{unit}.")
    # The order of these draws is part of what a seed means.
    return Style(
        width=_pick(width, spec.width, rng),
        radius=_pick(radius, spec.radius, rng),
        opacity=_pick(opacity, spec.opacity, rng),
        ellipse_scale=_pick(None, _ELLIPSE_SCALE, rng),
        rng=rng,
    )


def _pick(value: float | None, size: SizeRange, rng: np.random.Generator | None) -> float:
    if value is not None:
        return float(value)
    return size.constant if rng is None else float(rng.uniform(size.min, size.max))
