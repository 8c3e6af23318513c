"""`Marker`: what one marker marks, and the words that name it."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_vipllava.markers.kinds import MarkerColor, MarkerKind, marker_phrase
from langchain_vipllava.regions.region import Region

FAINT_SHARE = 0.25
"""Share of a marker's pixels that have to show its color. Chosen: below, little more than its corners shows."""

TINY = 8.0
"""Short side in model pixels below which little of a region is visible. Chosen: half a patch of the vision tower."""


class TinyRegionWarning(UserWarning):
    """A marked region is only a few pixels wide where the model looks."""


class FaintMarkerWarning(UserWarning):
    """A marker can hardly be told from the image where the model looks."""


@dataclass(frozen=True)
class Marker:
    """One marker: what it marks, and how a question names it.

    Attributes:
        region: in pixels of the original image.
        kind: one of the eight kinds.
        color: one of the nine colors.
        number: the number drawn beside the region; None without number labels.
        seen: `(width, height)` of the region's box in pixels of the square that the model reads.
        visible: share of the marker's pixels, in the same square, that show its color where the image did not: 0..1.
        clearer: for a faint marker, a color that stands out better there; None if there is none.
        shares_look: whether another marker of the image has its kind and color, so that its number has to name it.
    """

    region: Region
    kind: MarkerKind
    color: MarkerColor
    seen: tuple[float, float]
    number: int | None = None
    visible: float = 1.0
    clearer: MarkerColor | None = None
    shares_look: bool = False

    def __post_init__(self) -> None:
        """Freeze a list, as LangGraph's serializer makes one of a tuple."""
        object.__setattr__(self, "seen", tuple(self.seen))

    @property
    def is_faint(self) -> bool:
        """Whether the marker can hardly be told from the image."""
        return self.visible < FAINT_SHARE

    @property
    def is_tiny(self) -> bool:
        """Whether the model sees almost nothing of the region. A point has no extent, so it is never tiny."""
        return min(self.seen) < TINY and not self.region.is_point

    @property
    def phrase(self) -> str:
        """The words that name it in the training questions: "within the red rectangle"."""
        phrase = marker_phrase(self.kind, self.color)
        return f"{phrase} with number {self.number}" if self.shares_look else phrase

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
