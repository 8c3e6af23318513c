"""Images that travel inside of a text: base64, and data: URIs. Their size is checked before they are decoded."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field

from langchain_vipllava.errors import ImageError, shorten
from langchain_vipllava.images.limits import ImageLimits

_WHITE = b" \t\r\n\v\f"

_ESCAPE_LENGTH = 3
"""Characters of a percent-encoded byte."""

_BASE64_LENGTH = 2
"""Characters of base64 for each byte: 1.34, the rest for line breaks."""

_CHUNK = 2**16
"""Characters that are percent-decoded at once: `unquote_to_bytes` takes 40 bytes for each escape."""

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Base64Text:
    """An encoded image as base64, where an image is expected.

    Attributes:
        text: base64, which may have line breaks.
    """

    text: str = field(repr=False)


def decode_base64(source: Base64Text, limits: ImageLimits, name: str = "an image's base64") -> bytes:
    """Decode base64.

    Raises:
        ImageError: not base64, or too large.
    """
    limits.check_bytes(len(source.text) // _BASE64_LENGTH, name)
    try:
        return _decode_base64(source.text.encode("ascii"), limits, name)
    except ValueError as error:  # binascii.Error is one
        reason = getattr(error, "reason", error)  # the text of a UnicodeError repeats what came
        raise ImageError(
            f"{name} {shorten(source.text)} cannot be decoded: {reason}. Encode the file again."
        ) from error


def decode_data_uri(uri: str, limits: ImageLimits) -> bytes:
    """Decode a data: URI, in base64 or percent-encoded.

    Raises:
        ImageError: not base64, or too large.
    """
    limits.check_bytes(len(uri) // _ESCAPE_LENGTH, "the data: URI")
    head, comma, payload = uri.strip().partition(",")
    if not comma:
        raise ImageError(f"the data: URI {shorten(uri)} has no comma; expected data:image/png;base64,... .")
    try:
        data = percent_decode(payload)
        if head.lower().endswith(";base64"):
            data = _decode_base64(data, limits, "the data: URI")
    except ValueError as error:  # binascii.Error is one, and so is what a lone surrogate raises
        raise ImageError(
            f"the data: URI {shorten(head)},... is not valid base64 ({error}); encode the file again."
        ) from error
    limits.check_bytes(len(data), "the data: URI")
    return data


def percent_decode(text: str) -> bytes:
    """Decode percent-encoded text, in as much memory as the text takes itself."""
    data = text.encode()
    if b"%" not in data:
        return data
    decoded = bytearray()
    start = 0
    while start < len(data):
        stop = min(start + _CHUNK, len(data))
        if stop < len(data) and (cut := data.rfind(b"%", stop - _ESCAPE_LENGTH + 1, stop)) >= 0:
            stop = cut  # an escape belongs to one chunk
        decoded += _ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode()), data[start:stop])
        start = stop
    return bytes(decoded)


def _decode_base64(text: bytes, limits: ImageLimits, name: str) -> bytes:
    text = text.translate(None, _WHITE)
    limits.check_bytes(len(text) // 4 * 3 - text[-2:].count(b"="), name)
    return base64.b64decode(text, validate=True)
