"""Marked images as plain JSON, and back: for checkpoints, databases and requests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from langchain_vipllava.errors import ImageError, MarkerError, VipLlavaError, describe_error, shorten
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.inline import Base64Text, decode_base64
from langchain_vipllava.images.limits import DEFAULT_LIMITS
from langchain_vipllava.markers.kinds import parse_color, parse_kind
from langchain_vipllava.markers.marker import Marker
from langchain_vipllava.regions.region import Region

if TYPE_CHECKING:
    from langchain_vipllava.images.store import ImageStore
    from langchain_vipllava.markers.marked_image import MarkedImage

_TYPE = "marked_image"


def marked_to_json(marked: MarkedImage, store: ImageStore | None) -> dict[str, Any]:
    """Write a marked image as JSON types; see `MarkedImage.to_json`."""
    return {
        "type": _TYPE,
        "image": image_to_json(marked.encoded, store),
        "original": image_to_json(marked.encoded_original, store),
        "markers": [marker_to_json(marker) for marker in marked.markers],
        "crop": None if marked.crop is None else list(marked.crop),
    }


def marked_from_json(kind: type[MarkedImage], data: Any, store: ImageStore | None) -> MarkedImage:
    """Read what `marked_to_json` wrote; see `MarkedImage.from_json`."""
    if not isinstance(data, Mapping) or data.get("type") != _TYPE:
        raise MarkerError(f"{shorten(data)} is not a marked image as JSON; expected what MarkedImage.to_json returned.")
    try:
        markers = tuple(map(marker_from_json, data["markers"]))
        crop = None if data["crop"] is None else crop_from_json(data["crop"])
        image, original = (image_from_json(data[key], store) for key in ("image", "original"))
        marked = kind.from_encoded(image, original.decode(), markers, crop)
    except ImageError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, VipLlavaError) as error:
        raise MarkerError(
            f"the JSON of a marked image is damaged: {describe_error(error)}; expected what to_json returned."
        ) from error
    marked.__dict__["encoded_original"] = original  # where cached_property keeps it
    return marked


def image_to_json(image: EncodedImage, store: ImageStore | None) -> dict[str, Any]:
    """Write an image: its id in a store, or its bytes."""
    if store is not None:
        return {"file_id": store.add(image), "mime_type": image.mime_type}
    return {"base64": image.base64, "mime_type": image.mime_type}


def image_from_json(data: Any, store: ImageStore | None) -> EncodedImage:
    """Read what `image_to_json` wrote.

    Raises:
        ImageError: it is something else, or in a store that is not there or lost it.
    """
    entry = data if isinstance(data, Mapping) else {}
    if isinstance(entry.get("file_id"), str):
        if store is None:
            raise ImageError(f"the image is in a store, as {shorten(entry['file_id'])}; pass it: store=.")
        return EncodedImage(store.get(entry["file_id"]))
    if isinstance(entry.get("base64"), str):
        return EncodedImage(decode_base64(Base64Text(entry["base64"]), DEFAULT_LIMITS))
    raise ImageError(f"{shorten(data)} is not an image as JSON; expected its base64 or file_id.")


def marker_to_json(marker: Marker) -> dict[str, Any]:
    """Write a marker as JSON types."""
    return {
        "region": marker.region.model_dump(mode="json"),
        "kind": marker.kind,
        "color": marker.color,
        "seen": list(marker.seen),
        "number": marker.number,
        "visible": marker.visible,
        "clearer": marker.clearer,
        "shares_look": marker.shares_look,
    }


def marker_from_json(record: Mapping[str, Any]) -> Marker:
    """Read what `marker_to_json` wrote.

    Raises:
        LookupError, TypeError, ValueError, MarkerError: it is something else.
    """
    width, height = record["seen"]
    try:
        region = Region.model_validate(record["region"])
    except ValidationError as error:  # its text has many lines
        raise ValueError(f"not a region: {shorten(record['region'])}") from error
    return Marker(
        region,
        parse_kind(typed(record["kind"], str)),
        parse_color(typed(record["color"], str)),
        (_number(width), _number(height)),
        None if record["number"] is None else typed(record["number"], int),
        visible=_number(record["visible"]),
        clearer=None if record["clearer"] is None else parse_color(typed(record["clearer"], str)),
        shares_look=record["shares_look"] is True,
    )


def crop_from_json(crop: Any) -> tuple[int, int, int, int]:
    """Read a crop.

    Raises:
        TypeError, ValueError: it is not four whole numbers.
    """
    left, top, right, bottom = (typed(edge, int) for edge in crop)
    return left, top, right, bottom


_Value = TypeVar("_Value")


def typed(value: object, kind: type[_Value]) -> _Value:
    """Check the type of a value of a record, which may be damaged: a later call would fail for it otherwise.

    Raises:
        TypeError: it has another one.
    """
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{shorten(value)} in the record; expected {kind.__name__}")
    return value


def _number(value: object) -> float:
    number = float(typed(value, int) if isinstance(value, int) else typed(value, float))
    if not math.isfinite(number):
        raise ValueError(f"{number} is not finite")
    return number
