"""`Marker`: what one marker marks, and the words that name it."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_vipllava.markers.kinds import MarkerColor, MarkerKind, marker_phrase
from langchain_vipllava.regions.region import Region

TINY = 8.0
"""Short side in model pixels below which little of a region is visible. Chosen: half a patch of the vision tower."""


class TinyRegionWarning(UserWarning):
    """A marked region is only a few pixels wide where the model looks."""


@dataclass(frozen=True)
class Marker:
    """One marker: what it marks, and how a question names it.

    Attributes:
        region: in pixels of the original image.
        kind: one of the eight kinds.
        color: one of the nine colors.
        number: the number drawn beside the region; None without number labels.
        seen: `(width, height)` of the region's box in pixels of the square that the model reads.
    """

    region: Region
    kind: MarkerKind
    color: MarkerColor
    seen: tuple[float, float]
    number: int | None = None

    @property
    def is_tiny(self) -> bool:
        """Whether the model sees almost nothing of the region. A point has no extent, so it is never tiny."""
        return min(self.seen) < TINY and not self.region.is_point

    @property
    def phrase(self) -> str:
        """The words that name it in the training questions: "within the red rectangle"."""
        return marker_phrase(self.kind, self.color)

    def describe(self) -> dict[str, object]:
        """Return what a message says about the marker beside the image, in plain JSON types."""
        region = self.region
        fields = {
            "id": region.id,
            "label": region.label,
            "box": [round(n, 2) for n in region.box],
            "kind": self.kind,
            "color": self.color,
            "phrase": self.phrase,
        }
        return {key: value for key, value in fields.items() if value is not None}
