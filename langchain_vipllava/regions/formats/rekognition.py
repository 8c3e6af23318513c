"""AWS Rekognition's responses, in 0..1 of the image's sides, with confidences in percent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.outlines import outline_row
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import keys_of, percent

_FACES = ("FaceDetails", "UnmatchedFaces", "UnrecognizedFaces", "FaceRecords", "FaceMatches", "CelebrityFaces")
_LISTS = {"Labels", "CustomLabels", "TextDetections", "Persons", *_FACES}
_BOX = ("Left", "Top", "Width", "Height")


def _is_rekognition(output: Any) -> bool:
    return any(isinstance(output[name], list) for name in keys_of(output) & _LISTS)


def _read_rekognition(output: Any, _context: Context) -> Iterator[Row]:
    for label in output.get("Labels") or ():
        # A label without instances, such as "Outdoors", is about the whole image.
        for instance in label.get("Instances") or ():
            yield _row(instance, label.get("Name"), instance.get("Confidence"))
    for label in output.get("CustomLabels") or ():
        if label.get("Geometry"):
            yield _placed(label["Geometry"], label.get("Name"), label.get("Confidence"))
    yield from _texts(output.get("TextDetections") or ())
    for person in output.get("Persons") or ():
        yield from _person(person, output["Persons"])
    yield from _faces(output)


def _texts(found: Any) -> Iterator[Row]:
    # Lines come with their words: the words alone are the same text, placed more precisely.
    lines_with_words = {text.get("ParentId") for text in found if text.get("Type") == "WORD"}
    for text in found:
        if text.get("Type") != "LINE" or text.get("Id") not in lines_with_words:
            yield _placed(text["Geometry"], text.get("DetectedText"), text.get("Confidence"))


def _person(person: Mapping[str, Any], persons: list[Any]) -> Iterator[Row]:
    if "Person" in person:  # of a video
        if len({found.get("Timestamp") for found in persons}) > 1:
            raise DetectionError("it holds several frames of a video; keep the Persons of one Timestamp.")
        yield _row(person["Person"], "person", None, person["Person"].get("Index"))
        return
    yield _row(person, "person", person.get("Confidence"), person.get("Id"))
    for part in person.get("BodyParts") or ():
        for equipment in part.get("EquipmentDetections") or ():
            yield _row(equipment, equipment.get("Type"), equipment.get("Confidence"))


def _faces(output: Mapping[str, Any]) -> Iterator[Row]:
    if "SearchedFaceBoundingBox" in output:  # the boxes of its FaceMatches are those of other images
        box = {"BoundingBox": output["SearchedFaceBoundingBox"]}
        yield _row(box, "face", output.get("SearchedFaceConfidence"))
        return
    for name in _FACES:
        for face in output.get(name) or ():
            placed = face.get("Face") or face.get("FaceDetail") or face
            confidence = face.get("Similarity", face.get("MatchConfidence", placed.get("Confidence")))
            yield _row(placed, face.get("Name") or "face", confidence)


def _placed(geometry: Mapping[str, Any], label: str | None, confidence: Any) -> Row:
    """Return a row for a Geometry: its polygon, which may be turned, else its box."""
    polygon = geometry.get("Polygon")
    if not polygon:
        return _row(geometry, label, confidence)
    points = [(point["X"], point["Y"]) for point in polygon]
    return outline_row(points, normalized=True, label=label, score=percent(confidence))


def _row(holder: Mapping[str, Any], label: str | None, confidence: Any, id: Any = None) -> Row:
    box = holder["BoundingBox"]
    return Row(box=[box[side] for side in _BOX], box_format="xywhn", label=label, score=percent(confidence), id=id)


def _is_moderation(output: Any) -> bool:
    return "ModerationLabels" in keys_of(output)


def _refuse_moderation(_output: Any, _context: Context) -> Iterator[Row]:
    raise DetectionError("ModerationLabels are about the whole image; expected Labels, TextDetections, FaceDetails ...")


FORMATS = (
    Format("rekognition", "AWS Rekognition response", _is_rekognition, _read_rekognition, Precedence.IMAGE),
    Format("rekognition", "AWS Rekognition moderation", _is_moderation, _refuse_moderation, Precedence.LOOSE_IMAGE),
)
