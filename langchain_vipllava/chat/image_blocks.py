"""Image blocks as LangChain, OpenAI, Anthropic, Google, Bedrock and Hugging Face write them: where each image is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_vipllava.chat.text_files import file_of
from langchain_vipllava.chat.tool_results import is_image_url
from langchain_vipllava.errors import PromptError, shorten
from langchain_vipllava.images.image import sniff_mime_type
from langchain_vipllava.images.inline import Base64Text, decode_base64
from langchain_vipllava.images.limits import DEFAULT_LIMITS
from langchain_vipllava.images.source import ImageId, ImageSource
from langchain_vipllava.images.stored_files import ID_PREFIX


def read_image_url(block: Mapping[str, Any]) -> ImageSource:
    """Read OpenAI's `image_url`, a mapping or plain, and the Responses API's `input_image`.

    Raises:
        PromptError: it has no URL.
    """
    value = block.get("image_url")
    url = value.get("url") if isinstance(value, Mapping) else value
    if isinstance(url, str) and url:
        return url
    raise PromptError(f"content block {shorten(block)} has no URL; expected {{'image_url': {{'url': ...}}}}.")


def read_image_block(block: Mapping[str, Any]) -> ImageSource:
    """Read LangChain's v1 and v0 blocks, Anthropic's and Bedrock's `source`, Hugging Face's `image`.

    Raises:
        PromptError: it has no image, or names a provider's file.
    """
    nested = block.get("source", block.get("image"))
    if isinstance(nested, Mapping):
        return read_image_block(nested)
    if block.get("bytes") is not None:
        return _as_bytes(block, block["bytes"])
    for key in ("base64", "data"):
        if isinstance(block.get(key), (str, bytes)):
            text = block[key]
            if isinstance(text, bytes) and sniff_mime_type(text):  # an EncodedImage of a strict checkpoint
                return text
            return _inline(text if isinstance(text, str) else text.decode("latin-1"))
    for key in ("url", "image_url", "file_uri", "path"):
        if isinstance(block.get(key), str):
            url: str = block[key]
            return url
    if nested is not None and not isinstance(nested, Mapping):
        source: ImageSource = nested
        return source
    if str(block.get("file_id")).startswith(ID_PREFIX):
        return ImageId(str(block["file_id"]))
    if block.get("file_id") or block.get("id"):
        raise PromptError(
            f"content block {shorten(block)} names a provider's file, which a local model cannot fetch. Send the "
            "image as base64 or url, or keep it in an ImageStore."
        )
    raise PromptError(f"content block {shorten(block)} has no image; expected base64, url, source or image.")


def read_inline_data(block: Mapping[str, Any]) -> ImageSource:
    """Read Google's `media` and `inline_data`.

    Raises:
        PromptError: it has no image.
    """
    inner = file_of(block)
    if not isinstance(inner, Mapping):
        raise PromptError(f"content block {shorten(block)} has no image; expected {{'mime_type': ..., 'data': ...}}.")
    data = inner.get("data", inner.get("file_uri", inner.get("fileUri")))
    _expect_image(block, inner.get("mime_type", inner.get("mimeType")))
    if isinstance(data, (bytes, bytearray)):
        return bytes(data)
    return read_image_block(inner)


def read_image_file(block: Mapping[str, Any]) -> ImageSource:
    """Read an image that was sent as a file.

    Raises:
        PromptError: it is another kind of file.
        ImageError: base64 that cannot be decoded.
    """
    nested = file_of(block)
    inner = nested if isinstance(nested, Mapping) else block
    file_data = inner.get("file_data")
    mime = inner.get("mime_type") or (str(file_data)[5:].split(";")[0] if str(file_data).startswith("data:") else None)
    if not mime and is_image_url(inner.get("url", inner.get("file_url"))):
        mime = "image/*"  # the bytes decide which
    source = str(file_data) if file_data else read_image_block({"url": inner.get("file_url"), **inner})
    # LangChain calls every file in OpenAI's form a PDF: the bytes decide, not the name
    if not sniff_mime_type(_first_bytes(source)):
        _expect_image(block, mime)
    return source


def _expect_image(block: Mapping[str, Any], mime: object) -> None:
    if not str(mime or "").startswith("image/"):
        raise PromptError(f"content block {shorten(block)} is of type {mime!r}; expected an image (image/...).")


def _as_bytes(block: Mapping[str, Any], raw: Any) -> ImageSource:
    if isinstance(raw, str):
        return _inline(raw)
    numbers = isinstance(raw, list) and all(isinstance(item, int) and 0 <= item < 256 for item in raw)
    if isinstance(raw, (bytes, bytearray, memoryview)) or numbers:
        return bytes(raw)
    raise PromptError(f"content block {shorten(block)} has {type(raw).__name__} for bytes; expected bytes or base64.")


def _inline(text: str) -> ImageSource:
    return text if text.startswith("data:") else Base64Text(text)


def _first_bytes(source: ImageSource) -> bytes:
    """Return the bytes by which an image format is recognized; none for a source that holds no bytes."""
    if isinstance(source, bytes):
        return source
    if not isinstance(source, Base64Text):
        return b""
    start = "".join(source.text[:200].split())[:32]
    return decode_base64(Base64Text(start), DEFAULT_LIMITS)
