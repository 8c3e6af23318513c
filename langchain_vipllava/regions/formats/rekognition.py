"""AWS Rekognition's responses, in 0..1 of the image's sides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row
from langchain_vipllava.regions.values import keys_of

_LISTS = {"Labels", "FaceDetails", "CustomLabels"}


def _is_rekognition(output: Any) -> bool:
    return any(isinstance(output[name], list) for name in keys_of(output) & _LISTS)


def _read_rekognition(output: Any, _context: Context) -> Iterator[Row]:
    for label in output.get("Labels") or ():
        # A label without instances, such as "Outdoors", is about the whole image.
        for instance in label.get("Instances") or ():
            yield _row(instance["BoundingBox"], label.get("Name"), instance.get("Confidence"))
    for face in output.get("FaceDetails") or ():
        yield _row(face["BoundingBox"], "face", face.get("Confidence"))
    for label in output.get("CustomLabels") or ():
        if label.get("Geometry"):
            yield _row(label["Geometry"]["BoundingBox"], label.get("Name"), label.get("Confidence"))


def _row(box: Any, label: str | None, percent: float | None) -> Row:
    return Row(
        box=[box[side] for side in ("Left", "Top", "Width", "Height")],
        box_format="xywhn",
        label=label,
        score=None if percent is None else percent / 100,
    )


_CLUES = ("BoundingBox", "FaceDetails", "Instances", "Labels")

FORMATS = (
    Format(
        "rekognition", "AWS Rekognition response", _is_rekognition, _read_rekognition, Precedence.IMAGE, clues=_CLUES
    ),
)
