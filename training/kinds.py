"""The marker kinds and colors that the bundled checkpoint was trained on.

Frozen here: a kind that is added to the package later is not in the checkpoint's tokenizer, labels or scenes.
"""

from __future__ import annotations

from langchain_vipllava.markers.kinds import MarkerColor, MarkerKind

KINDS: tuple[MarkerKind, ...] = (
    "rectangle",
    "ellipse",
    "triangle",
    "point",
    "scribble",
    "mask contour",
    "mask",
    "arrow",
)
COLOR_NAMES: tuple[MarkerColor, ...] = (
    "red",
    "lime",
    "blue",
    "yellow",
    "fuchsia",
    "aqua",
    "orange",
    "purple",
    "gold",
)
