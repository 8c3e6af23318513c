"""Where a marker can be drawn: a region's box, outline, inside and center, within its image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from langchain_vipllava.errors import RegionError
from langchain_vipllava.locks import cached_property
from langchain_vipllava.regions.region import Box, Point, Region

_POINT_HALF_SIDE = 20.0
"""Half side of the box around a region that is only a point, in model pixels: the largest radius in training."""

_DEEP = 0.85
"""Share of the largest depth that counts as deep inside a mask. Chosen by looking: at 1, the center of an even shape
jumps to wherever noise in the outline makes it deepest."""

_CORNERS = 4
"""Corners of a polygon that is taken for a turned box."""

_UPRIGHT = 0.02
"""Slope of a box's sides up to which it is upright. Chosen: one pixel in 50, some 1 degree."""

_FILLED = 0.8
"""Share of its smallest turned box that a polygon of four corners fills if it is one. Chosen: text in perspective is
one, a trapezoid is not."""

_MAX_CANDIDATES = 20_000
"""Pixels of a mask among which `pull_inside` looks for the nearest. Chosen to bound the time on
large masks."""

_FAR = 2.0**31
"""Coordinates beyond this are moved to it. Chosen: far outside of any image, and differences stay exact."""


@dataclass(frozen=True)
class Extent:
    """A region within its image; all in pixels of the image that is drawn on.

    Attributes:
        region: the region, in the same coordinates.
        size: (width, height) of the image.
        unit: one pixel of the model's square, in image pixels: max(size) / 336.
        box: the region's box within the image, never empty.
    """

    region: Region
    size: tuple[int, int]
    unit: float
    box: Box

    @classmethod
    def of(cls, region: Region, size: tuple[int, int], unit: float) -> Extent:
        """Fit a region into an image.

        Raises:
            RegionError: it lies outside the image, or its mask has another size.
        """
        width, height = size
        x0, y0, x1, y1 = region.box
        if region.is_point:
            reach = _POINT_HALF_SIDE * unit
            inside = 0 <= x0 <= width and 0 <= y0 <= height
            x0, y0, x1, y1 = x0 - reach, y0 - reach, x1 + reach, y1 + reach
        else:
            inside = x0 < width and y0 < height and x1 > 0 and y1 > 0
        if not inside:
            raise RegionError(
                f"box {region.box} is outside the image of {width} x {height} pixels; expected pixels of the "
                "upright image. Did the detector run on another size, or ignore the EXIF rotation?"
            )
        if region.mask is not None and region.mask.shape != (height, width):
            raise RegionError(
                f"mask of {region.mask.shape[1]} x {region.mask.shape[0]} pixels on an image of {width} x {height}; "
                "expected the image's size. Resize the mask (nearest neighbor) first."
            )
        return cls(region, size, unit, (max(x0, 0.0), max(y0, 0.0), min(x1, width), min(y1, height)))

    @property
    def short_side(self) -> float:
        """Length of the box's shorter side."""
        x0, y0, x1, y1 = self.box
        return min(x1 - x0, y1 - y0)

    @cached_property
    def breadth(self) -> float:
        """Length of the shorter side; of a turned box, not of the upright box around it."""
        if self.region.mask is None and len(self._polygon) == _CORNERS:
            sides = cv2.minAreaRect(self._polygon.astype(np.float32))[1]
            return max(min(*sides, self.short_side), 0.5)
        return self.short_side

    @cached_property
    def turned_box(self) -> np.ndarray | None:
        """Corners of a region that is a turned box, (4, 2); None for any other region."""
        corners = np.array(self.region.polygon or (), dtype=np.float32).reshape(-1, 2)
        if self.region.mask is not None or len(corners) != _CORNERS or np.abs(corners).max() > _FAR:
            return None
        sides = np.roll(corners, -1, axis=0) - corners
        is_turned = np.abs(sides).min(axis=1).max() > _UPRIGHT * np.abs(sides).max()
        width, height = cv2.minAreaRect(corners)[1]
        fills = cv2.contourArea(corners) >= _FILLED * width * height > 0
        return corners if is_turned and fills and cv2.isContourConvex(corners) else None

    @property
    def thickness(self) -> float:
        """Twice the depth at the deepest pixel of a mask or polygon; the shorter side of a bare box."""
        return self.short_side if self.inside is None else 2 * float(self._depths.max())

    @property
    def long_side(self) -> float:
        """Length of the box's longer side."""
        x0, y0, x1, y1 = self.box
        return max(x1 - x0, y1 - y0)

    def at(self, fx: float, fy: float) -> Point:
        """Return the point at fractions (0..1) of the box."""
        x0, y0, x1, y1 = self.box
        return x0 + fx * (x1 - x0), y0 + fy * (y1 - y0)

    @cached_property
    def window(self) -> tuple[int, int, int, int]:
        """Whole pixels `(left, top, right, bottom)` that contain the box."""
        x0, y0, x1, y1 = self.box
        left, top = int(np.floor(x0)), int(np.floor(y0))
        return left, top, max(int(np.ceil(x1)), left + 1), max(int(np.ceil(y1)), top + 1)

    @cached_property
    def inside(self) -> np.ndarray | None:
        """Pixels of the mask or polygon in the window, uint8 0/1; None for a bare box."""
        left, top, right, bottom = self.window
        if self.region.mask is not None:
            inside = self.region.mask[top:bottom, left:right].astype(np.uint8)
        elif len(self._polygon):
            inside = np.zeros((bottom - top, right - left), np.uint8)
            corners = self._polygon - (left, top) - 0.5
            cv2.fillPoly(inside, [corners.round().astype(np.int32)], (1,))
        else:
            return None
        return inside if inside.any() else None

    @cached_property
    def _polygon(self) -> np.ndarray:
        """Part of the region's polygon in the image, (N, 2); empty without one."""
        corners = np.array(self.region.polygon or (), dtype=np.float64).reshape(-1, 2).clip(-_FAR, _FAR)
        if not len(corners):
            return corners
        for axis, length in enumerate(self.size):
            corners = _cut(corners, -corners[:, axis])
            corners = _cut(corners, corners[:, axis] - length)
        return corners

    @cached_property
    def outlines(self) -> list[np.ndarray]:
        """Closed outlines, each (N, 2) float: of the mask, else the polygon, else the box."""
        if self.region.mask is not None and self.inside is not None:
            left, top, *_ = self.window
            padded = _padded(self.inside)
            contours, _ = cv2.findContours(padded, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            shift = np.array([left - 0.5, top - 0.5])
            return [contour.reshape(-1, 2) + shift for contour in contours]
        if len(self._polygon):
            return [self._polygon]
        x0, y0, x1, y1 = self.box
        return [np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])]

    def outlines_inside(self, depth: float) -> list[np.ndarray]:
        """Return the outlines at this many pixels inside the region; all of it where nothing lies that deep."""
        if self.inside is None:
            x0, y0, x1, y1 = self.box
            x0, y0, x1, y1 = x0 + depth, y0 + depth, x1 - depth, y1 - depth
            return [np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])] if x0 < x1 and y0 < y1 else self.outlines
        deep = (_padded(self._depths) > depth).astype(np.uint8)
        contours, _ = cv2.findContours(deep, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        shift = np.array(self.window[:2]) - 0.5
        return [contour.reshape(-1, 2) + shift for contour in contours] or self.outlines

    def part(self, rank: int, ranks: int) -> np.ndarray:
        """Return one of several parts of the region with equal areas, from its edge inwards: uint8 0/1."""
        left, top, right, bottom = self.window
        inside = np.ones((bottom - top, right - left), np.uint8) if self.inside is None else self.inside
        depths = cv2.distanceTransform(_padded(inside), cv2.DIST_L2, 3)[1:-1, 1:-1]
        edges = np.quantile(depths[inside > 0], [rank / ranks, (rank + 1) / ranks])
        part: np.ndarray = (inside > 0) & (depths > edges[0] * (rank > 0)) & (depths <= edges[1])
        return part.astype(np.uint8)

    @property
    def has_outline(self) -> bool:
        """Whether a mask or polygon says more than the box."""
        return self.inside is not None

    def difference(self, other: Extent) -> float:
        """Return the largest distance between a side of the box and the same side of another."""
        return max(abs(a - b) for a, b in zip(self.box, other.box, strict=True))

    @cached_property
    def _depths(self) -> np.ndarray:
        """Distance of each pixel of the window to the nearest one outside the mask or polygon."""
        assert self.inside is not None  # noqa: S101  # asked only of regions with an outline
        depths: np.ndarray = cv2.distanceTransform(_padded(self.inside), cv2.DIST_L2, 3)[1:-1, 1:-1]
        return depths

    @cached_property
    def center(self) -> Point:
        """The region's point, else a pixel deep inside it and near the box's center."""
        if self.region.point is not None:
            return self.region.point
        if self.inside is None:
            return self.at(0.5, 0.5)
        left, top, *_ = self.window
        rows, columns = np.nonzero(self._depths >= _DEEP * self._depths.max())
        center_x, center_y = self.at(0.5, 0.5)
        nearest = np.argmin((columns + left + 0.5 - center_x) ** 2 + (rows + top + 0.5 - center_y) ** 2)
        return float(columns[nearest] + left + 0.5), float(rows[nearest] + top + 0.5)

    def pull_inside(self, point: Point) -> Point:
        """Return the nearest pixel of the mask or polygon; the point itself for a bare box."""
        if self.inside is None:
            return point
        left, top, *_ = self.window
        rows, columns = np.nonzero(self.inside)
        step = max(1, rows.size // _MAX_CANDIDATES)
        rows, columns = rows[::step], columns[::step]
        nearest = np.argmin((columns + left + 0.5 - point[0]) ** 2 + (rows + top + 0.5 - point[1]) ** 2)
        return float(columns[nearest] + left + 0.5), float(rows[nearest] + top + 0.5)


def _padded(inside: np.ndarray) -> np.ndarray:
    """Add one empty pixel on every side: cv2 takes the border of an array for the inside."""
    return cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0,))


def _cut(corners: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    """Clip a closed (N, 2) polygon at a line (Sutherland-Hodgman). `beyond` is each corner's distance past it."""
    after, beyond_after = np.roll(corners, -1, axis=0), np.roll(beyond, -1)
    stays = beyond <= 0
    crosses = stays != (beyond_after <= 0)
    share = beyond / np.where(crosses, beyond - beyond_after, 1.0)
    crossings = corners + (after - corners) * share[:, None]
    # of each corner: itself, and the point where the line to the next one crosses
    points, kept = np.stack([corners, crossings], axis=1), np.stack([stays, crosses], axis=1)
    cut: np.ndarray = points[kept]
    return cut
