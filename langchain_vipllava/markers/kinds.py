"""The eight marker kinds and nine colors that ViP-LLaVA was trained on: one declaration each.

To add a kind, add its name to `MarkerKind`, its case to `spec_of`, and its drawing functions to `shapes` and
`hand_drawn`. mypy reports a name without a case.

Source of names, prepositions, sizes and colors: the ViP-LLaVA paper (arXiv 2312.00784) and the drawing code of its
repository. The training draws sizes from a range; its constant style is what demo and evaluation use.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal, assert_never, get_args

from langchain_vipllava.errors import MarkerError, shorten
from langchain_vipllava.markers import hand_drawn, shapes
from langchain_vipllava.markers.style import MarkerSpec, SizeRange

MarkerKind = Literal["rectangle", "ellipse", "triangle", "point", "scribble", "mask contour", "mask", "arrow"]
MarkerColor = Literal["red", "lime", "blue", "yellow", "fuchsia", "aqua", "orange", "purple", "gold"]

KINDS: tuple[MarkerKind, ...] = get_args(MarkerKind)
COLOR_NAMES: tuple[MarkerColor, ...] = get_args(MarkerColor)

RGB = tuple[int, int, int]


def spec_of(kind: MarkerKind) -> MarkerSpec:
    """Return the preposition, sizes and drawing function of a kind."""
    match kind:
        case "rectangle":
            return MarkerSpec("within", shapes.rectangle, shapes.rectangle)
        case "ellipse":
            return MarkerSpec("within", shapes.ellipse, hand_drawn.ellipse)
        case "triangle":
            return MarkerSpec("with", shapes.triangle, hand_drawn.triangle)
        case "point":
            return MarkerSpec("at", shapes.point, hand_drawn.point)
        case "scribble":
            return MarkerSpec("with", shapes.scribble, hand_drawn.scribble, width=SizeRange(4, 2, 12))
        case "mask contour":
            return MarkerSpec(
                "with", shapes.mask_contour, hand_drawn.mask_contour, width=SizeRange(3, 1, 2), brush=True
            )
        case "mask":
            return MarkerSpec("with", shapes.mask, shapes.mask, opacity=SizeRange(128 / 255, 48 / 255, 128 / 255))
        case "arrow":
            return MarkerSpec("pointed to by", shapes.arrow, hand_drawn.arrow, width=SizeRange(3, 1, 6))
        case _:
            assert_never(kind)


def rgb_of(color: MarkerColor) -> RGB:
    """Return the RGB values of a color."""
    match color:
        case "red":
            return 255, 0, 0
        case "lime":
            return 0, 255, 0
        case "blue":
            return 0, 0, 255
        case "yellow":
            return 255, 255, 0
        case "fuchsia":
            return 255, 0, 255
        case "aqua":
            return 0, 255, 255
        case "orange":
            return 255, 165, 0
        case "purple":
            return 128, 0, 128
        case "gold":
            return 255, 215, 0
        case _:
            assert_never(color)


COLORS: MappingProxyType[MarkerColor, RGB] = MappingProxyType({color: rgb_of(color) for color in COLOR_NAMES})
"""RGB of each color, in the order in which they are assigned."""


def marker_phrase(kind: str, color: str) -> str:
    """Return the words that name a marker in the training questions.

    Raises:
        MarkerError: an unknown kind or color.

    Example:
        >>> marker_phrase("arrow", "lime")
        'pointed to by the lime arrow'
    """
    kind = parse_kind(kind)
    return f"{spec_of(kind).preposition} the {parse_color(color)} {kind}"


def parse_kind(kind: object) -> MarkerKind:
    """Check the name of a kind. "mask_contour" is "mask contour", in any case.

    Raises:
        MarkerError: an unknown kind.
    """
    normalized = (kind if isinstance(kind, str) else shorten(kind)).strip().lower().replace("_", " ").replace("-", " ")
    for name in KINDS:
        if normalized == name:
            return name
    raise MarkerError(f"unknown marker kind {shorten(kind)}; expected one of {', '.join(KINDS)}.")


def parse_color(color: object) -> MarkerColor:
    """Check the name of a color, in any case.

    Raises:
        MarkerError: not one of the nine colors that the model was trained on by name.
    """
    normalized = (color if isinstance(color, str) else shorten(color)).strip().lower()
    for name in COLOR_NAMES:
        if normalized == name:
            return name
    raise MarkerError(
        f"unknown marker color {shorten(color)}; expected one of {', '.join(COLORS)}: the model was trained on these "
        "names."
    )
