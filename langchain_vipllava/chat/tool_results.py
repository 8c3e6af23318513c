"""Blocks of tool results, as Anthropic, Bedrock and MCP write them, read as text and images.

A tool's result must not end an agent's run: what is neither text nor image is named, or written as JSON.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

_NAMES = ("title", "name", "filename", "file_name", "url", "uri", "source", "file_id", "id")
"""Keys that may name a file, the most telling first."""


def texts_and_parts(block: Mapping[str, Any]) -> list[Any] | None:
    """Return what a block of a tool's result consists of: texts, and blocks of other kinds; None for another kind.

    Anthropic's `tool_result`, `search_result` and `document`, Bedrock's `json`, MCP's `resource`.
    """
    kind = block.get("type")
    if kind == "tool_result":
        return _listed(block.get("content"))
    if kind == "search_result":
        return [*_texts(block, "title", "source"), *_listed(block.get("content"))]
    if kind == "document":
        source = block.get("source")
        inner = source if isinstance(source, Mapping) else {}
        parts = inner.get("content") if inner.get("type") == "content" else inner.get("data", inner.get("text"))
        is_text = inner.get("type") in ("text", "content")
        return [*_texts(block, "title", "context"), *_listed(parts)] if is_text else None
    if "json" in block and kind in (None, "json"):
        return [as_json(block["json"])]
    if kind == "resource" and isinstance(block.get("resource"), Mapping):
        inner = block["resource"]
        if isinstance(inner.get("text"), str):
            return [inner["text"]]
        return [{"type": "file", **inner, "base64": inner.get("blob"), "mime_type": inner.get("mimeType")}]
    if kind == "resource_link":
        return [{**block, "type": "file", "url": block.get("uri"), "mime_type": block.get("mimeType")}]
    return None


def name_of(block: Mapping[str, Any]) -> str:
    """Name what cannot be read: "[file report.pdf]"."""
    nested = [value for value in block.values() if isinstance(value, Mapping)]
    named = (str(part[key]) for part in (block, *nested) for key in _NAMES if isinstance(part.get(key), str))
    name = next(named, "")
    if "://" in name:
        name = PurePosixPath(urlsplit(name).path).name or name
    return f"[{block.get('type', 'file')}{f' {name}' if name else ''}]"


def is_image_url(url: object) -> bool:
    """Whether the name of an address says that it is an image."""
    return isinstance(url, str) and str(mimetypes.guess_type(urlsplit(url).path)[0]).startswith("image/")


def as_json(value: Any) -> str:
    """Write any value as JSON, what JSON has no form for as text."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _texts(block: Mapping[str, Any], *names: str) -> list[str]:
    return [block[name] for name in names if isinstance(block.get(name), str) and block[name]]


def _listed(content: Any) -> list[Any]:
    if content is None:
        return []
    return list(content) if isinstance(content, (list, tuple)) else [content]
