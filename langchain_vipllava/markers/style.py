"""How a marker looks: constant, or hand-drawn as in the training data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from langchain_vipllava.errors import MarkerError
from langchain_vipllava.images.view import VIEW_SIZE
from langchain_vipllava.markers.kinds import MarkerKind

_WIDTHS: dict[str, tuple[float, float, float]] = {
    # kind: (constant, least, most) line width in model pixels; least and most as in training
    "rectangle": (3, 2, 8),
    "ellipse": (3, 2, 8),
    "triangle": (3, 2, 8),
    "scribble": (4, 2, 8),  # training goes to 12, but above 8 the line hides small regions
    "mask contour": (3, 2, 4),
    "arrow": (3, 2, 6),
}
_RADIUS = (8.0, 5.0, 20.0)
_OPACITY = (1.0, 96 / 255, 1.0)
_MASK_OPACITY = (128 / 255, 48 / 255, 128 / 255)


@dataclass(frozen=True)
class Style:
    """Sizes of one marker.

    Attributes:
        width: line width in pixels of the 336 px square that the model reads.
        radius: radius of a point, in the same pixels.
        opacity: 0 (invisible) to 1 (opaque).
        ellipse_scale: axes of an ellipse, in units of the box's half sides.
        hand: source of the jitter of a hand-drawn marker, None for a constant one.
    """

    width: float
    radius: float
    opacity: float
    ellipse_scale: float = 1.2
    hand: np.random.Generator | None = None


def choose_style(
    kind: MarkerKind,
    hand: np.random.Generator | None,
    *,
    width: float | None = None,
    radius: float | None = None,
    opacity: float | None = None,
) -> Style:
    """Make the style of one marker; what is given wins over constant and drawn values.

    Constant markers are opaque (masks: 128/255): the question names their color, so it has
    to be that color on any background.

    Raises:
        MarkerError: a size that is not positive or larger than the model's square, an opacity outside 0..1.
    """
    for name, value, most in (("width", width, VIEW_SIZE), ("radius", radius, VIEW_SIZE), ("opacity", opacity, 1)):
        if value is not None and not (isinstance(value, (int, float, np.integer, np.floating)) and 0 < value <= most):
            unit = "" if most == 1 else ", in pixels of the model's square"
            raise MarkerError(f"{name}={value!r}; expected a number above 0 and at most {most}{unit}.")
    widths = _WIDTHS.get(kind, (3, 2, 8))
    return Style(
        width=_pick(width, widths, hand),
        radius=_pick(radius, _RADIUS, hand),
        opacity=_pick(opacity, _MASK_OPACITY if kind == "mask" else _OPACITY, hand),
        ellipse_scale=1.2 if hand is None else float(hand.uniform(1, 1.5)),
        hand=hand,
    )


def _pick(given: float | None, range_: tuple[float, float, float], hand: np.random.Generator | None) -> float:
    constant, least, most = range_
    if given is not None:
        return float(given)
    return constant if hand is None else float(hand.uniform(least, most))
