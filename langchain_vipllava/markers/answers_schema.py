"""The JSON schema of an answer per marker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from langchain_vipllava.errors import GenerationError, MarkerError, shorten
from langchain_vipllava.markers.marker import Marker
from langchain_vipllava.schemas.pydantic_schema import json_schema_of
from langchain_vipllava.schemas.typed_dict import readable_type

_DEFINITIONS = "$defs"


def answers_schema(markers: Sequence[Marker], answer: Any = None) -> dict[str, Any]:
    """Make the JSON schema of an object with an answer per marker; see `MarkedImage.answers_schema`.

    Args:
        markers: their region ids, or else their indices, are the keys.
        answer: JSON schema or type of one answer; a string by default.

    Raises:
        MarkerError: there are no markers, or two regions share an id; `answer` is neither a schema nor a type, or no
            schema holds the values of that type.
    """
    one = _schema_of(answer)
    definitions = one.pop(_DEFINITIONS, {})
    properties = {
        marker.region.id or str(index): {**one, "description": _describe(marker, one.get("description"))}
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
        **({_DEFINITIONS: definitions} if definitions else {}),
    }


def _schema_of(answer: Any) -> dict[str, Any]:
    if answer is None:
        return {"type": "string"}
    if isinstance(answer, Mapping):
        return dict(answer)
    try:
        return json_schema_of(TypeAdapter(readable_type(answer)))
    except GenerationError as error:
        raise MarkerError(f"answer={shorten(answer)}: {error}") from error
    except (PydanticUserError, TypeError, NameError) as error:
        raise MarkerError(
            f"answer={shorten(answer)}; expected a JSON schema, or a type: bool, list[int], Literal['yes', 'no'] or "
            "a pydantic class."
        ) from error


def _describe(marker: Marker, said: object) -> str:
    described = f"the object {marker.phrase}"
    return f"{said.rstrip('.')}: {described}" if isinstance(said, str) and said else described
