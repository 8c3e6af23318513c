"""`Row`: one detection in its detector's own terms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from langchain_vipllava.regions.geometry import BoxFormat, Size
from langchain_vipllava.regions.turned import Pivot

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Row:
    """One detection as its detector wrote it; `Context.region` checks and converts it.

    Attributes:
        box: four numbers in the layout `box_format`, as any array or tensor.
        box_format: the layout. A reader that only assumes it asks `Context.layout`, which also knows what the output
            says about itself.
        scale: length of a side of the image in the numbers of `box`, `rings` and `point` where these are fractions: 1
            for 0..1, 100 for percent, 1000 for 0..1000.
        angle: by how much the box is turned, in degrees clockwise as seen on the image. See `degrees_clockwise`.
        pivot: the point of the box that stays where it is when it is turned.
        mask: (H, W) array, tensor, PIL image or COCO RLE. Probabilities of 0.5 and more are set.
        rings: polygons that together are one object, each flat or as pairs, in pixels.
        holes: polygons that are cut out of the rings, in their unit.
        rings_normalized: whether the rings are fractions of the image's sides instead, up to `scale`.
        point: `(x, y)` in pixels, for a detection that is only a point.
        point_normalized: whether the point is in fractions of the image's sides instead, up to `scale`.
        label: the detector's name for it.
        class_id: the detector's class; `Context.labels` names it.
        score: confidence, 0..1. See `percent` for those in percent.
        id: track or annotation id.
        image_size: `(width, height)` of the image, where the output states it.
    """

    box: Any = None
    box_format: BoxFormat = "xyxy"
    scale: float = 1.0
    angle: float | None = None
    pivot: Pivot = "center"
    mask: Any = None
    rings: Sequence[Any] = ()
    holes: Sequence[Any] = ()
    rings_normalized: bool = False
    point: Any = None
    point_normalized: bool = False
    label: Any = None
    class_id: Any = None
    score: Any = None
    id: Any = None
    image_size: Size | None = None


@dataclass(frozen=True, eq=False)
class UnreadableRow:
    """A row that its reader could not read; the rows behind it can be read all the same.

    Attributes:
        error: why.
    """

    error: Exception


def each(items: Iterable[T], read: Callable[[T], Row]) -> Iterator[Row | UnreadableRow]:
    """Read items one by one, so that one that cannot be read leaves the others readable (`on_error="skip"`)."""
    for item in items:
        try:
            yield read(item)
        except Exception as error:
            yield UnreadableRow(error)
