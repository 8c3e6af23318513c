"""Answers of Google Vision and AWS Rekognition, both in 0..1 of the image's sides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_vipllava.errors import DetectionError, shorten
from langchain_vipllava.regions.formats.context import Context, Format, Row
from langchain_vipllava.regions.formats.values import field, keys_of

_GOOGLE_LISTS = ("localizedObjectAnnotations", "localized_object_annotations")


def _google_rows(found: Any) -> Any:
    """The list of annotations in an answer, or the list itself; None if there is none."""
    if isinstance(found, (list, tuple)):
        return found if found and _outline(found[0]) is not None else None
    return field(found, *_GOOGLE_LISTS)


def _outline(row: Any) -> Any:
    return field(row, "boundingPoly", "bounding_poly")


def _is_google(found: Any) -> bool:
    return _google_rows(found) is not None or isinstance(field(found, "responses"), list)


def _read_google(found: Any, _context: Context) -> Iterator[Row]:
    responses = field(found, "responses")
    if responses is not None:
        if len(responses) > 1:
            raise DetectionError(f"it holds {len(responses)} images; pass one: answer['responses'][0].")
        found = responses[0] if responses else {}
        if error := field(found, "error"):
            raise DetectionError(f"Google Vision failed: {shorten(field(error, 'message') or error)}.")
        others = [name for name in sorted(keys_of(found)) if _google_rows(found[name])]
        if others and _google_rows(found) is None:
            raise DetectionError(
                f"it holds no localizedObjectAnnotations, but {', '.join(others)}; to mark those, pass one of them: "
                f"answer['responses'][0][{others[0]!r}]."
            )
    for row in _google_rows(found) or ():
        vertices = field(_outline(row), "normalizedVertices", "normalized_vertices")
        box_format = "xyxyn" if vertices else "xyxy"
        vertices = vertices or field(_outline(row), "vertices")
        if not vertices:
            raise KeyError("normalizedVertices")
        # Google leaves a coordinate out where it is 0.
        xs = [field(vertex, "x") or 0 for vertex in vertices]
        ys = [field(vertex, "y") or 0 for vertex in vertices]
        yield Row(
            box=(min(xs), min(ys), max(xs), max(ys)),
            box_format=box_format,
            label=field(row, "name", "description"),
            score=field(row, "score", "detectionConfidence", "detection_confidence"),
        )


_REKOGNITION_LISTS = {"Labels", "FaceDetails", "CustomLabels"}


def _is_rekognition(found: Any) -> bool:
    return any(isinstance(found[name], list) for name in keys_of(found) & _REKOGNITION_LISTS)


def _read_rekognition(found: Any, _context: Context) -> Iterator[Row]:
    for label in found.get("Labels") or ():
        # A label without instances says something of the whole image, such as "Outdoors".
        for instance in label.get("Instances") or ():
            yield _rekognition_row(instance["BoundingBox"], label.get("Name"), instance.get("Confidence"))
    for face in found.get("FaceDetails") or ():
        yield _rekognition_row(face["BoundingBox"], "face", face.get("Confidence"))
    for label in found.get("CustomLabels") or ():
        if label.get("Geometry"):
            yield _rekognition_row(label["Geometry"]["BoundingBox"], label.get("Name"), label.get("Confidence"))


def _rekognition_row(box: Any, label: str | None, percent: float | None) -> Row:
    return Row(
        box=[box[side] for side in ("Left", "Top", "Width", "Height")],
        box_format="xywhn",
        label=label,
        score=None if percent is None else percent / 100,
    )


FORMATS = (
    Format("Google Vision answer", _is_google, _read_google),
    Format("AWS Rekognition answer", _is_rekognition, _read_rekognition),
)
