"""Reading content blocks as LangChain, OpenAI, Anthropic, Google, Bedrock and Hugging Face write them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from langchain_vipllava.chat.image_blocks import (
    read_image_block,
    read_image_file,
    read_image_url,
    read_inline_data,
)
from langchain_vipllava.chat.text_files import read_text_file
from langchain_vipllava.chat.tool_results import (
    as_json,
    is_tool_result,
    name_of,
    texts_and_parts,
    unwrapped,
    wrapped_text,
)
from langchain_vipllava.errors import ImageError, PromptError, shorten
from langchain_vipllava.images.source import ImageSource
from langchain_vipllava.text import whole_characters

Origin = Literal["user", "assistant", "tool"]
"""Whose content it is: a user's is read whole or refused; an answer of any model and a tool's result are read as far as
they can be, because an error would end the run of an agent that cannot change them."""

_SKIPPED_TYPES = frozenset(
    {"reasoning", "reasoning_content", "reasoningContent", "thinking", "redacted_thinking", "tool_call", "tool_use",
     "toolUse", "tool_call_chunk", "invalid_tool_call", "function_call", "server_tool_call", "server_tool_use",
     "server_tool_result", "citation", "cachePoint", "cache_point", "container_upload", "tool_reference",
     "mcp_approval_request", "mcp_approval_response"}
)  # fmt: skip
"""Blocks that are not part of a text, wherever they stand: thoughts, calls, and marks for a provider, such as where its
cache ends. In answers, all that is no text is left out."""

_OTHER_MEDIA = frozenset({"audio", "input_audio", "audio_url", "video", "video_url"})

_KEYS_OF_KINDS = (
    "text", "image_url", "image", "inline_data", "inlineData", "document", "video", "audio", "cachePoint",
    "cache_point", "reasoningContent", "reasoning_content", "toolUse", "source",
)  # fmt: skip
"""Keys that tell what a block without a type is, as Bedrock's and Google's are."""

MAX_DEPTH = 16
"""Blocks inside each other. Chosen: a tool's result with a resource in it takes three."""


@dataclass(frozen=True)
class ImagePart:
    """An image of a message, not opened yet.

    Attributes:
        source: where it is.
        name: what stands in its place if it cannot be opened; None for a user's, which has to be.
    """

    source: ImageSource
    name: str | None = None


def read_parts(content: str | list[Any], origin: Origin = "user") -> list[str | ImagePart]:
    """Split a message's content into texts and images, in order. No image is opened.

    Args:
        content: text, or blocks as any provider writes them.
        origin: whose it is.

    Raises:
        PromptError: a user's block that is neither text nor image.
        ImageError: base64 of a user's text that cannot be decoded.
    """
    blocks = [content] if isinstance(content, str) else content
    parts = _answer_parts(blocks) if origin == "assistant" else _parts(blocks, origin, 0)
    return [part for part in parts if part]


def read_image(block: Any) -> ImageSource | None:
    """Return the source of an image block; None for any other block, and for one that cannot be read."""
    try:
        part = _read_block(unwrapped(block))
    except (PromptError, ImageError):
        return None
    return part.source if isinstance(part, ImagePart) else None


def _parts(content: Iterable[Any], origin: Origin, depth: int) -> Iterator[str | ImagePart]:
    for wrapped in content:
        block = unwrapped(wrapped)
        inner = texts_and_parts(block) if isinstance(block, Mapping) else None
        if inner is None:
            yield _read_block(block) if origin == "user" else _read_result(block)
        elif depth < MAX_DEPTH:
            yield from _parts(inner, "tool" if is_tool_result(block) else origin, depth + 1)
        elif origin == "tool":
            yield name_of(block, _kind_of(block))
        else:
            raise PromptError(f"content blocks are nested more than {MAX_DEPTH} deep; expected a flatter list.")


def _answer_parts(content: Iterable[Any]) -> Iterator[str | ImagePart]:
    """Yield what an answer says. A text that cites a source goes on in the next block, in the middle of a line."""
    text, cites = "", False
    for block in map(unwrapped, content):
        part = _read_answer(block)  # `answer_text` replaces halves of characters
        is_text = isinstance(part, str) and _kind_of_answer(block) == "text"
        if is_text and text and (cites or _cites(block)):
            text += str(part)
        elif is_text:
            yield text
            text = str(part)
        else:
            yield text
            yield part
            text = ""
        cites = is_text and _cites(block)
    yield text


def _kind_of_answer(block: Any) -> str | None:
    return ("text" if _cites(block) else _kind_of(block)) if isinstance(block, Mapping) else None


def _cites(block: Any) -> bool:
    """Whether a text is a citation, as Anthropic, LangChain and Bedrock mark it."""
    return isinstance(block, Mapping) and any(
        block.get(key) for key in ("citations", "annotations", "citationsContent")
    )


def _read_answer(block: Any) -> str | ImagePart:
    """Read what an answer says; other models' searches, calls and the like are left out."""
    try:
        if isinstance(block, Mapping):
            if block.get("type") == "refusal":
                return str(block.get("refusal") or "")
            if _kind_of(block) in _OTHER_MEDIA:
                return transcript_of(block)
            if (cited := wrapped_text(block)) is not None:
                return "\n".join(part for part in read_parts(cited, "assistant") if isinstance(part, str))
        return _read_block(block)
    except (PromptError, ImageError, RecursionError):
        return ""


def _read_result(block: Any) -> str | ImagePart:
    """Read a part of a tool's result; what is neither text nor image is named."""
    kind = _kind_of(block) if isinstance(block, Mapping) else None
    try:
        part = _read_block(block)
    except (PromptError, ImageError, RecursionError):
        if not isinstance(block, Mapping):
            return as_json(block)
        return name_of(block, kind) if kind is not None or "file" in block else as_json(block)
    return whole_characters(part) if isinstance(part, str) else replace(part, name=name_of(block, kind))


def transcript_of(audio: Any) -> str:
    """Return what a spoken answer says, as OpenAI writes it beside the sound; nothing without one."""
    if not isinstance(audio, Mapping):
        return ""
    extras = audio.get("extras")
    found = audio.get("transcript", extras.get("transcript") if isinstance(extras, Mapping) else None)
    return found if isinstance(found, str) else ""


def _read_block(block: Any) -> str | ImagePart:
    if isinstance(block, str):
        return block
    if not isinstance(block, Mapping):
        raise PromptError(f"content block {shorten(block)}; expected a text or a mapping with a 'type'.")
    kind = _kind_of(block) or ""
    if kind in _READERS:
        return _READERS[kind](block)
    if kind in _FILE_KINDS and (text := read_text_file(block)) is not None:
        return text
    if kind in _IMAGE_READERS:
        return ImagePart(_IMAGE_READERS[kind](block))
    if kind in _SKIPPED_TYPES:
        return ""
    if kind in _OTHER_MEDIA:
        raise PromptError(f"content block of type {kind!r}; ViP-LLaVA reads text and images only. Leave it out.")
    raise PromptError(
        f"content block {shorten(block)} is neither text nor image; expected {{'type': 'text', 'text': ...}} or "
        "{'type': 'image', 'base64': ..., 'mime_type': 'image/png'}."
    )


def _kind_of(block: Mapping[str, Any]) -> str | None:
    if "type" in block:
        return str(block["type"])
    return next((kind for kind in _KEYS_OF_KINDS if kind in block), None)


def _text(block: Mapping[str, Any]) -> str:
    return str(block.get("text") or "")


def _plain(block: Mapping[str, Any]) -> str:
    """LangChain's text files, as text or base64."""
    text = read_text_file({**block, "mime_type": "text/plain"})
    if text is None and (block.get("url") or block.get("file_id")):
        raise PromptError(f"content block {shorten(block)} only names a text; expected {{'text': ...}}.")
    return text or ""


_READERS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "text-plain": _plain,
}

_IMAGE_READERS: Mapping[str, Callable[[Mapping[str, Any]], ImageSource]] = {
    "image_url": read_image_url,
    "input_image": read_image_url,
    "computer_screenshot": read_image_url,
    "image": read_image_block,
    "source": read_image_block,
    "media": read_inline_data,
    "inline_data": read_inline_data,
    "inlineData": read_inline_data,
    "file": read_image_file,
    "input_file": read_image_file,
}

_FILE_KINDS = frozenset({"media", "inline_data", "inlineData", "file", "input_file"})
"""Blocks that hold a file of any type."""
