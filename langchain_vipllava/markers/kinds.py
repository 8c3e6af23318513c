"""The eight marker kinds and nine colors that ViP-LLaVA was trained on, and their names.

Source: the ViP-LLaVA paper (arXiv 2312.00784) and its repository's drawing code.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal, get_args

from langchain_vipllava.errors import MarkerError

MarkerKind = Literal["rectangle", "ellipse", "triangle", "point", "scribble", "mask contour", "mask", "arrow"]
MarkerColor = Literal["red", "lime", "blue", "yellow", "fuchsia", "aqua", "orange", "purple", "gold"]

KINDS: tuple[MarkerKind, ...] = get_args(MarkerKind)
COLOR_NAMES: tuple[MarkerColor, ...] = get_args(MarkerColor)

COLORS: MappingProxyType[MarkerColor, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (255, 0, 0),
        "lime": (0, 255, 0),
        "blue": (0, 0, 255),
        "yellow": (255, 255, 0),
        "fuchsia": (255, 0, 255),
        "aqua": (0, 255, 255),
        "orange": (255, 165, 0),
        "purple": (128, 0, 128),
        "gold": (255, 215, 0),
    }
)
"""RGB of each color, in the order in which they are given out."""

_WORDS: dict[str, str] = {
    "rectangle": "within",
    "ellipse": "within",
    "triangle": "with",
    "point": "at",
    "scribble": "with",
    "mask contour": "with",
    "mask": "with",
    "arrow": "pointed to by",
}


def marker_phrase(kind: str, color: str) -> str:
    """Name a marker the way the training questions do.

    Example:
        >>> marker_phrase("arrow", "lime")
        'pointed to by the lime arrow'
    """
    return f"{_WORDS[parse_kind(kind)]} the {parse_color(color)} {parse_kind(kind)}"


def parse_kind(kind: object) -> MarkerKind:
    """Read a kind's name; "mask_contour" is "mask contour".

    Raises:
        MarkerError: no such kind.
    """
    name = str(kind).strip().lower().replace("_", " ").replace("-", " ")
    for known in KINDS:
        if name == known:
            return known
    raise MarkerError(f"unknown marker kind {kind!r}; expected one of {', '.join(KINDS)}.")


def parse_color(color: object) -> MarkerColor:
    """Read a color's name.

    Raises:
        MarkerError: not one of the nine that the model knows by name.
    """
    name = str(color).strip().lower()
    for known in COLOR_NAMES:
        if name == known:
            return known
    raise MarkerError(
        f"unknown marker color {color!r}; expected one of {', '.join(COLORS)}: the model was trained on these names."
    )
