"""`mark`: draw markers on regions, so that a question can refer to them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence, Sized
from itertools import islice
from typing import Literal

import numpy as np
from PIL import Image

from langchain_vipllava.errors import MarkerError, shorten
from langchain_vipllava.images.access import Channels
from langchain_vipllava.images.load import load_image
from langchain_vipllava.images.source import ImageSource
from langchain_vipllava.images.view import VIEW_SIZE, View
from langchain_vipllava.markers.assignment import MAX_MARKERS, ColorChoice, KindChoice, Look, assign_looks
from langchain_vipllava.markers.extent import Extent
from langchain_vipllava.markers.ink import Layer, paint
from langchain_vipllava.markers.kinds import COLORS, spec_of
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.markers.marker import TINY, Marker, TinyRegionWarning
from langchain_vipllava.markers.numbers import draw_number, place_numbers
from langchain_vipllava.markers.style import Style, choose_style
from langchain_vipllava.markers.zoom import Crop, choose_crop, move_region
from langchain_vipllava.regions.region import Region
from langchain_vipllava.text import quote

Zoom = Literal["auto"]


def mark(
    image: ImageSource,
    regions: Region | Iterable[Region],
    *,
    kind: KindChoice | Sequence[KindChoice | None] = "rectangle",
    color: ColorChoice | Sequence[ColorChoice | None] | None = None,
    width: float | None = None,
    radius: float | None = None,
    opacity: float | None = None,
    numbers: bool = False,
    seed: int | None = None,
    zoom: Zoom | None = None,
    channels: Channels = "rgb",
) -> MarkedImage:
    """Draw a marker on each region of an image, as in ViP-LLaVA's training.

    Sizes are in pixels of the 336 px square that the model reads, and scaled with the image. The input image is not
    changed. Only pixels at a marker change.

    Args:
        image: anything that `load_image` accepts.
        regions: what to mark, in pixels of the upright image.
        kind: a `MarkerKind`, such as "ellipse"; one for all, one per region, or "auto" to use the next kind when the
            colors run out. Kinds that follow an outline use the mask's or polygon's, else the box.
        color: a `MarkerColor`, such as "red"; one, one per region, or None to assign them in their order.
        width: line width.
        radius: radius of points.
        opacity: 0 to 1. By default, markers are opaque, and masks half transparent.
        numbers: whether to put numbers 1, 2, ... beside the regions.
        seed: draws in the hand-drawn style of the training data, the same for the same seed. None draws constant
            markers.
        zoom: "auto" crops around the regions, with context, when one of them would be hard to see. Regions stay in
            the coordinates of the original.
        channels: "bgr" when the image is an array from `cv2.imread`.

    Returns:
        The marked image, with a phrase for each marker.

    Raises:
        ImageError: the image cannot be read.
        RegionError: a region lies outside the image, or a mask has another size.
        MarkerError: no regions, unknown names, more regions than combinations of color and kind, or an invalid size,
            opacity or seed.

    Warns:
        TinyRegionWarning: a region is less than 8 pixels wide or high where the model looks.

    Example:
        >>> from PIL import Image
        >>> from langchain_vipllava import Region, mark
        >>> photo = Image.new("RGB", (640, 480), "white")
        >>> marked = mark(photo, [Region(box=(40, 60, 200, 300)), Region(box=(300, 100, 420, 260))])
        >>> marked.phrases
        ['within the red rectangle', 'within the lime rectangle']
    """
    to_mark = _check_regions(regions)
    original = load_image(image, channels=channels)
    looks = assign_looks(len(to_mark), kind, color)
    rng = _rng(seed)
    styles = [choose_style(spec_of(k), rng, width=width, radius=radius, opacity=opacity) for _, k in looks]
    if zoom is not None:
        for region in to_mark:
            Extent.of(region, original.size, 1.0)  # raises for a region outside, before the crop hides it
    crop = _crop(to_mark, original.size, zoom)
    shown = original.crop(crop) if crop else original
    moved = [move_region(region, crop) for region in to_mark] if crop else to_mark
    extents = [Extent.of(region, shown.size, max(shown.size) / VIEW_SIZE) for region in moved]
    drawn = _draw(shown, extents, looks, styles, numbers)
    sizes_seen = [View(shown.size).size_of(extent.box) for extent in extents]
    markers = tuple(
        Marker(region, k, c, size, index + 1 if numbers else None)
        for index, (region, (c, k), size) in enumerate(zip(to_mark, looks, sizes_seen, strict=True))
    )
    _warn_about_tiny(markers, zoomed=zoom is not None)
    return MarkedImage(drawn, original, markers, crop)


def _check_regions(regions: Region | Iterable[Region]) -> list[Region]:
    if isinstance(regions, Region):
        return [regions]
    try:
        listed = list(islice(regions, MAX_MARKERS + 1))  # an iterator may be endless
    except TypeError as error:
        raise MarkerError(f"regions={shorten(regions)}; expected a Region or a list of them.") from error
    if not listed:
        raise MarkerError("no regions to mark; expected at least one. Ask about the whole image without markers.")
    if len(listed) > MAX_MARKERS:
        count = shorten(len(regions)) if isinstance(regions, Sized) else f"more than {MAX_MARKERS}"
        raise MarkerError(
            f"{count} regions, but only {MAX_MARKERS} combinations of color and kind. Mark fewer regions at once."
        )
    for region in listed:
        if not isinstance(region, Region):
            raise MarkerError(
                f"{type(region).__name__} in regions; expected Region objects. For a detector's output: "
                "regions_from(detections, image_size=image.size); for a box: Region(box=(x0, y0, x1, y1))."
            )
    return listed


def _rng(seed: int | None) -> np.random.Generator | None:
    try:
        return None if seed is None else np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise MarkerError(
            f"seed={shorten(seed)}; expected a whole number from 0, or None for constant markers."
        ) from error


def _crop(regions: list[Region], size: tuple[int, int], zoom: str | None) -> Crop | None:
    if zoom is None:
        return None
    if zoom != "auto":
        raise MarkerError(f"zoom={shorten(zoom)}; expected 'auto' or None.")
    return choose_crop(regions, size)


def _draw(
    image: Image.Image, extents: list[Extent], looks: list[Look], styles: list[Style], numbers: bool
) -> Image.Image:
    drawn = image.copy()
    paint(
        drawn,
        [
            Layer(spec_of(kind).draw(extent, style), COLORS[color], style.opacity)
            for extent, (color, kind), style in zip(extents, looks, styles, strict=True)
        ],
    )
    if numbers:
        places = place_numbers([extent.box for extent in extents], image.size, max(image.size) / VIEW_SIZE)
        for index, (place, (color, _)) in enumerate(zip(places, looks, strict=True)):
            draw_number(drawn, index + 1, place, COLORS[color])
    return drawn


def _warn_about_tiny(markers: Iterable[Marker], *, zoomed: bool) -> None:
    advice = "Mark fewer regions, nearer together." if zoomed else "Pass zoom='auto' to crop around it."
    for marker in markers:
        if marker.is_tiny:
            width, height = marker.seen
            label = quote(marker.region.label, 80) if marker.region.label else "no label"
            warnings.warn(
                f"the region with the {marker.color} {marker.kind} ({label}) is {width:.1f} "
                f"x {height:.1f} px in the {VIEW_SIZE} px square that the model sees; below {TINY:.0f} px, little "
                f"of it is visible. {advice}",
                TinyRegionWarning,
                stacklevel=3,
            )
