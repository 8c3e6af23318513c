"""`Context`: what the caller and the output say about the image, and how a `Row` becomes a `Region` with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError, shorten
from langchain_vipllava.regions.geometry import (
    MAX_NORMALIZED,
    BoxFormat,
    Size,
    bool_mask,
    clipped,
    fill,
    pixel_box,
    ring_points,
    span,
    with_unit,
)
from langchain_vipllava.regions.limits import DEFAULT_LIMITS, MaskBudget, RegionLimits
from langchain_vipllava.regions.region import Box, Point, Region
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.stated import NOTHING, Stated, stated
from langchain_vipllava.regions.turned import degrees_clockwise, turned_ring
from langchain_vipllava.regions.values import describe, number_or_none, numbers

Labels = Mapping[Any, str] | Sequence[str]
"""Names of class ids: `labels[id]`."""


@dataclass(frozen=True, eq=False)
class Context:
    """What the caller says about the image and the detector.

    Attributes:
        image_size: `(width, height)` of the upright image in pixels.
        box_format: layout of boxes whose format does not say it.
        labels: names of class ids.
        limits: how much the output may hold.
        stated: what the output says about all of its boxes.
        named: whether the caller named the format.
        budget: counts the masks of one output; made here unless another context shares its own.

    Raises:
        DetectionError: image_size is not two positive whole numbers.
    """

    image_size: Size | None = None
    box_format: BoxFormat | None = None
    labels: Labels | None = None
    limits: RegionLimits = DEFAULT_LIMITS
    stated: Stated = NOTHING
    named: bool = False
    budget: MaskBudget | None = None

    def __post_init__(self) -> None:
        if self.budget is None:
            object.__setattr__(self, "budget", MaskBudget(self.limits))
        if self.image_size is not None:
            object.__setattr__(self, "image_size", _checked_size(self.image_size))

    @property
    def masks(self) -> MaskBudget:
        """The pixels of masks that the output may still describe."""
        return self.budget or MaskBudget(self.limits)

    def with_size(self, image_size: Any) -> Context:
        """Return this context with the image size that a detector's output states.

        Raises:
            DetectionError: the caller passed another size.
        """
        if image_size is None:
            return self
        stated = _checked_size(image_size)
        if self.image_size not in (None, stated):
            raise DetectionError(
                f"its image is {stated[0]} x {stated[1]} pixels, but image_size={self.image_size} (width, height). "
                "Run the detector on the upright image that the regions are for."
            )
        return replace(self, image_size=stated)

    def box_format_or(self, default: BoxFormat) -> BoxFormat:
        """Return the caller's `box_format`, or the layout that the format usually has."""
        return self.box_format or default

    def layout(self, default: BoxFormat | None, *sources: Any) -> tuple[BoxFormat, float]:
        """Return the layout of plain numbers, and the length of a side of the image where they are fractions.

        What the output says about itself wins over the default.

        Args:
            default: the layout of the format, or what `box_format_or` returns if a caller may know better; None asks
                the caller for it.
            sources: the row, or the object with the boxes, which may say its layout itself.

        Raises:
            DetectionError: the caller's `box_format` contradicts the output, or nobody says the layout.
        """
        said = self._said(sources)
        return self._settled(said, default), said.scale or 1.0

    def assumed(self, box: Any, default: BoxFormat | None, *sources: Any) -> Row:
        """Return a row with a box of plain numbers, read as `layout` says. A fifth number may be an angle.

        Raises:
            DetectionError: as `layout`, or turned boxes without an angle.
        """
        said = self._said(sources)
        box_format, scale = self._settled(said, default), said.scale or 1.0
        if said.pivot is None:
            return Row(box=box, box_format=box_format, scale=scale)
        values = numbers(box, "box").ravel()
        if values.size != 5:
            raise DetectionError(f"box is {describe(box)}; expected center, size and angle, as the output says.")
        angle = degrees_clockwise(values[4].item(), "degrees", clockwise=False)
        return Row(box=values[:4], box_format=box_format, scale=scale, angle=angle, pivot=said.pivot)

    def scaled(self, box_format: BoxFormat, *sources: Any) -> tuple[BoxFormat, float]:
        """Return a layout that is certain, in the unit that the output states, and the length of a side in it."""
        said = self._said(sources)
        if said.scale is None:
            self._check_pixels(said, normalized=(self.box_format or box_format).endswith("n"))
            return box_format, 1.0
        self._check_pixels(said, normalized=said.scale > 0)
        return with_unit(box_format, normalized=said.scale > 0), said.scale or 1.0

    def is_turned(self, *sources: Any) -> bool:
        """Return whether boxes of plain numbers have an angle as fifth number, as the output or a source says."""
        return self._said(sources).pivot is not None

    def _said(self, sources: Sequence[Any]) -> Stated:
        said = self.stated
        for source in sources:
            said = stated(source).over(said)
        return said

    def _settled(self, said: Stated, default: BoxFormat | None) -> BoxFormat:
        chosen = said.box_format or default
        if chosen is None:
            chosen = self.required_box_format("nothing says what the four numbers of its boxes mean")
        # a caller may say that the boxes are normalized, which no format rules out
        normalized = chosen.endswith("n") or self.box_format == with_unit(chosen, normalized=True)
        if said.scale is not None:
            normalized = said.scale > 0
        self._check_pixels(said, normalized=normalized)
        settled = with_unit(chosen, normalized=normalized)
        if said.is_layout and self.box_format not in (None, settled):
            raise DetectionError(
                f"box_format={self.box_format!r} contradicts the output, which says that its boxes are {settled}; omit "
                "box_format."
            )
        return settled

    def _check_pixels(self, said: Stated, *, normalized: bool) -> None:
        """Refuse numbers in a unit that is not known, and pixels of an image of another size."""
        if said.unknown_unit is not None:
            raise DetectionError(
                f"it says unit={shorten(said.unknown_unit, 40)}; expected 'pixel', 'percent' or 'normalized'. Convert "
                "its numbers, and change or drop the key."
            )
        if said.sizes and self.image_size not in said.sizes and not normalized:
            self.with_size(said.sizes[0])

    def required_box_format(self, reason: str, hint: str = "") -> BoxFormat:
        """Return the caller's `box_format`, for boxes whose layout is unknown without it.

        Raises:
            DetectionError: there is none. The message starts with `reason` and ends with `hint`.
        """
        if self.box_format is None:
            raise DetectionError(
                f"{reason}: pass box_format='xyxy', 'xywh' or 'cxcywh' (with an 'n' at the end for values in 0..1)."
                + hint
            )
        return self.box_format

    def region(self, row: Row) -> Region:
        """Convert a row to a region: scale, check, clip and label it.

        Raises:
            RegionError: the row is ambiguous, outside the image or not a region.
        """
        context = self.with_size(row.image_size)
        rings, holes = context._rings(row), context._outlines(row.holes, row)
        box = context._box(row)
        if row.angle and box is not None and not rings:
            rings = [turned_ring(box, row.angle, row.pivot)]
            box = None
        if box is not None:
            box = clipped(box, context.image_size)
        mask = None if row.mask is None else bool_mask(row.mask, context.image_size, self.limits)
        label = context.label(row.label, row.class_id)
        if mask is not None and not mask.any():
            if box is None:
                raise DetectionError(
                    f"the mask of {label or 'this row'!r} has no pixel set, and there is no box. "
                    "Raise the detector's threshold (or min_score), or drop the row."
                )
            mask = None
        if mask is None and (len(rings) > 1 or holes):
            mask = context._mask_of(rings, holes, has_box=box is not None)
        polygon = rings[0] if len(rings) == 1 and not holes else None
        if box is None and polygon is not None:
            box = context._bounds(polygon)
        point = None if row.point is None else context._point(row)
        return Region(
            box=box,
            mask=mask,
            polygon=None if polygon is None else tuple(polygon),
            point=point,
            label=label,
            score=number_or_none(row.score, "score"),
            id=_id_text(row.id),
        )

    def label(self, name: Any = None, class_id: Any = None) -> str | None:
        """Name a detection by the caller's `labels`, else the detector's name, else `class {id}`; None without any."""
        class_id = _normalized_class(class_id)
        label = self._label_of(class_id)
        if label is None and name is not None:
            label = str(name).strip() or None
        if label is None and class_id is not None:
            label = class_id if isinstance(class_id, str) else f"class {class_id}"
        return label

    def _label_of(self, class_id: int | str | None) -> str | None:
        if class_id is None or self.labels is None:
            return None
        if isinstance(self.labels, Mapping):
            for key in (class_id, str(class_id)):
                if key in self.labels:
                    return str(self.labels[key])
        elif isinstance(class_id, int) and 0 <= class_id < len(self.labels):
            return str(self.labels[class_id])
        return None

    def _box(self, row: Row) -> Box | None:
        if row.box is None:
            return None
        box_format = self.box_format or row.box_format
        # A caller may say that the boxes are normalized, but not that they have another layout.
        if box_format not in (row.box_format, row.box_format.removesuffix("n") + "n"):
            raise DetectionError(
                f"box_format={box_format!r} contradicts this format, whose boxes are {row.box_format}; omit box_format."
            )
        return pixel_box(row.box, box_format, self.image_size, row.scale)

    def _rings(self, row: Row) -> list[list[Point]]:
        rings = self._outlines(row.rings, row)
        if row.rings and not rings and row.box is None and row.mask is None:
            raise DetectionError("its polygons have fewer than 3 points each, and there is no box.")
        return rings

    def _outlines(self, found: Sequence[Any], row: Row) -> list[list[Point]]:
        # Annotation tools and segmenters write polygons of one or two points; these enclose nothing.
        rings, count = [], 0
        for ring in found:
            points = ring_points(ring, self.limits)
            count += max(len(points), 1)
            self.limits.check_points(count)
            if len(points) > 2:
                rings.append(points)
        if not rings or not row.rings_normalized:
            return rings
        return [self._pixels(ring, row.scale, "polygon") for ring in rings]

    def _pixels(self, points: Sequence[Point], scale: float, what: str) -> list[Point]:
        """Convert points in fractions of the image's sides to pixels."""
        if self.image_size is None:
            raise DetectionError(
                f"its {what} is in {span(scale)} of the image's sides; pass image_size=(width, height)."
            )
        if max(abs(side) for point in points for side in point) > MAX_NORMALIZED * scale:
            raise DetectionError(f"its {what} has values far above {scale:g}; expected values in {span(scale)}.")
        width, height = self.image_size
        return [(x * width / scale, y * height / scale) for x, y in points]

    def _mask_of(self, rings: list[list[Point]], holes: list[list[Point]], *, has_box: bool) -> np.ndarray | None:
        if self.image_size is None:
            what = f"{len(rings)} polygons" if len(rings) > 1 else "a polygon with holes"
            raise DetectionError(f"it has {what}, which become one mask; pass image_size=(width, height).")
        if not np.isfinite([side for ring in (*rings, *holes) for point in ring for side in point]).all():
            raise DetectionError("its polygons contain NaN or infinity; expected finite pixels.")
        mask = fill(rings, self.image_size, self.masks)
        if holes:
            mask &= ~fill(holes, self.image_size, self.masks)
        if mask.any():
            return mask
        if has_box:
            return None
        raise DetectionError(
            f"its polygons cover no pixel of the image of {self.image_size[0]} x {self.image_size[1]} pixels; "
            "expected pixels of the upright image."
        )

    def _bounds(self, polygon: list[Point]) -> Box | None:
        xs, ys = [x for x, _ in polygon], [y for _, y in polygon]
        box = (min(xs), min(ys), max(xs), max(ys))
        return clipped(box, self.image_size) if np.isfinite(xs + ys).all() else None

    def _point(self, row: Row) -> Point:
        x, y = numbers(row.point, "point").ravel().tolist()
        if row.point_normalized:
            ((x, y),) = self._pixels([(x, y)], row.scale, "point")
        if self.image_size is not None and not (0 <= x <= self.image_size[0] and 0 <= y <= self.image_size[1]):
            raise DetectionError(
                f"point {(x, y)} is outside the image of {self.image_size[0]} x {self.image_size[1]} pixels; expected "
                "pixels of the upright image."
            )
        return x, y


def _checked_size(image_size: Any) -> Size:
    try:
        sides = numbers(image_size, "image_size")
    except DetectionError:
        sides = np.zeros(0)
    if sides.shape != (2,) or not np.isfinite(sides).all() or (sides < 1).any() or (sides % 1).any():
        raise DetectionError(
            f"image_size={describe(image_size)}; expected (width, height) in whole pixels, as PIL's Image.size. "
            "An array's shape is (height, width, channels): pass (shape[1], shape[0])."
        )
    return int(sides[0]), int(sides[1])


def _normalized_class(class_id: Any) -> int | str | None:
    if class_id is None:
        return None
    text = str(class_id.item() if hasattr(class_id, "item") else class_id).strip()
    whole = re.fullmatch(r"(-?\d{1,18})(\.0*)?", text)
    return int(whole[1]) if whole else text or None


def _id_text(value: Any) -> str | None:
    if value is None:
        return None
    value = value.item() if hasattr(value, "item") else value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
