"""`Region`: one object in an image, from any detector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Annotated, Any, Self

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    model_validator,
)

from langchain_vipllava.errors import RegionError, shorten
from langchain_vipllava.regions.limits import DEFAULT_LIMITS
from langchain_vipllava.regions.rle import decode_rle, encode_rle
from langchain_vipllava.regions.values import plain

MAX_POINTS = 100_000
"""Points of a polygon. Chosen: five times `RegionLimits.max_polygon_points`, and still marked in a second."""

_MAX_DEPTH = 4
"""Lists inside each other in coordinates; a polygon has two."""

_CHECKED_ONE_BY_ONE = 1000
"""Points up to which each wrong one is told; more are checked as one array."""

Box = tuple[float, float, float, float]
Point = tuple[float, float]


def _as_mask(value: Any) -> np.ndarray | None:
    """Convert a mask to a new, read-only (H, W) bool array."""
    if value is None:
        return None
    array = decode_rle(value) if isinstance(value, Mapping) else np.asarray(plain(value))
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[:, :, 0]
    if array.ndim != 2 or array.dtype.kind not in "buif":
        raise RegionError(
            f"mask has shape {array.shape} and dtype {array.dtype}; expected (H, W) of the upright "
            "image, as bool, 0/1, 0/255 or probabilities."
        )
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise RegionError("mask contains NaN or infinity; expected probabilities in 0..1.")
        array = array >= 0.5
    frozen = np.array(array, dtype=bool)
    frozen.setflags(write=False)
    return frozen


_MIN_AGREEMENT = 0.5
"""Share of the smaller one that box and outline have to have in common. Chosen: masks of detectors stray outside their
boxes by a few pixels, seldom by a tenth."""

_POINT_SLACK = 0.1
"""How far a point may lie outside the box, in units of its longer side. Chosen as for outlines."""


Mask = Annotated[
    np.ndarray,
    BeforeValidator(_as_mask),
    PlainSerializer(lambda mask: None if mask is None else encode_rle(mask), when_used="json"),
    WithJsonSchema({"type": "object", "description": "Uncompressed COCO RLE: {size: [H, W], counts: [...]}."}),
]


class Region(BaseModel):
    """One object in an image: a box, mask, polygon or point, with its label, score and id. Immutable.

    Pass at least one of `box`, `mask`, `polygon` and `point`. Without a box, it is derived from the first of mask,
    polygon and point. Coordinates are pixels of the upright image (EXIF orientation applied): x grows to the right, y
    downwards, (0, 0) is the outer corner of the top left pixel, and the right and bottom edges of a box are exclusive.
    So a mask of only the top left pixel has the box (0, 0, 1, 1).

    Attributes:
        box: `(x0, y0, x1, y1)`. A region that is only a point has the empty box `(x, y, x, y)`.
        mask: (H, W) bool array of the image's size, read-only. Probabilities of 0.5 and more are set.
        polygon: `((x, y), ...)`, at least three points; the last is joined to the first.
        point: `(x, y)`.
        label: the detector's name for the object.
        score: the detector's confidence, 0..1 in most detectors.
        id: a short name for questions: `"What is {r1}?"`.

    Raises:
        RegionError: no box can be derived, coordinates are NaN, infinite, inverted or empty, a mask is empty, or the
            mask, polygon or point lies elsewhere than the box.

    Example:
        >>> from langchain_vipllava import Region
        >>> Region(polygon=[(10, 20), (30, 20), (20, 40)], label="kite").box
        (10.0, 20.0, 30.0, 40.0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    box: Box = None  # type: ignore[assignment]  # always set: _derive_box fills it in
    mask: Mask | None = None
    polygon: tuple[Point, ...] | None = None
    point: Point | None = None
    label: str | None = None
    score: float | None = None
    id: str | None = None

    @classmethod
    def from_xywh(cls, x: float, y: float, width: float, height: float, **fields: Any) -> Self:
        """Make a region from the top left corner and the size of its box, as COCO and OpenCV write boxes.

        Args:
            x: left edge in pixels.
            y: upper edge in pixels.
            width: in pixels, above 0.
            height: in pixels, above 0.
            fields: `label`, `score`, `id`, and other fields of a region.

        Raises:
            RegionError: no width or height, or not a region.

        Example:
            >>> Region.from_xywh(10, 20, 30, 40, label="cup").box
            (10.0, 20.0, 40.0, 60.0)
        """
        try:
            box = (x, y, x + width, y + height)
        except TypeError as error:
            raise RegionError(f"{shorten((x, y, width, height))} is not x, y, width, height in pixels.") from error
        return cls(box=box, **fields)

    @classmethod
    def from_mask(cls, mask: Any, **fields: Any) -> Self:
        """Make a region from a mask of the image's size.

        Args:
            mask: (H, W) array or tensor of bool, 0/1, 0/255 or probabilities, a PIL image, or COCO RLE.
            fields: `label`, `score`, `id`, and other fields of a region.

        Raises:
            RegionError: not a mask, or no pixel of it is set.

        Example:
            >>> import numpy as np
            >>> mask = np.zeros((48, 64), bool)
            >>> mask[10:20, 30:50] = True
            >>> Region.from_mask(mask, label="cup").box
            (30.0, 10.0, 50.0, 20.0)
        """
        return cls(mask=mask, **fields)

    @model_validator(mode="before")
    @classmethod
    def _derive_box(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        data = dict(data)
        for name in ("box", "polygon", "point"):
            if data.get(name) is not None:
                data[name] = _plain_numbers(data[name], name)
                _refuse_fractions(data[name], name)
        if data.get("mask") is not None:
            data["mask"] = _as_mask(data["mask"])
        if data.get("id") is not None and not isinstance(data["id"], bool):
            data["id"] = str(data["id"])
        if data.get("box") is None:
            data["box"] = _box_from(data)
        return data

    @model_validator(mode="wrap")
    @classmethod
    def _raise_region_error(cls, data: Any, handler: ValidatorFunctionWrapHandler) -> Region:
        try:
            region: Region = handler(data)
        except ValidationError as error:
            raise _as_region_error(error) from error
        except RegionError:
            raise
        except Exception as error:  # such as RecursionError or OverflowError, of a foreign class or an endless value
            raise RegionError(f"{shorten(data)} is not a region: {type(error).__name__}.") from error
        region._check()
        return region

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **kwargs: Any) -> Self:
        """Parse a region from JSON, as written by `model_dump_json`.

        Raises:
            RegionError: not JSON, or not a region.
        """
        DEFAULT_LIMITS.check_text(json_data)
        try:
            return super().model_validate_json(json_data, **kwargs)
        except ValidationError as error:  # about the JSON itself: the validators of the model do not run
            raise _as_region_error(error) from error

    def _check(self) -> None:
        x0, y0, x1, y1 = self.box
        numbers = [*self.box, *(n for p in self.polygon or () for n in p), *(self.point or ())]
        if not np.isfinite(numbers).all():
            raise RegionError(f"box {self.box} of {self._name} contains NaN or infinity; expected finite pixels.")
        if self.score is not None and not np.isfinite(self.score):
            raise RegionError(f"score {self.score} of {self._name} is not a finite number; omit it if unknown.")
        if self.polygon is not None and len(self.polygon) < 3:
            raise RegionError(f"polygon of {self._name} has {len(self.polygon)} points; expected at least 3.")
        only_a_point = self.point is not None and self.mask is None and self.polygon is None
        if only_a_point and (x0, y0, x1, y1) == (*self.point, *self.point):  # type: ignore[misc]
            return
        if x1 <= x0 or y1 <= y0:
            raise RegionError(
                f"box {self.box} of {self._name} is inverted or empty; expected (x0, y0, x1, y1) with x0 < x1 and "
                "y0 < y1. For (x, y, width, height) rows use regions_from(..., box_format='xywh')."
            )
        self._check_agreement()

    def _check_agreement(self) -> None:
        """Refuse an outline or a point that lies elsewhere than the box: marker and zoom would be about two things."""
        x0, y0, x1, y1 = self.box
        outlines: dict[str, Box] = {}
        if self.polygon is not None:
            xs, ys = zip(*self.polygon, strict=True)
            outlines["polygon"] = (min(xs), min(ys), max(xs), max(ys))
        if self.mask is not None and self.mask.any():
            outlines["mask"] = _mask_box(self.mask)
        for name, (a, b, c, d) in outlines.items():
            shared = max(min(x1, c) - max(x0, a), 0.0) * max(min(y1, d) - max(y0, b), 0.0)
            if shared < _MIN_AGREEMENT * min((c - a) * (d - b), (x1 - x0) * (y1 - y0)):
                raise RegionError(
                    f"{name} of {self._name} spans {(a, b, c, d)}, and its box is {self.box}: most of the {name} lies "
                    "outside the box. Pass one of them, or two that agree."
                )
        if self.point is not None:
            slack = _POINT_SLACK * max(x1 - x0, y1 - y0)
            x, y = self.point
            if not (x0 - slack <= x <= x1 + slack and y0 - slack <= y <= y1 + slack):
                raise RegionError(
                    f"point {self.point} of {self._name} lies outside its box {self.box}. Pass one of them, or two "
                    "that agree."
                )

    @property
    def _name(self) -> str:
        return (
            f"region {shorten(self.id)}"
            if self.id
            else f"the region labeled {shorten(self.label)}"
            if self.label
            else "a region"
        )

    @property
    def is_point(self) -> bool:
        """Whether the region is only a point, with an empty box."""
        return self.box[0] == self.box[2]

    @property
    def center(self) -> Point:
        """Center of the box, in pixels."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Region):
            return NotImplemented
        fields, other_fields = dict(self), dict(other)
        return _same_mask(fields.pop("mask"), other_fields.pop("mask")) and fields == other_fields

    def __hash__(self) -> int:
        return hash((self.box, self.polygon, self.point, self.label, self.score, self.id))

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            if name == "mask" and value is not None:
                yield name, f"<{value.shape[0]} x {value.shape[1]} bool, {int(value.sum())} set>"
            elif value is not None:
                yield name, _tidy(value)


def _tidy(value: Any) -> Any:
    """Round numbers as a person reads them: 31.119999999999976 is 31.12."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return tuple(map(_tidy, value)) if isinstance(value, tuple) else value


def _as_region_error(error: ValidationError) -> RegionError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return RegionError(
        f"Region({where}={shorten(first['input'])}): {first['msg'][:200]}. Expected box=(x0, y0, x1, y1), mask (H, W), "
        "polygon=((x, y), ...) or point=(x, y) in pixels of the upright image."
    )


def _same_mask(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.array_equal(a, b))


def _plain_numbers(value: Any, name: str, depth: int = 1) -> Any:
    """Convert arrays and tensors of coordinates to lists of Python numbers."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (str, bytes, Mapping)) or depth > _MAX_DEPTH:
        raise RegionError(
            f"{name}={shorten(value)} is not a sequence of numbers; expected pixels of the upright image."
        )
    if not isinstance(value, Iterable):
        return value
    items = list(islice(value, MAX_POINTS + 1))  # an iterator may be endless
    if len(items) > MAX_POINTS:
        raise RegionError(f"{name} has more than {MAX_POINTS} points; expected fewer. Simplify it.")
    if len(items) > _CHECKED_ONE_BY_ONE and depth == 1:
        try:
            return np.asarray(items, dtype=np.float64).tolist()
        except Exception as error:
            raise RegionError(f"{name}={shorten(items)} is not ((x, y), ...); expected pairs of pixels.") from error
    return [_plain_numbers(v, name, depth + 1) if hasattr(v, "__len__") else _scalar(v) for v in items]


def _refuse_fractions(values: Any, name: str) -> None:
    """Refuse coordinates in 0..1, which would be less than a pixel in the corner of the image."""
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except Exception:  # not numbers: pydantic says so
        return
    if numbers.size and (np.abs(numbers) <= 1).all() and (numbers % 1).any():
        raise RegionError(
            f"{name}={shorten(values)} looks like fractions of the image; expected pixels. Multiply x by the width "
            "and y by the height, or use regions_from([...], box_format='xyxyn', image_size=image.size)."
        )


def _scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _box_from(data: Mapping[str, Any]) -> Any:
    mask, polygon, point = data.get("mask"), data.get("polygon"), data.get("point")
    if mask is not None:
        return _mask_box(mask)
    if polygon:
        try:
            xs, ys = [p[0] for p in polygon], [p[1] for p in polygon]
            return (min(xs), min(ys), max(xs), max(ys))
        except (TypeError, IndexError) as error:
            raise RegionError(f"polygon {shorten(polygon)} is not ((x, y), ...); expected pairs of pixels.") from error
    if point is not None:
        if not isinstance(point, list) or len(point) != 2:
            raise RegionError(f"point {shorten(point)} is not (x, y); expected two numbers in pixels.")
        return (*point, *point)
    raise RegionError("a region needs one of box, mask, polygon or point; got none.")


def _mask_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise RegionError("mask has no pixel set; expected at least one. Drop empty masks first.")
    return columns[0].item(), rows[0].item(), columns[-1].item() + 1, rows[-1].item() + 1
