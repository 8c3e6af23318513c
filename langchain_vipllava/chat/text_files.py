"""Files that hold text, in blocks of any provider: read as text."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from typing import Any

from langchain_vipllava.images.image import sniff_mime_type
from langchain_vipllava.images.inline import Base64Text, decode_base64, decode_data_uri
from langchain_vipllava.images.limits import DEFAULT_LIMITS

_TEXT_TYPES = frozenset(
    {"json", "ld+json", "geo+json", "x-ndjson", "jsonl", "xml", "xhtml+xml", "yaml", "x-yaml", "toml", "csv",
     "javascript", "x-javascript", "typescript", "x-python", "x-sh", "sql", "rtf", "markdown"}
)  # fmt: skip
"""Subtypes of `application/` that are text. Chosen: what code assistants attach."""

_TEXT_FORMATS = frozenset({"txt", "md", "csv", "html"})
"""Formats of Bedrock's documents that are text; the others are pdf, doc, docx, xls and xlsx."""

_START = 1024
"""Bytes that tell whether a file is text. Chosen: files that are not have a signature, or a NUL among these."""


def file_of(block: Mapping[str, Any]) -> Any:
    """Return what a block says about its file: OpenAI's `file`, Google's `inline_data`, or the block itself."""
    return next((block[key] for key in ("file", "inline_data", "inlineData") if key in block), block)


def read_text_file(block: Mapping[str, Any]) -> str | None:
    """Return the text of a file block; None if it holds no text, or only names a file.

    Raises:
        ImageError: base64 that cannot be decoded, or of too many bytes.
    """
    file = file_of(block)
    if not isinstance(file, Mapping):
        return None
    data = next((file[key] for key in ("base64", "data", "file_data") if file.get(key)), None)
    if data is None:
        url = file.get("url")
        data = url if isinstance(url, str) and url.lower().startswith("data:") else None
    mime = _mime_type(file, data)
    if data is None:
        return file["text"] if isinstance(file.get("text"), str) else None
    # LangChain calls every file in OpenAI's form a PDF
    named_text = mime == "application/pdf" and _is_text(mimetypes.guess_type(_name(file))[0])
    return read_text_data(data) if _is_text(mime) or named_text else None


def read_text_data(data: object) -> str | None:
    """Return the text in bytes, base64 or a data: URI; None for anything else, such as an image that is called a text.

    Raises:
        ImageError: base64 that cannot be decoded, or of too many bytes.
    """
    if isinstance(data, str) and data[:5].lower() == "data:":
        data = decode_data_uri(data, DEFAULT_LIMITS)
    elif isinstance(data, str):
        data = decode_base64(Base64Text(data), DEFAULT_LIMITS, "a text's base64")
    if not isinstance(data, (bytes, bytearray, memoryview)):
        return None
    start = bytes(data[:_START])
    if sniff_mime_type(start) or start.startswith(b"%PDF") or b"\0" in start:
        return None
    return bytes(data).decode("utf-8-sig", "replace")


def read_bedrock_document(document: Mapping[str, Any]) -> list[Any] | None:
    """Return what a document of Bedrock consists of: texts and blocks; None for one that is no text.

    Raises:
        ImageError: base64 that cannot be decoded, or of too many bytes.
    """
    source = document.get("source")
    if not isinstance(source, Mapping):
        return None
    if isinstance(source.get("text"), str):
        return [source["text"]]
    if isinstance(source.get("content"), (list, tuple)):
        return list(source["content"])
    text = read_text_data(source.get("bytes")) if document.get("format") in _TEXT_FORMATS else None
    return None if text is None else [text]


def _mime_type(file: Mapping[str, Any], data: object) -> str:
    named = next((file[key] for key in ("mime_type", "mimeType", "media_type") if file.get(key)), None)
    if named is None and isinstance(data, str) and data[:5].lower() == "data:":
        named = data[5:200].split(",")[0]
    if named is None:
        named = mimetypes.guess_type(_name(file))[0]
    return str(named or "").split(";")[0].strip().lower()


def _name(file: Mapping[str, Any]) -> str:
    extras = file.get("extras")
    places = (file, extras if isinstance(extras, Mapping) else {})
    names = (place[key] for place in places for key in ("filename", "file_name", "name", "title") if key in place)
    return next((name for name in names if isinstance(name, str)), "")


def _is_text(mime: str | None) -> bool:
    kind, _, subtype = str(mime or "").partition("/")
    return kind == "text" or (kind == "application" and subtype in _TEXT_TYPES)
