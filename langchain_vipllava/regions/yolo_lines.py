"""Lines of YOLO's text: which of them hold a box, an outline, or a box with keypoints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_HALF_IMAGE = 0.505
"""Largest distance of a box's edge from the image's center, in image sides. Chosen: half, plus 1% for rounding."""

_KEYPOINT_REACH = 0.6
"""Largest distance of a keypoint from the box's center, in box sides. Chosen: half, plus 20%, because models place
keypoints just outside of their boxes."""

_KEYPOINT_SPREAD = 0.25
"""Least share of a side of the box over which keypoints spread. Chosen: the five of a face span 40% of it."""

_EDGE = 0.01
"""How far a coordinate may be outside of 0..1. Chosen: for rounding."""

_KEYPOINTS = {1, 4, 5, 12, 14, 16, 17, 18, 21, 24}
"""Numbers of keypoints that are looked for where their visibility is no 0, 1 or 2. Sources: COCO 17, hands 21, faces 5,
Ultralytics' tiger-pose 12 and dog-pose 24, MPII 16, OpenPose 18."""

_MAX_CHECKED = 250
"""Points of an outline whose edges are compared with each other. Chosen: poses of 133 keypoints have 200 pairs."""

_Point = tuple[float, float]

_EXTRAS = 2
"""A score and a track id may follow."""


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        name: the class, an id or a word.
        values: the numbers behind it, as written.
    """

    name: str
    values: tuple[str, ...]

    @property
    def numbers(self) -> list[float]:
        """The values as numbers."""
        return [float(value) for value in self.values]


def pose_length(lines: Sequence[Line]) -> int | None:
    """Return how many numbers of each line are a box and keypoints, if all lines may be poses; else None."""
    lengths = {len(line.values) for line in lines}
    if len(lengths) != 1:
        return None
    (length,) = lengths
    rows = [line.numbers for line in lines]
    candidates = (taken for taken, per in _candidates(length) if all(_is_pose(row[:taken], per) for row in rows))
    return next(candidates, None)


def _candidates(length: int) -> Iterator[tuple[int, int]]:
    """Yield how many numbers may be a box and keypoints, and how many of them each keypoint has."""
    for per in (3, 2):
        for extras in range(_EXTRAS + 1):
            count, rest = divmod(length - 4 - extras, per)
            if count > 0 and rest == 0 and (per == 3 or count in _KEYPOINTS):
                yield length - extras, per


def _is_pose(values: Sequence[float], per: int) -> bool:
    """Whether a box is followed by keypoints that lie in it or near it, and spread over it."""
    cx, cy, width, height, *points = values
    if abs(cx - 0.5) + width / 2 > _HALF_IMAGE or abs(cy - 0.5) + height / 2 > _HALF_IMAGE or min(width, height) <= 0:
        return False
    seen = []
    for at in range(0, len(points), per):
        x, y = points[at : at + 2]
        visible = points[at + 2] if per == 3 else 1.0
        # Annotations write 0, 1 or 2, models a confidence.
        if visible not in (0, 1, 2) and not (0 <= visible <= 1 and len(points) // per in _KEYPOINTS):
            return False
        if visible == 0 or (x, y) == (0, 0):
            continue
        if abs(x - cx) > _KEYPOINT_REACH * width or abs(y - cy) > _KEYPOINT_REACH * height:
            return False
        seen.append((x, y))
    if len(points) // per < 4 or len(seen) < 2:
        return True
    across, down = (max(side) - min(side) for side in zip(*seen, strict=True))
    return bool(across >= _KEYPOINT_SPREAD * width or down >= _KEYPOINT_SPREAD * height)


def may_be_outlines(lines: Sequence[Line]) -> bool:
    """Whether the numbers of every line may be the points of an outline, with a score or a track behind them."""
    return all(_is_outline(line.numbers) for line in lines)


def _is_outline(values: Sequence[float]) -> bool:
    sides = values[: len(values) // 2 * 2]
    if len(values) % 2 and not 0 <= values[-1] <= 1:  # a score, or a track
        return float(values[-1]).is_integer() and values[-1] > 2 and _is_outline(sides)
    if any(not -_EDGE <= side <= 1 + _EDGE for side in sides):
        return False
    points = list(zip(sides[::2], sides[1::2], strict=True))
    return _near(points[:2], points[2:]) and (len(points) > _MAX_CHECKED or not _crosses_itself(points))


def _crosses_itself(points: Sequence[_Point]) -> bool:
    """Whether two edges of an outline cross. Those between keypoints do, and between the parts of a shifted pair."""
    edges = list(zip(points, [*points[1:], points[0]], strict=True))
    return any(_cross(*edges[one], *edges[other]) for one in range(len(edges)) for other in range(one + 2, len(edges)))


def _cross(a: _Point, b: _Point, c: _Point, d: _Point) -> bool:
    return _side(a, b, c) * _side(a, b, d) < 0 and _side(c, d, a) * _side(c, d, b) < 0


def _side(a: _Point, b: _Point, point: _Point) -> float:
    """Return on which side of the line from a to b a point is, by its sign."""
    return (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])


def _near(first: Sequence[_Point], rest: Sequence[_Point]) -> bool:
    """Whether the first points of an outline are near the others. A width and a height are rarely near the center."""
    if len(rest) < 2:
        return True
    xs, ys = zip(*rest, strict=True)
    reach = max(max(xs) - min(xs), max(ys) - min(ys))
    return all(min(xs) - reach <= x <= max(xs) + reach and min(ys) - reach <= y <= max(ys) + reach for x, y in first)
