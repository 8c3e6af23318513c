"""`mark`: draw markers on regions, so that a question can refer to them."""

from __future__ import annotations

import warnings
from collections import Counter
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
from langchain_vipllava.markers.assignment import MAX_MARKERS, ColorChoice, KindChoice, assign_looks
from langchain_vipllava.markers.contrast import SeenImage
from langchain_vipllava.markers.extent import Extent
from langchain_vipllava.markers.ground import Ground
from langchain_vipllava.markers.ink import Layer, paint
from langchain_vipllava.markers.kinds import COLORS
from langchain_vipllava.markers.layout import CHOSEN_SIZES, Sizes, draw_order
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.markers.marker import TINY, FaintMarkerWarning, Marker, TinyRegionWarning
from langchain_vipllava.markers.numbers import draw_leader, draw_number, place_numbers
from langchain_vipllava.markers.zoom import Crop, choose_crop, move_region
from langchain_vipllava.regions.region import Region
from langchain_vipllava.text import quote

Zoom = Literal["auto"]

_MAX_NUMBERED = 200
"""Most regions of an image with numbers. Chosen: 200 boxes take 0.2 s on 1920 x 1080 pixels."""


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
    view_size: int = VIEW_SIZE,
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
        view_size: side of the square that the model reads, in pixels, by which regions are called small and zoomed:
            336 for the published checkpoints, `ChatVipLlava.view_size` for any.
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
        FaintMarkerWarning: less than a quarter of a marker's pixels can be told from the image where the model looks.

    Example:
        >>> from PIL import Image
        >>> from langchain_vipllava import Region, mark
        >>> photo = Image.new("RGB", (640, 480), "white")
        >>> marked = mark(photo, [Region(box=(40, 60, 200, 300)), Region(box=(300, 100, 420, 260))])
        >>> marked.phrases
        ['within the red rectangle', 'within the lime rectangle']
    """
    to_mark = check_regions(regions, _MAX_NUMBERED if numbers else MAX_MARKERS)
    check_view_size(view_size)
    original = load_image(image, channels=channels)
    drawn = draw(
        original,
        to_mark,
        kind=kind,
        color=color,
        sizes=Sizes(width, radius, opacity),
        numbers=range(1, len(to_mark) + 1) if numbers else None,
        seed=seed,
        crop=_crop(to_mark, original.size, zoom, view_size),
        view_size=view_size,
    )
    warn_about(drawn.markers, zoomed=zoom is not None, view_size=view_size)
    return drawn


def draw(
    original: Image.Image,
    regions: Sequence[Region],
    *,
    kind: KindChoice | Sequence[KindChoice | None] = "rectangle",
    color: ColorChoice | Sequence[ColorChoice | None] | None = None,
    sizes: Sizes = CHOSEN_SIZES,
    numbers: Sequence[int] | None = None,
    seed: int | None = None,
    crop: Crop | None = None,
    view_size: int = VIEW_SIZE,
) -> MarkedImage:
    """Draw markers as `mark` does, without its warnings.

    Args:
        original: upright RGB image.
        regions: at least one.
        kind: see `mark`.
        color: see `mark`.
        sizes: what the caller asked for.
        numbers: one per region.
        seed: see `mark`.
        crop: the part of the image that is shown; None for all of it.
        view_size: see `mark`.
    """
    rng = _rng(seed)
    sizes.check()
    shown = original.crop(crop) if crop else original
    moved = [move_region(region, crop) for region in regions] if crop else regions
    extents = [Extent.of(region, shown.size, max(shown.size) / VIEW_SIZE) for region in moved]
    ground = Ground(SeenImage.of(shown), extents, sizes)
    looks = assign_looks(len(regions), kind, color, ground, numbered=numbers is not None)
    kinds = [k for _, k in looks]
    styles = sizes.fit(extents, kinds, sizes.choose_each(kinds, rng, extents[0].unit))
    layers = [
        Layer(ground.draw(index, k, style), COLORS[c], style.opacity)
        for index, ((c, k), style) in enumerate(zip(looks, styles, strict=True))
    ]
    drawn = shown.copy()
    paint(drawn, [layers[index] for index in draw_order(extents, kinds)])
    if numbers is not None:
        places = place_numbers(extents, kinds, layers, shown.size, numbers)
        for extent, place, (c, _) in zip(extents, places, looks, strict=True):
            draw_leader(drawn, extent, place, COLORS[c])
        for number, place, (c, _) in zip(numbers, places, looks, strict=True):
            draw_number(drawn, number, place, COLORS[c])
    counts = Counter(looks)
    markers = tuple(
        Marker(
            region,
            k,
            c,
            View(shown.size, view_size).size_of(extent.box),
            None if numbers is None else numbers[index],
            visible=share,
            clearer=clearer,
            shares_look=counts[c, k] > 1,
        )
        for index, (region, (c, k), extent, (share, clearer)) in enumerate(
            zip(regions, looks, extents, ground.check(drawn, layers, looks, styles), strict=True)
        )
    )
    return MarkedImage(drawn, original, markers, crop)


def check_regions(regions: Region | Iterable[Region], limit: int = MAX_MARKERS) -> list[Region]:
    """Return regions as a list.

    Raises:
        MarkerError: there are none, or more than `limit`, or something else is among them.
    """
    if isinstance(regions, Region):
        return [regions]
    try:
        listed = list(islice(regions, limit + 1))  # an iterator may be endless
    except TypeError as error:
        raise MarkerError(f"regions={shorten(regions)}; expected a Region or a list of them.") from error
    if not listed:
        raise MarkerError("no regions to mark; expected at least one. Ask about the whole image without markers.")
    if len(listed) > limit:
        count = shorten(len(regions)) if isinstance(regions, Sized) else f"more than {limit}"
        reason = "combinations of color and kind" if limit == MAX_MARKERS else "are marked at once"
        raise MarkerError(
            f"{count} regions, but only {limit} {reason}. Mark fewer regions at once, or on several views with "
            "mark_pages."
        )
    for region in listed:
        if not isinstance(region, Region):
            raise MarkerError(
                f"{type(region).__name__} in regions; expected Region objects. For a detector's output: "
                "regions_from(detections, image_size=image.size); for a box: Region(box=(x0, y0, x1, y1))."
            )
    return listed


def check_zoom(zoom: object) -> None:
    """Check a choice of zoom.

    Raises:
        MarkerError: neither "auto" nor None.
    """
    if zoom not in (None, "auto"):
        raise MarkerError(f"zoom={shorten(zoom)}; expected 'auto' or None.")


def check_view_size(view_size: object) -> None:
    """Check the side of the square that a model reads.

    Raises:
        MarkerError: not a whole number of at least 1.
    """
    if not isinstance(view_size, int) or isinstance(view_size, bool) or view_size < 1:
        raise MarkerError(f"view_size={shorten(view_size)}; expected pixels, such as {VIEW_SIZE}.")


def check_inside(regions: Sequence[Region], size: tuple[int, int]) -> None:
    """Check regions against the image, before a crop hides one that lies outside.

    Raises:
        RegionError: a region lies outside the image, or its mask has another size.
    """
    for region in regions:
        Extent.of(region, size, 1.0)


def _rng(seed: int | None) -> np.random.Generator | None:
    try:
        return None if seed is None else np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise MarkerError(
            f"seed={shorten(seed)}; expected a whole number from 0, or None for constant markers."
        ) from error


def _crop(regions: Sequence[Region], size: tuple[int, int], zoom: str | None, view_size: int) -> Crop | None:
    check_zoom(zoom)
    if zoom is None:
        return None
    check_inside(regions, size)
    return choose_crop(regions, size, view_size=view_size)


def warn_about(markers: Iterable[Marker], *, zoomed: bool, view_size: int = VIEW_SIZE) -> None:
    """Warn the caller's caller of markers that are hard to see.

    Args:
        markers: of one marked image.
        zoomed: whether the image was cropped around them as far as possible.
        view_size: see `mark`.
    """
    advice = "Mark fewer regions, nearer together." if zoomed else "Pass zoom='auto' to crop around it."
    for marker in markers:
        label = quote(marker.region.label, 80) if marker.region.label else "no label"
        if marker.is_tiny:
            width, height = marker.seen
            warnings.warn(
                f"the region with the {marker.color} {marker.kind} ({label}) is {width:.1f} "
                f"x {height:.1f} px in the {view_size} px square that the model sees; below {TINY:.0f} px, little "
                f"of it is visible. {advice}",
                TinyRegionWarning,
                stacklevel=3,
            )
        if marker.is_faint:
            better = f"color={marker.clearer!r}, or omit color" if marker.clearer else "another kind, or zoom='auto'"
            warnings.warn(
                f"the {marker.color} {marker.kind} ({label}) can hardly be told from the image: {marker.visible:.0%} "
                f"of its pixels show its color where the model looks. Pass {better}.",
                FaintMarkerWarning,
                stacklevel=3,
            )
