"""GeoJSON, and everything with `__geo_interface__`: shapely geometries, GeoDataFrames. In pixels of the image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.corners import described
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import fill, ring_points
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import describe, field, keys_of

_SHAPES = {"Point", "MultiPoint", "Polygon", "MultiPolygon", "LineString", "MultiLineString", "LinearRing"}


def _interface(output: Any) -> Any:
    """Return a geometry, feature or collection as GeoJSON; anything else as it is."""
    found = getattr(output, "__geo_interface__", output)
    if isinstance(found, Mapping) and "type" not in found:
        return output
    return found


def _is_geojson(output: Any) -> bool:
    first = output[0] if isinstance(output, (list, tuple)) and output else output
    if isinstance(first, Mapping) and hasattr(first.get("geometry"), "__geo_interface__"):  # a row of a GeoDataFrame
        return True
    found = _interface(first)
    if not isinstance(found, Mapping):
        return False
    if found.get("type") in ("Feature", "FeatureCollection", "GeometryCollection"):
        return bool(keys_of(found) & {"geometry", "features", "geometries"})
    return found.get("type") in _SHAPES and "coordinates" in found


def _read_geojson(output: Any, context: Context) -> Iterator[Row]:
    for item in output if isinstance(output, (list, tuple)) else [output]:
        found = _interface(item)
        if field(found, "type") == "FeatureCollection":
            for feature in found["features"]:
                yield _feature(feature, context)
        elif field(found, "type") == "GeometryCollection":
            for shape in found["geometries"]:
                yield _geometry(shape, context)
        else:
            yield _feature(found, context)


def _feature(found: Mapping[str, Any], context: Context) -> Row:
    if "geometry" not in found:
        return _geometry(found, context)
    about = field(found, "properties")
    row = described(_geometry(_interface(found["geometry"]), context), found if about is None else about)
    identity = field(found, "id") if about is not None else None
    return row if row.id is not None or identity is None else replace(row, id=identity)


def _geometry(found: Any, context: Context) -> Row:
    kind, places = field(found, "type"), field(found, "coordinates")
    if kind == "Point":
        return Row(point=places[:2])
    if kind in ("LineString", "LinearRing") and len(places) > 3 and tuple(places[0]) == tuple(places[-1]):
        return Row(rings=[_open(places)])
    if kind not in ("Polygon", "MultiPolygon") or not places:
        raise ValueError(f"{describe(kind)} is not a region; expected a Polygon, MultiPolygon or Point")
    polygons = places if kind == "MultiPolygon" else [places]
    if all(len(rings) == 1 for rings in polygons):
        return Row(rings=[_open(rings[0]) for rings in polygons])
    return _with_holes(polygons, context)


def _with_holes(polygons: Any, context: Context) -> Row:
    if context.image_size is None:
        raise DetectionError("its polygons have holes, which become a mask; pass image_size=(width, height).")
    mask = None
    for outer, *holes in polygons:
        part = fill([ring_points(_open(outer), context.limits)], context.image_size, context.masks)
        if holes:
            part &= ~fill(
                [ring_points(_open(hole), context.limits) for hole in holes], context.image_size, context.masks
            )
        mask = part if mask is None else mask | part
    return Row(mask=mask)


def _open(ring: Any) -> list[Any]:
    """Return a ring without the last point, which repeats the first, and without heights."""
    points = [point[:2] for point in ring]
    return points[:-1] if len(points) > 1 and tuple(points[0]) == tuple(points[-1]) else points


FORMATS = (
    Format(
        "geojson",
        "GeoJSON or shapely geometry",
        _is_geojson,
        _read_geojson,
        Precedence.IMAGE,
        clues=("coordinates", "features", "geometry", "properties"),
    ),
)
