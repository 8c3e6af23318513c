"""The JSON schema of an answer per marker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_vipllava.errors import MarkerError
from langchain_vipllava.markers.marker import Marker


def answers_schema(markers: Sequence[Marker], answer: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Make the JSON schema of an object with an answer per marker; see `MarkedImage.answers_schema`.

    Args:
        markers: their region ids, or else their indices, are the keys.
        answer: JSON schema of one answer; a string by default.

    Raises:
        MarkerError: there are no markers, or two regions share an id.
    """
    properties = {
        marker.region.id or str(index): {
            **(answer or {"type": "string"}),
            "description": f"the object {marker.phrase}",
        }
        for index, marker in enumerate(markers)
    }
    if len(properties) < len(markers) or not markers:
        ids = [marker.region.id for marker in markers if marker.region.id]
        raise MarkerError(f"{len(markers)} markers with ids {ids}; expected at least one, and no id twice.")
    return {
        "title": "answers",
        "description": "One answer for each marked object.",
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
