"""`Drawn`: a region as somebody drew it on the page, and how it is to be marked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from langchain_vipllava.apps.studio.strokes import brush_width, stroke_mask
from langchain_vipllava.errors import RegionError, shorten
from langchain_vipllava.markers.kinds import MarkerColor, MarkerKind, parse_color, parse_kind
from langchain_vipllava.regions.region import Region
from langchain_vipllava.regions.rle import encode_rle

Tool = Literal["box", "point", "polygon", "stroke", "found"]

MAX_POINTS = 2_000
"""Points of a stroke or polygon. Chosen: a minute of drawing; the page leaves out points closer than a pixel."""

# A stroke is outlined: the lines of a narrow brush meet, so that the drawing is seen in opaque color. As "mask" it is
# half transparent, and the bundled checkpoint took a red one on blue for another object.
_DEFAULT_KINDS: dict[Tool, MarkerKind] = {
    "box": "rectangle",
    "point": "point",
    "polygon": "mask contour",
    "stroke": "mask contour",
    "found": "rectangle",
}


@dataclass(frozen=True)
class Drawn:
    """A region that was drawn or found.

    Attributes:
        tool: how it came; "found" by a detector or a segmenter.
        region: in pixels of the upright image.
        kind: of its marker.
        color: of its marker; None lets `mark` choose.
        points: what was drawn: corners of a box, a point, a polygon, or the middle of a stroke.
    """

    tool: Tool
    region: Region
    kind: MarkerKind
    color: MarkerColor | None = None
    points: tuple[tuple[float, float], ...] = ()

    @classmethod
    def read(cls, message: Any, size: tuple[int, int]) -> Drawn:
        """Read what the page sent.

        Args:
            message: `{"tool", "points": [[x, y], ...], "kind", "color"}`; anybody can have written it.
            size: (width, height) of the image.

        Raises:
            RegionError: not a region of this image.
            MarkerError: an unknown kind or color.
        """
        if not isinstance(message, Mapping) or message.get("tool") not in get_args(Tool)[:4]:
            raise RegionError(f"{shorten(message)} was not drawn; expected a box, point, polygon or stroke.")
        tool: Tool = message["tool"]
        points = _read_points(message.get("points"), size)
        return cls(tool, _region(tool, points, size), _kind(message, tool), _color(message), points)

    @classmethod
    def found(cls, region: Region) -> Drawn:
        """Wrap a region that a detector or a segmenter found."""
        plain = region.model_copy(update={"id": None})
        return cls("found", plain, "rectangle" if region.mask is None else "mask contour")

    def code(self) -> str:
        """Return Python that makes the region."""
        named = f", label={self.region.label!r}" if self.region.label else ""
        if self.tool == "box":
            return f"Region(box={_plain(self.region.box)}{named})"
        if self.tool == "point":
            return f"Region(point={_plain(self.region.box[:2])}{named})"  # the image's edge is no pixel
        if self.tool == "polygon":
            return f"Region(polygon=[{', '.join(_plain(point) for point in self.points)}]{named})"
        if self.tool == "stroke":
            return f"Region(mask=stroke_mask([{', '.join(_plain(point) for point in self.points)}], size){named})"
        fields = [f"box={_plain(self.region.box)}"]
        if self.region.mask is not None:
            fields.append(f"mask={encode_rle(self.region.mask)!r}")
        elif self.region.polygon is not None:
            fields.append(f"polygon=[{', '.join(_plain(point) for point in self.region.polygon)}]")
        return f"Region({', '.join(fields)}{named})"


def _read_points(points: Any, size: tuple[int, int]) -> tuple[tuple[float, float], ...]:
    width, height = size
    if not isinstance(points, list) or not 0 < len(points) <= MAX_POINTS:
        raise RegionError(f"{shorten(points)} are not points; expected 1 to {MAX_POINTS} of them.")
    read = []
    for point in points:
        if not isinstance(point, list) or len(point) != 2 or not all(isinstance(n, (int, float)) for n in point):
            raise RegionError(f"{shorten(point)} is not a point; expected [x, y] in pixels.")
        x, y = point
        if not (0 <= x <= width and 0 <= y <= height):
            raise RegionError(f"{shorten(point)} is outside of the image of {width} x {height} pixels.")
        read.append((round(float(x), 1), round(float(y), 1)))
    return tuple(read)


def _region(tool: Tool, points: tuple[tuple[float, float], ...], size: tuple[int, int]) -> Region:
    if tool == "point":
        x, y = points[0]
        return Region(point=(min(x, size[0] - 1), min(y, size[1] - 1)))
    if tool == "stroke":
        return Region(mask=stroke_mask(points, size, brush_width(size)))
    if tool == "polygon":
        if len(points) < 3:
            raise RegionError(f"a polygon of {len(points)} corners; expected at least 3.")
        return Region(polygon=points)
    xs, ys = [x for x, _ in points], [y for _, y in points]
    if len(points) != 2 or min(xs) == max(xs) or min(ys) == max(ys):
        raise RegionError(f"{shorten(list(points))} are not two opposite corners of a box; draw from corner to corner.")
    return Region(box=(min(xs), min(ys), max(xs), max(ys)))


def _kind(message: Mapping[str, Any], tool: Tool) -> MarkerKind:
    return _DEFAULT_KINDS[tool] if message.get("kind") in (None, "", "auto") else parse_kind(message["kind"])


def _color(message: Mapping[str, Any]) -> MarkerColor | None:
    return None if message.get("color") in (None, "", "auto") else parse_color(message["color"])


def _plain(numbers: tuple[float, ...]) -> str:
    return f"({', '.join(f'{number:.0f}' if number == int(number) else repr(float(number)) for number in numbers)})"
