"""Assign kinds and colors to regions: every (color, kind) at most once, so that a phrase names one region."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, product
from typing import Literal

from langchain_vipllava.errors import MarkerError, shorten
from langchain_vipllava.markers.kinds import (
    COLOR_NAMES,
    COLORS,
    KINDS,
    MarkerColor,
    MarkerKind,
    parse_color,
    parse_kind,
)

Look = tuple[MarkerColor, MarkerKind]

KindChoice = MarkerKind | Literal["auto"]
ColorChoice = MarkerColor | Literal["auto"]

MAX_MARKERS = len(COLORS) * len(KINDS)
"""Markers on one image: each (color, kind) at most once."""


def assign_looks(
    count: int,
    kind: KindChoice | Sequence[KindChoice | None] | None,
    color: ColorChoice | Sequence[ColorChoice | None] | None,
) -> list[Look]:
    """Assign a different (color, kind) to each of `count` regions.

    Args:
        count: number of regions.
        kind: one kind for all, one per region, or "auto" (None in a sequence) to choose.
        color: one color for all, one per region, or None or "auto" to choose.

    Raises:
        MarkerError: unknown names, a sequence of another length, a (color, kind) that is requested twice, or more
            regions than combinations.
    """
    if count > MAX_MARKERS:
        raise MarkerError(
            f"{count} regions, but only {MAX_MARKERS} combinations of color and kind. Mark fewer regions at once."
        )
    kinds = [None if k in (None, "auto") else parse_kind(k) for k in _one_each(count, kind, "kind")]
    colors = [None if c in (None, "auto") else parse_color(c) for c in _one_each(count, color, "color")]
    looks: dict[int, Look] = {}
    fixed_first = sorted(range(count), key=lambda i: (kinds[i] is None) + (colors[i] is None))
    for index in fixed_first:
        looks[index] = _first_free(index, kinds[index], colors[index], set(looks.values()), count)
    return [looks[index] for index in range(count)]


def _first_free(index: int, kind: MarkerKind | None, color: MarkerColor | None, taken: set[Look], count: int) -> Look:
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
            f"{f'kind={kind!r}' if kind else f'color={color!r}'} (and {len(COLORS) * len(KINDS)} in all). "
            "Mark fewer regions at once, or pass kind='auto' without color."
            if kind or color
            else f"{count} regions, but only {len(COLORS) * len(KINDS)} combinations of color and kind. "
            "Mark fewer regions at once."
        )
    return next((look for look in candidates if look[0] not in used_colors), candidates[0])


def _one_each(count: int, value: str | Sequence[str | None] | None, name: str) -> list[str | None]:
    if value is None or isinstance(value, str):
        return [value] * count
    try:
        values = list(islice(value, MAX_MARKERS + 1))  # an iterator may be endless
    except TypeError as error:
        raise MarkerError(f"{name}={shorten(value)}; expected one name, or one per region.") from error
    if any(isinstance(value, (int, float)) for value in values):
        raise MarkerError(f"{name}={shorten(values)}; expected names, not numbers: the model was trained on names.")
    if len(values) != count:
        raise MarkerError(f"{len(values)} values in {name}= for {count} regions; expected one name, or one per region.")
    return values
