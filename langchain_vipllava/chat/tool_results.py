"""Blocks that consist of others, as Anthropic, Bedrock and MCP write results and documents; and names for the rest.

A tool's result must not end an agent's run: what is neither text nor image is named, or written as JSON.
"""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from langchain_vipllava.chat.text_files import read_bedrock_document, read_text_data
from langchain_vipllava.errors import ImageError, shorten
from langchain_vipllava.text import printable

_NAMES = (
    "title", "name", "filename", "file_name", "url", "uri", "source", "file_id", "id", "path", "file_uri", "fileUri",
    "file_url", "image", "image_url", "display_name",
)  # fmt: skip
"""Keys that may name a file, the most telling first."""

_MAX_NAME = 80
"""Characters of a file's name. Chosen: longer ones are not names, but what is in the file."""

_LOCATED = ("url", "uri", "image", "image_url", "path", "file_uri", "fileUri", "file_url")
"""Keys whose texts may also be what is in a file: only what ends like a file's name is one."""

_SHORT_TYPES = {"image_url": "image", "input_image": "image", "computer_screenshot": "image", "input_file": "file",
                "input_audio": "audio", "audio_url": "audio", "video_url": "video", "inline_data": "media",
                "inlineData": "media", "None": "file", "source": "file"}  # fmt: skip

_Read = TypeVar("_Read")

_RESULTS = frozenset(
    {"tool_result", "function_call_output", "computer_call_output", "custom_tool_call_output", "shell_call_output",
     "local_shell_call_output"}
)  # fmt: skip

_MAX_WRAPPERS = 8
"""`non_standard` blocks in each other. Chosen: LangChain makes one."""

_MAX_ODD = 10_000
"""Characters of a value that JSON has no form for."""


def unwrapped(block: Any) -> Any:
    """Return a provider's own block out of LangChain's `non_standard`; any other block as it is."""
    for _ in range(_MAX_WRAPPERS):
        if not (isinstance(block, Mapping) and block.get("type") == "non_standard"):
            break
        if not isinstance(block.get("value"), Mapping):
            break
        block = block["value"]
    return block


def is_tool_result(block: Mapping[str, Any]) -> bool:
    """Whether a block of a human message is the result of a tool, as Anthropic, Bedrock and OpenAI write it."""
    return str(block.get("type")) in _RESULTS or ("type" not in block and "toolResult" in block)


def texts_and_parts(block: Mapping[str, Any]) -> list[Any] | None:
    """Return what a block consists of: texts, and blocks of other kinds; None for a block that is a whole itself.

    Anthropic's `tool_result`, `search_result` and `document`, Bedrock's `toolResult`, `json`, `document`,
    `guardContent` and `citationsContent`, MCP's `resource`.
    """
    kind = block.get("type")
    if is_tool_result(block):
        result = block.get("toolResult", block)
        return _listed(result.get("content", result.get("output"))) if isinstance(result, Mapping) else []
    if kind == "search_result":
        return [*_texts(block, "title", "source"), *_listed(block.get("content"))]
    if kind in (None, "document") and isinstance(block.get("document"), Mapping):
        return _unless_damaged(read_bedrock_document, block["document"])
    if kind == "document":
        return _document(block)
    if "json" in block and kind in (None, "json"):
        return [as_json(block["json"])]
    if kind == "resource" and isinstance(block.get("resource"), Mapping):
        inner = block["resource"]
        if isinstance(inner.get("text"), str):
            return [inner["text"]]
        return [{"type": "file", **inner, "base64": inner.get("blob"), "mime_type": inner.get("mimeType")}]
    if kind == "resource_link":
        return [{**block, "type": "file", "url": block.get("uri"), "mime_type": block.get("mimeType")}]
    return wrapped_text(block)


def name_of(block: Mapping[str, Any], kind: str | None = None) -> str:
    """Name what cannot be read: "[file report.pdf]".

    Args:
        block: what cannot be read.
        kind: what it is, where it has no type.
    """
    nested = [value for value in block.values() if isinstance(value, Mapping)]
    nested += [value for part in nested for value in part.values() if isinstance(value, Mapping)]
    found = (_name(key, part.get(key)) for part in (block, *nested) for key in _NAMES)
    name = next(filter(None, found), "")
    label = str(block.get("type", kind or "file"))
    return f"[{_SHORT_TYPES.get(label, label)}{f' {name}' if name else ''}]"


def _name(key: str, value: object) -> str:
    if not isinstance(value, str) or value[:5].lower() == "data:":
        return ""
    name = value[-1000:]
    if "://" in value[:20]:
        name = PurePosixPath(urlsplit(value[:10_000]).path).name or value
    elif key in _LOCATED:
        name = re.split(r"[/\\]", name)[-1]
    if key in _LOCATED and "://" not in value[:20] and not re.search(r"\.\w{1,5}$", name):
        return ""  # base64
    return printable(name, keep="") if len(name) <= _MAX_NAME else ""


def is_image_url(url: object) -> bool:
    """Whether the name of an address says that it is an image."""
    return isinstance(url, str) and str(mimetypes.guess_type(urlsplit(url).path)[0]).startswith("image/")


def as_json(value: Any) -> str:
    """Write any value as JSON, what JSON has no form for as text."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except Exception:  # keys that are no text, a list in itself, whatever a `__str__` raises
        return shorten(value, _MAX_ODD)


def _document(block: Mapping[str, Any]) -> list[Any] | None:
    """Anthropic's document: plain text, blocks, or a text file as base64."""
    source = block.get("source")
    inner = source if isinstance(source, Mapping) else {}
    named = _texts(block, "title", "context")
    if inner.get("type") == "content":
        return [*named, *_listed(inner.get("content"))]
    if inner.get("type") == "text":
        return [*named, *_listed(inner.get("data", inner.get("text")))]
    if inner.get("type") == "base64" and str(inner.get("media_type")).startswith("text/"):
        text = _unless_damaged(read_text_data, inner.get("data"))
        return None if text is None else [*named, text]
    return None


def wrapped_text(block: Mapping[str, Any]) -> list[Any] | None:
    """Bedrock's `guardContent` and `citationsContent`, in its own words and in langchain-aws's."""
    kind = block.get("type")
    if kind == "guard_content" or (kind is None and {"guardContent", "guard_content"} & block.keys()):
        inner = block.get("guardContent", block.get("guard_content", {"text": block.get("text")}))
        if not isinstance(inner, Mapping):
            return None
        text = inner.get("text")
        if text is None:
            return [dict(inner)]
        return [text["text"] if isinstance(text, Mapping) and "text" in text else str(text)]
    if kind is None and isinstance(block.get("citationsContent"), Mapping):
        return _listed(block["citationsContent"].get("content"))
    return None


def _unless_damaged(read: Callable[[Any], _Read], value: Any) -> _Read | None:
    """Return None for base64 that cannot be decoded: the block is then named, or refused as a whole."""
    try:
        return read(value)
    except ImageError:
        return None


def _texts(block: Mapping[str, Any], *names: str) -> list[str]:
    return [block[name] for name in names if isinstance(block.get(name), str) and block[name]]


def _listed(content: Any) -> list[Any]:
    if content is None:
        return []
    return list(content) if isinstance(content, (list, tuple)) else [content]
