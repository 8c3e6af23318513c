"""What a format needs: `Row`, a detection in its detector's own terms, and `Context`, which makes a `Region` of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.formats.geometry import (
    BOX_FORMATS,
    Box,
    Size,
    bool_mask,
    clipped,
    fill,
    pixel_box,
    ring_points,
)
from langchain_vipllava.regions.formats.values import describe, number_or_none, numbers
from langchain_vipllava.regions.region import Point, Region


@dataclass(frozen=True, eq=False)
class Row:
    """One detection as its detector wrote it; `Context.region` checks and converts it.

    Attributes:
        box: four numbers in the layout `box_format`, as any array or tensor.
        box_format: the format's own layout, `xyxy`, `xywh`, `cxcywh`, or one of them with an `n` for 0..1.
        mask: (H, W) array, tensor, PIL image or COCO RLE; probabilities are cut at 0.5.
        rings: polygons in pixels that together are one thing, each flat or as pairs.
        rings_normalised: the rings are in 0..1 of the image's sides.
        point: `(x, y)` in pixels, for a detection that is only a point.
        label: the name that the detector gives.
        class_id: the class that the detector gives; `labels` of `regions_from` names it.
        score: confidence, 0..1.
        id: track or annotation id.
        image_size: `(width, height)` of the image where the output says it.
    """

    box: Any = None
    box_format: str = "xyxy"
    mask: Any = None
    rings: Sequence[Any] = ()
    rings_normalised: bool = False
    point: Any = None
    label: Any = None
    class_id: Any = None
    score: Any = None
    id: Any = None
    image_size: Size | None = None


@dataclass(frozen=True, eq=False)
class Context:
    """What the caller of `regions_from` said about the image and the detector.

    Attributes:
        image_size: `(width, height)` of the upright image in pixels.
        box_format: the layout that the caller named, for formats that have none of their own.
        labels: names of class ids.
    """

    image_size: Size | None = None
    box_format: str | None = None
    labels: Mapping[Any, str] | Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.box_format is not None and self.box_format not in BOX_FORMATS:
            raise DetectionError(f"box_format={describe(self.box_format)}; expected one of {', '.join(BOX_FORMATS)}.")
        if isinstance(self.labels, (str, bytes)) or not (
            self.labels is None or isinstance(self.labels, Mapping) or hasattr(self.labels, "__getitem__")
        ):
            raise DetectionError(f"labels={describe(self.labels)}; expected names in a list, or a dict of id to name.")
        if self.image_size is not None:
            object.__setattr__(self, "image_size", _checked_size(self.image_size))

    def sized(self, image_size: Any) -> Context:
        """This context for the size that a detector's output states.

        Raises:
            DetectionError: the caller said another size.
        """
        if image_size is None:
            return self
        stated = _checked_size(image_size)
        if self.image_size not in (None, stated):
            raise DetectionError(
                f"its image is {stated[0]} x {stated[1]} pixels, but image_size={self.image_size} was given (width, "
                "height). Run the detector on the upright image that the regions are for."
            )
        return replace(self, image_size=stated)

    def layout(self, usual: str) -> str:
        """Layout of boxes whose format has only a usual one: what the caller said, else `usual`."""
        return self.box_format or usual

    def named_layout(self, why: str, hint: str = "") -> str:
        """Layout of boxes that do not say it themselves: what the caller said.

        Raises:
            DetectionError: the caller said nothing; begins with `why` and ends with `hint`.
        """
        if self.box_format is None:
            raise DetectionError(
                f"{why}: pass box_format='xyxy', 'xywh' or 'cxcywh' (with an 'n' at the end for values in 0..1).{hint}"
            )
        return self.box_format

    def region(self, row: Row) -> Region:
        """Make a region of a row: convert, check, clip and name it.

        Raises:
            RegionError: the row is ambiguous, outside the image or not a region.
        """
        context = self.sized(row.image_size)
        rings = context._rings(row)
        box = context._box(row)
        mask = None if row.mask is None else bool_mask(row.mask, context.image_size)
        label = context.label(row.label, row.class_id)
        if mask is not None and not mask.any():
            if box is None:
                raise DetectionError(
                    f"the mask of {label or 'this row'!r} has no pixel set and there is no box beside it. "
                    "Raise the detector's threshold (or min_score), or drop the row."
                )
            mask = None
        if mask is None and len(rings) > 1:
            mask = context._filled(rings, has_box=box is not None)
        polygon = rings[0] if len(rings) == 1 else None
        if box is None and polygon is not None:
            box = context._bounds(polygon)
        point = None if row.point is None else context._point(row.point)
        return Region(
            box=box,
            mask=mask,
            polygon=None if polygon is None else tuple(polygon),
            point=point,
            label=label,
            score=number_or_none(row.score, "score"),
            id=_identity(row.id),
        )

    def label(self, name: Any = None, class_id: Any = None) -> str | None:
        """Name of a detection: from the caller's `labels`, else the detector's, else `class {id}`, else None."""
        number = _class_number(class_id)
        known = self._known(number)
        if known is None and name is not None:
            known = str(name).strip() or None
        if known is None and number is not None:
            known = number if isinstance(number, str) else f"class {number}"
        return known

    def _known(self, number: int | str | None) -> str | None:
        if number is None or self.labels is None:
            return None
        if isinstance(self.labels, Mapping):
            for key in (number, str(number)):
                if key in self.labels:
                    return str(self.labels[key])
        elif isinstance(number, int) and 0 <= number < len(self.labels):
            return str(self.labels[number])
        return None

    def _box(self, row: Row) -> Box | None:
        if row.box is None:
            return None
        own = row.box_format
        given = self.box_format or own
        if given not in (own, own.removesuffix("n") + "n"):
            raise DetectionError(
                f"box_format={given!r} contradicts this format, whose boxes are {own}; leave box_format out."
            )
        return pixel_box(row.box, given, self.image_size)

    def _rings(self, row: Row) -> list[list[Point]]:
        # Rings of one or two points enclose nothing; annotation tools and segmenters do write them.
        rings = [points for points in map(ring_points, row.rings) if len(points) > 2]
        if row.rings and not rings and row.box is None and row.mask is None:
            raise DetectionError("its polygons have fewer than 3 points each, and there is no box beside them.")
        if not rings or not row.rings_normalised:
            return rings
        if self.image_size is None:
            raise DetectionError("its polygon is in 0..1 of the image's sides; pass image_size=(width, height).")
        if max(abs(side) for ring in rings for point in ring for side in point) > 2:
            raise DetectionError("its polygon has values far above 1; expected values in 0..1 of the image's sides.")
        width, height = self.image_size
        return [[(x * width, y * height) for x, y in ring] for ring in rings]

    def _filled(self, rings: list[list[Point]], *, has_box: bool) -> np.ndarray | None:
        if self.image_size is None:
            raise DetectionError(
                f"it is made of {len(rings)} polygons, which become one mask; pass image_size=(width, height)."
            )
        if not np.isfinite([side for ring in rings for point in ring for side in point]).all():
            raise DetectionError("its polygons hold NaN or infinity; expected finite pixels.")
        mask = fill(rings, self.image_size)
        if mask.any():
            return mask
        if has_box:
            return None
        raise DetectionError(
            f"its polygons cover no pixel of the image of {self.image_size[0]} x {self.image_size[1]} pixels."
        )

    def _bounds(self, polygon: list[Point]) -> Box | None:
        xs, ys = [x for x, _ in polygon], [y for _, y in polygon]
        box = (min(xs), min(ys), max(xs), max(ys))
        return clipped(box, self.image_size) if np.isfinite(xs + ys).all() else None

    def _point(self, point: Any) -> Point:
        x, y = numbers(point, "point").ravel().tolist()
        if self.image_size is not None and not (0 <= x <= self.image_size[0] and 0 <= y <= self.image_size[1]):
            raise DetectionError(
                f"point {(x, y)} is outside the image of {self.image_size[0]} x {self.image_size[1]} pixels."
            )
        return x, y


@dataclass(frozen=True, eq=False)
class Format:
    """How one kind of detector output is told apart and read.

    Attributes:
        name: what error messages call it.
        matches: whether an object has this shape. Raising counts as no.
        read: the rows of such an object. A `DetectionError` is about all of it, any other error about the next row.
    """

    name: str
    matches: Callable[[Any], bool]
    read: Callable[[Any, Context], Iterable[Row | Region]]


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


def _class_number(class_id: Any) -> int | str | None:
    if class_id is None:
        return None
    text = str(class_id.item() if hasattr(class_id, "item") else class_id).strip()
    whole = re.fullmatch(r"(-?\d{1,18})(\.0*)?", text)
    return int(whole[1]) if whole else text or None


def _identity(value: Any) -> str | None:
    if value is None:
        return None
    value = value.item() if hasattr(value, "item") else value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
