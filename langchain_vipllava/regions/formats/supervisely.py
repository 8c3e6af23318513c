"""Supervisely's JSON of an image."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import fill, ring_points
from langchain_vipllava.regions.png_masks import placed, png_bytes, png_values
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import field, first_row, keys_of, rows


def _is_supervisely(output: Any) -> bool:
    objects = field(output, "objects")
    if not isinstance(objects, list) or not keys_of(output) >= {"size", "objects"}:
        return False
    return not objects or "classTitle" in keys_of(first_row(objects))


def _read_supervisely(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    size = (int(output["size"]["width"]), int(output["size"]["height"]))
    context = context.with_size(size)
    yield from each(rows(output["objects"]), lambda row: _row(row, context))


def _row(row: Mapping[str, Any], context: Context) -> Row:
    named: dict[str, Any] = {"label": row["classTitle"], "id": row.get("id"), "image_size": context.image_size}
    kind = row.get("geometryType") or ("bitmap" if row.get("bitmap") else None)
    exterior = (row.get("points") or {}).get("exterior") or []
    if kind == "bitmap":
        return Row(mask=_bitmap(row["bitmap"], context), **named)
    if kind == "rectangle" or (kind is None and len(exterior) == 2):
        (x0, y0), (x1, y1) = exterior
        return Row(box=(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), **named)
    if kind == "point" or (kind is None and len(exterior) == 1):
        return Row(point=exterior[0], **named)
    if kind in ("polygon", None):
        holes = (row.get("points") or {}).get("interior") or []
        if holes:
            return Row(mask=_with_holes(exterior, holes, context), **named)
        return Row(rings=[exterior], **named)
    raise DetectionError(f"a {kind!r} encloses nothing; expected a rectangle, polygon, bitmap or point.")


def _with_holes(exterior: Any, holes: Any, context: Context) -> np.ndarray:
    if context.image_size is None:
        raise DetectionError("its polygon has holes; pass image_size=(width, height).")
    outer, *inner = (ring_points(ring, context.limits) for ring in (exterior, *holes))
    mask: np.ndarray = fill([outer], context.image_size, context.masks)
    mask &= ~fill(inner, context.image_size, context.masks)
    return mask


def _bitmap(bitmap: Mapping[str, Any], context: Context) -> np.ndarray:
    """Return the mask of the image: a PNG that is compressed once more, at the place of its origin."""
    left, top = (int(side) for side in bitmap["origin"])
    try:
        data = zlib.decompressobj().decompress(png_bytes(bitmap["data"]), context.limits.max_text_bytes)
    except zlib.error as error:
        raise DetectionError("its bitmap is not compressed, as Supervisely's are.") from error
    return placed(png_values(data, context) > 0, left, top, context)


_CLUES = ("classTitle", "exterior", "geometryType", "objects", "size")

FORMATS = (Format("supervisely", "Supervisely JSON", _is_supervisely, _read_supervisely, Precedence.IMAGE, _CLUES),)
