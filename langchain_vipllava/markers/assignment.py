"""Assign kinds and colors to regions: every (color, kind) at most once, so that a phrase names one region."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice, product
from typing import Literal, Protocol

from langchain_vipllava.errors import MarkerError, shorten
from langchain_vipllava.markers.contrast import CLEAR_SHARE
from langchain_vipllava.markers.kinds import (
    COLOR_NAMES,
    COLORS,
    KINDS,
    MarkerColor,
    MarkerKind,
    parse_color,
    parse_kind,
)
from langchain_vipllava.text import counted

Look = tuple[MarkerColor, MarkerKind]

KindChoice = MarkerKind | Literal["auto"]
ColorChoice = MarkerColor | Literal["auto"]

MAX_MARKERS = len(COLORS) * len(KINDS)
"""Markers on one image: each (color, kind) at most once."""


class Standing(Protocol):
    """What is asked about an image below its markers; a region is named by its index."""

    def expect(self, markers: Iterable[tuple[int, MarkerKind]]) -> None:
        """Take note of which kinds on which regions will be asked about, as far as is known."""

    def clear_share(self, index: int, look: Look) -> float:
        """Return the share of a region's pixels from which a look would stand out."""


def check_names(kind: object, color: object) -> None:
    """Check names of kinds and colors before there are regions: one name, or a list of them.

    Raises:
        MarkerError: an unknown name.
    """
    for choice, parse in ((kind, parse_kind), (color, parse_color)):
        for name in choice if isinstance(choice, (list, tuple)) else [choice]:
            if isinstance(name, str) and name != "auto":
                parse(name)


def assign_looks(
    count: int,
    kind: KindChoice | Sequence[KindChoice | None] | None,
    color: ColorChoice | Sequence[ColorChoice | None] | None,
    ground: Standing,
    *,
    numbered: bool = False,
) -> list[Look]:
    """Assign a different (color, kind) to each of `count` regions.

    Colors keep their order, except where one does not stand out from the image.

    Args:
        count: number of regions.
        kind: one kind for all, one per region, or "auto" (None in a sequence) to choose.
        color: one color for all, one per region, or None or "auto" to choose.
        ground: what the markers have to stand out from.
        numbered: whether numbers name the regions too: then "auto" repeats looks once all of them are taken.

    Raises:
        MarkerError: unknown names, a sequence of another length, a (color, kind) that is requested twice, or more
            regions than combinations.
    """
    if count > MAX_MARKERS and not numbered:
        raise MarkerError(
            f"{count} regions, but only {MAX_MARKERS} combinations of color and kind. Mark fewer regions at "
            "once, or on several views with mark_pages."
        )
    kinds = [None if k in (None, "auto") else parse_kind(k) for k in _one_each(count, kind, "kind")]
    colors = [None if c in (None, "auto") else parse_color(c) for c in _one_each(count, color, "color")]
    looks: dict[int, Look] = {}
    fixed_first = sorted(range(count), key=lambda i: (kinds[i] is None) + (colors[i] is None))
    ground.expect(
        (index, kinds[index] or KINDS[place // len(COLORS) % len(KINDS)])
        for place, index in enumerate(fixed_first)
        if colors[index] is None
    )
    for index in fixed_first:
        taken = list(looks.values())
        if numbered and kinds[index] is None and colors[index] is None:
            taken = taken[len(taken) // MAX_MARKERS * MAX_MARKERS :]  # all of them are taken: begin again
        candidates = _free_looks(index, kinds[index], colors[index], set(taken), count)
        if colors[index] is not None:
            looks[index] = candidates[0]
            continue
        look = next((look for look in candidates if ground.clear_share(index, look) >= CLEAR_SHARE), None)
        if look is None:
            movable = [other for other in looks if colors[other] is None and kinds[other] == kinds[index]]
            look = _swap(index, movable, looks, candidates, ground)
        looks[index] = look or max(candidates, key=lambda look: ground.clear_share(index, look))
    return [looks[index] for index in range(count)]


def _free_looks(
    index: int, kind: MarkerKind | None, color: MarkerColor | None, taken: set[Look], count: int
) -> list[Look]:
    """Return what a region may get: unused colors first, then in the order of kinds and colors."""
    used_colors = {look[0] for look in taken}
    pairs = product([kind] if kind else KINDS, [color] if color else COLOR_NAMES)
    candidates: list[Look] = [(c, k) for k, c in pairs if (c, k) not in taken]
    if not candidates:
        if kind and color:
            raise MarkerError(
                f"two regions request a {color} {kind} (the second is region {index}); expected every (color, kind) "
                "at most once, so that a phrase names one region. Omit color or kind for one of them."
            )
        raise MarkerError(
            f"{count} regions, but only {len(COLORS) if kind else len(KINDS)} combinations with "
            f"{f'kind={kind!r}' if kind else f'color={color!r}'} (and {MAX_MARKERS} in all). "
            "Mark fewer regions at once, mark them on several views with mark_pages, or pass kind='auto' without color."
            if kind or color
            else f"{count} regions, but only {MAX_MARKERS} combinations of color and kind. "
            "Mark fewer regions at once, or on several views with mark_pages, or pass kind='auto' and numbers=True."
        )
    return [
        *(look for look in candidates if look[0] not in used_colors),
        *(look for look in candidates if look[0] in used_colors),
    ]


def _swap(
    index: int,
    movable: Sequence[int],
    looks: dict[int, Look],
    free: Sequence[Look],
    ground: Standing,
) -> Look | None:
    """Give another region a free look, so that this one gets that region's, where both then stand out."""
    for other in movable:
        theirs = looks[other]
        if ground.clear_share(index, theirs) < CLEAR_SHARE:
            continue
        for look in free:
            if ground.clear_share(other, look) >= CLEAR_SHARE:
                looks[other] = look
                return theirs
    return None


def _one_each(count: int, value: str | Sequence[str | None] | None, name: str) -> list[str | None]:
    if value is None or isinstance(value, str):
        return [value] * count
    try:
        values = list(islice(value, max(count, MAX_MARKERS) + 1))  # an iterator may be endless
    except TypeError as error:
        raise MarkerError(f"{name}={shorten(value)}; expected one name, or one per region.") from error
    if any(isinstance(value, (int, float)) for value in values):
        raise MarkerError(f"{name}={shorten(values)}; expected names, not numbers: the model was trained on names.")
    if len(values) != count:
        raise MarkerError(
            f"{counted(len(values), 'value')} in {name}= for {counted(count, 'region')}; expected one "
            "name, or one per region."
        )
    return values
