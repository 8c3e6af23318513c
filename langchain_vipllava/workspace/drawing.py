"""Drawing the markers that a caller asks for, on one image or on as many pages as it takes."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.markers.assignment import MAX_MARKERS, ColorChoice, KindChoice
from langchain_vipllava.markers.kinds import MarkerKind
from langchain_vipllava.markers.mark import Zoom, mark
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.markers.pages import MAX_PER_PAGE, MarkedPages, mark_pages
from langchain_vipllava.regions.region import Region

MAX_REGIONS = 200
"""Regions of one marked image. Chosen: as many as `detect_regions` returns at most."""


def draw_markers(
    image: EncodedImage,
    regions: Sequence[Region],
    kind: KindChoice | Sequence[KindChoice | None],
    color: ColorChoice | Sequence[ColorChoice | None] | None,
    zoom: Zoom | None,
    view_size: int,
) -> MarkedImage | MarkedPages:
    """Draw markers as `mark` does; on pages where one image has too few colors, or a crop would leave regions small.

    Args:
        image: upright, whole.
        regions: with ids.
        kind: see `mark`. With "auto", up to 72 markers share an image.
        color: see `mark`. With a color, all markers are on one image.
        zoom: see `mark`.
        view_size: see `mark`.
    """
    page_kind = _page_kind(kind, len(regions))
    if page_kind is not None and color in (None, "auto"):
        if len(regions) > MAX_PER_PAGE:
            return mark_pages(image, regions, kind=page_kind, view_size=view_size)
        if zoom is not None and len(regions) > 1:
            pages = mark_pages(image, regions, kind=page_kind, view_size=view_size)
            if len(pages) > 1:
                return pages
    return mark(image, regions, kind=kind, color=color, zoom=zoom, view_size=view_size)


def _page_kind(kind: KindChoice | Sequence[KindChoice | None], count: int) -> MarkerKind | None:
    """Return the kind of markers on pages; None for what has to share one image."""
    if not isinstance(kind, str):
        return None
    if kind == "auto":
        return "rectangle" if count > MAX_MARKERS else None
    return kind
