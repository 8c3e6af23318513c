"""`other_looks`: the markers of an image drawn again, in other kinds and colors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, product
from typing import TypeVar

from langchain_vipllava.errors import MarkerError, shorten
from langchain_vipllava.images.view import VIEW_SIZE
from langchain_vipllava.markers.assignment import MAX_MARKERS, ColorChoice, KindChoice
from langchain_vipllava.markers.kinds import (
    COLOR_NAMES,
    COLORS,
    KINDS,
    MarkerColor,
    MarkerKind,
    marker_phrase,
    parse_color,
    parse_kind,
)
from langchain_vipllava.markers.mark import draw
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.markers.marker import Marker

VOTING_KINDS: tuple[MarkerKind, ...] = ("rectangle", "point", "mask", "arrow")
"""Kinds of the looks where the caller names neither kinds nor colors. Chosen: of all sets, the one that was
right most often on the hard scenes of `python -m benchmarks.vote --seed 1 --choose`; the guide has other scenes."""

_LOOKS = sorted((marker_phrase(kind, color) for kind in KINDS for color in COLOR_NAMES), key=len, reverse=True)
_ANY_LOOK = re.compile(rf"\b(?:{'|'.join(_LOOKS)})\b", re.IGNORECASE)
"""Words of a marker of any look, the longest first."""

MAX_LOOKS = 12
"""Looks of one vote. Chosen: more than all kinds or all colors; each is a question, and an image in memory."""


def other_looks(
    marked: MarkedImage,
    kinds: Iterable[MarkerKind] | None = None,
    colors: Iterable[MarkerColor] | None = None,
    *,
    view_size: int = VIEW_SIZE,
) -> list[MarkedImage]:
    """Draw the markers of an image again: one look for every kind and color. The crop stays.

    Args:
        marked: an image with markers.
        kinds: what all markers of a look are; None keeps the kinds where `colors` are given, and is `VOTING_KINDS`
            where they are not.
        colors: handed out in turn, so that the first region has each of them once; None chooses them as `mark` does.
        view_size: see `mark`.

    Returns:
        At least two; among them `marked` itself where it has one of the looks.

    Raises:
        MarkerError: no markers, unknown names, or fewer than two looks.

    Example:
        >>> from PIL import Image
        >>> from langchain_vipllava import Region, mark
        >>> marked = mark(Image.new("RGB", (336, 336)), Region(box=(10, 10, 90, 90)))
        >>> [look.phrases for look in other_looks(marked, kinds=["ellipse", "arrow"])]
        [['within the red ellipse'], ['pointed to by the red arrow']]
    """
    if not marked.markers:
        raise MarkerError("the image has no markers, so there are no other looks to draw; mark its regions first.")
    named, wanted = read_kinds(kinds), read_colors(colors)
    of_each: Sequence[MarkerKind | None] = named or (VOTING_KINDS if wanted is None else [None])
    shifts = range(len(wanted or [None]))
    if len(of_each) * len(shifts) > MAX_LOOKS:
        raise MarkerError(
            f"{len(of_each)} kinds with {len(shifts)} colors are {len(of_each) * len(shifts)} looks; expected at most "
            f"{MAX_LOOKS}."
        )
    found: dict[tuple[tuple[str, str], ...], MarkedImage] = {}
    for kind, shift in product(of_each, shifts):
        look = _draw(marked, kind, wanted, shift, view_size)
        found.setdefault(_look_of(look), look)
    if len(found) < 2:
        raise MarkerError(
            f"one look, {marked.markers[0].phrase!r}, is too few to vote; expected two or more kinds or colors."
        )
    same = _look_of(marked)
    return [marked if look == same else drawn for look, drawn in found.items()]


def read_kinds(kinds: object) -> list[MarkerKind] | None:
    """Read names of kinds, each once; None is None.

    Raises:
        MarkerError: no list, an empty one, or an unknown name.
    """
    return None if kinds is None else _parsed(kinds, "kinds", parse_kind, KINDS)


def read_colors(colors: object) -> list[MarkerColor] | None:
    """Read names of colors, each once; None is None.

    Raises:
        MarkerError: no list, an empty one, or an unknown name.
    """
    return None if colors is None else _parsed(colors, "colors", parse_color, COLOR_NAMES)


def reworded(text: str, markers: Sequence[Marker], others: Sequence[Marker]) -> str:
    """Write the words of other markers in place of those of markers, in a text.

    Args:
        text: a question or an answer.
        markers: whose words it may have.
        others: one for each of them.

    Example:
        >>> from langchain_vipllava import Region
        >>> cup = Region(box=(1, 2, 30, 40))
        >>> red, lime = Marker(cup, "mask", "red", (9, 9)), Marker(cup, "arrow", "lime", (9, 9))
        >>> reworded("Is the cup with the red mask empty?", [red], [lime])
        'Is the cup pointed to by the lime arrow empty?'
    """
    words = {marker.phrase: other.phrase for marker, other in zip(markers, others, strict=True)}
    longest_first = sorted(words, key=len, reverse=True)  # "with the red mask" begins "with the red mask contour"
    pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)"

    def other_words(found: re.Match[str]) -> str:
        other = words[found[0].lower()]
        return f"{other[0].upper()}{other[1:]}" if found[0][0].isupper() else other

    return re.sub(pattern, other_words, text, flags=re.IGNORECASE) if words else text


def words_of_no_marker(text: str, markers: Sequence[Marker]) -> str | None:
    """Return words in a text that would name a marker, but none of these; None if there are none.

    In another look they may be those of a marker, so that votes would be about different regions.
    """
    own = {marker_phrase(marker.kind, marker.color) for marker in markers}
    return next((found[0] for found in _ANY_LOOK.finditer(text) if found[0].lower() not in own), None)


def bare_words_of_marker(text: str, markers: Sequence[Marker]) -> tuple[str, Marker] | None:
    """Return words in a text that name a marker itself, "the red rectangle", and the marker; None if there are none.

    They cannot be said in the words of another look: "the object within the red rectangle" can.
    """
    looks = {f"{marker.color} {marker.kind}": marker for marker in markers}
    phrases = "|".join(re.escape(marker.phrase) for marker in markers)
    bare = "|".join(sorted((look.replace(" ", r"\s+") for look in looks), key=len, reverse=True))
    pattern = rf"\b(?:{phrases}|(the\s+({bare})))\b(?!\s+contour)"
    for found in re.finditer(pattern, text, re.IGNORECASE) if looks else ():
        if found[1] is not None:
            return found[1], looks[" ".join(found[2].casefold().split())]
    return None


def _draw(
    marked: MarkedImage, kind: MarkerKind | None, colors: Sequence[MarkerColor] | None, shift: int, view_size: int
) -> MarkedImage:
    count = len(marked.markers)
    kinds: list[KindChoice | None]
    if kind is None:
        kinds = [marker.kind for marker in marked.markers]
    else:  # a kind has nine looks; regions beyond get others
        kinds = [kind if index < len(COLORS) else None for index in range(count)]
    turned: list[ColorChoice | None] = [None] * count
    if colors is not None:
        turned = [
            colors[(index + shift) % len(colors)] if index < min(len(colors), len(COLORS)) else None
            for index in range(count)
        ]
    numbers = [marker.number for marker in marked.markers if marker.number is not None]
    return draw(
        marked.original,
        marked.regions,
        kind=kinds,
        color=turned,
        numbers=numbers if len(numbers) == count else None,
        crop=marked.crop,
        view_size=view_size,
    )


def _look_of(marked: MarkedImage) -> tuple[tuple[str, str], ...]:
    return tuple((marker.kind, marker.color) for marker in marked.markers)


_Name = TypeVar("_Name")


def _parsed(names: object, argument: str, parse: Callable[[object], _Name], known: Sequence[str]) -> list[_Name]:
    """Read names, each once."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise MarkerError(f"{argument}={shorten(names)}; expected a list of {', '.join(known)}.")
    listed = list(dict.fromkeys(map(parse, islice(names, MAX_MARKERS))))  # an iterator may be endless
    if not listed:
        raise MarkerError(f"{argument} is empty; expected two or more of {', '.join(known)}.")
    return listed
