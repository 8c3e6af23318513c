"""Google Vision's responses, parsed or as objects of its client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_vipllava.errors import DetectionError, shorten
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import BoxFormat
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import field, keys_of

_GOOGLE_LISTS = ("localizedObjectAnnotations", "localized_object_annotations")


def _google_rows(output: Any) -> Any:
    """Return the list of annotations in a response, or the list that the output is; None without any."""
    if isinstance(output, (list, tuple)):
        return output if output and _outline(output[0]) is not None else None
    return field(output, *_GOOGLE_LISTS)


def _outline(row: Any) -> Any:
    return field(row, "boundingPoly", "bounding_poly")


def _is_google(output: Any) -> bool:
    return _google_rows(output) is not None or isinstance(field(output, "responses"), list)


def _read_google(output: Any, _context: Context) -> Iterator[Row]:
    responses = field(output, "responses")
    if responses is not None:
        if len(responses) > 1:
            raise DetectionError(f"it holds {len(responses)} images; pass one: response['responses'][0].")
        output = responses[0] if responses else {}
        if error := field(output, "error"):
            raise DetectionError(f"Google Vision failed: {shorten(field(error, 'message') or error)}.")
        others = [name for name in sorted(keys_of(output)) if _google_rows(output[name])]
        if others and _google_rows(output) is None:
            raise DetectionError(
                f"it has no localizedObjectAnnotations, but {', '.join(others)}; to mark those, pass one of them: "
                f"response['responses'][0][{others[0]!r}]."
            )
    for row in _google_rows(output) or ():
        vertices = field(_outline(row), "normalizedVertices", "normalized_vertices")
        box_format: BoxFormat = "xyxyn" if vertices else "xyxy"
        vertices = vertices or field(_outline(row), "vertices")
        if not vertices:
            raise KeyError("normalizedVertices")
        # Google omits coordinates that are 0.
        xs = [field(vertex, "x") or 0 for vertex in vertices]
        ys = [field(vertex, "y") or 0 for vertex in vertices]
        yield Row(
            box=(min(xs), min(ys), max(xs), max(ys)),
            box_format=box_format,
            label=field(row, "name", "description"),
            score=field(row, "score", "detectionConfidence", "detection_confidence"),
        )


_CLUES = ("boundingPoly", "bounding_poly", "localizedObjectAnnotations", "normalizedVertices", "responses")

FORMATS = (Format("google-vision", "Google Vision response", _is_google, _read_google, Precedence.IMAGE, clues=_CLUES),)
