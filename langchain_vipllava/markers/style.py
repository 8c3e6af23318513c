"""How a marker is drawn: constant, or hand-drawn as in the training data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from langchain_vipllava.errors import MarkerError
from langchain_vipllava.images.view import VIEW_SIZE
from langchain_vipllava.markers.extent import Extent
from langchain_vipllava.markers.ink import Ink


class SizeRange(NamedTuple):
    """A size: of constant markers, and the range of training, from which hand-drawn ones take it."""

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
        draw_by_hand: the same with the randomness of training.
        width: line width in model pixels.
        radius: radius of a point in model pixels.
        opacity: 0 to 1.
        brush: whether training's widths are how far a square brush reaches to each side of the line.
    """

    preposition: str
    draw: Callable[[Extent, Style], list[Ink]]
    draw_by_hand: Callable[[Extent, Style], list[Ink]]
    width: SizeRange = LINE_WIDTH
    radius: SizeRange = POINT_RADIUS
    opacity: SizeRange = OPACITY
    brush: bool = False

    def ink(self, extent: Extent, style: Style) -> list[Ink]:
        """Draw a marker in its style."""
        is_alone = style.ranks == 1  # training never marks a region twice, where chance would hide one of the markers
        return (self.draw_by_hand if style.rng is not None and is_alone else self.draw)(extent, style)


_ELLIPSE_SCALE = SizeRange(1.2, 1, 1.5)
"""The range is the training's. The constant was chosen by looking: the line passes clear of most objects."""


def choose_style(
    spec: MarkerSpec,
    rng: np.random.Generator | None,
    unit: float = 1.0,
    *,
    width: float | None = None,
    radius: float | None = None,
    opacity: float | None = None,
) -> Style:
    """Choose the sizes of one marker: those passed in, else the constant ones, or with `rng` those of training.

    Training draws widths, radii and opacities (of 255) as whole numbers, in pixels of the image: `unit` of them are one
    pixel of the model's square.

    Constant markers are opaque (masks: 128/255). A question names their color, so it must be that color on any
    background.

    Raises:
        MarkerError: a size that is not positive or larger than the model's square, or an opacity outside 0..1.
    """
    sizes = (("width", width, VIEW_SIZE), ("radius", radius, VIEW_SIZE), ("opacity", opacity, 1))
    for name, asked, limit in sizes:
        if asked is not None and not (isinstance(asked, (int, float, np.integer, np.floating)) and 0 < asked <= limit):
            frame = "" if limit == 1 else ", in pixels of the model's square"
            raise MarkerError(f"{name}={asked!r}; expected a number above 0 and at most {limit}{frame}.")
    # The order of these draws is part of what a seed means.
    if rng is None:
        chosen = Style(spec.width.constant, spec.radius.constant, spec.opacity.constant, _ELLIPSE_SCALE.constant)
    else:
        pixels = _whole(rng, spec.width, unit)
        chosen = Style(
            width=(2 * pixels + 1 if spec.brush else pixels) / unit,
            radius=_whole(rng, spec.radius, unit) / unit,
            opacity=_whole(rng, spec.opacity, 255) / 255,
            ellipse_scale=rng.uniform(_ELLIPSE_SCALE.min, _ELLIPSE_SCALE.max),
            rng=rng,
        )
    return replace(
        chosen,
        width=chosen.width if width is None else float(width),
        radius=chosen.radius if radius is None else float(radius),
        opacity=chosen.opacity if opacity is None else float(opacity),
    )


def _whole(rng: np.random.Generator, size: SizeRange, unit: float) -> int:
    """Draw a whole number of pixels, at least 1, from a range in model pixels."""
    return max(int(rng.integers(int(size.min * unit + 1e-9), int(size.max * unit + 1e-9), endpoint=True)), 1)
