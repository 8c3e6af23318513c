"""Reading content blocks as LangChain, OpenAI, Anthropic, Google, Bedrock and Hugging Face write them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from langchain_vipllava.chat.tool_results import as_json, is_image_url, name_of, texts_and_parts
from langchain_vipllava.errors import PromptError, shorten
from langchain_vipllava.images.image import sniff_mime_type
from langchain_vipllava.images.inline import Base64Text, decode_base64
from langchain_vipllava.images.limits import DEFAULT_LIMITS
from langchain_vipllava.images.source import ImageId, ImageSource
from langchain_vipllava.images.stored_files import ID_PREFIX

Content = tuple[str, tuple[ImageSource, ...]]

Origin = Literal["user", "assistant", "tool"]
"""Whose content it is: a user's is read whole or refused; an answer of any model and a tool's result are read as far as
they can be, because an error would end the run of an agent that cannot change them."""

_SKIPPED_TYPES = frozenset(
    {"reasoning", "reasoning_content", "thinking", "redacted_thinking", "tool_call", "tool_use", "tool_call_chunk",
     "invalid_tool_call", "function_call", "server_tool_call", "server_tool_result", "citation"}
)  # fmt: skip
"""Blocks that are not part of a text, wherever they stand. In answers, all that is no text is left out."""

_OTHER_MEDIA = frozenset({"audio", "input_audio", "audio_url", "video", "video_url"})


def read_content(content: str | list[Any], origin: Origin = "user") -> Content:
    """Split a message's content into its text and the sources of its images.

    Texts are joined by line breaks. No image is opened.

    Args:
        content: text, or blocks as any provider writes them.
        origin: whose it is.

    Raises:
        PromptError: a user's block that is neither text nor image.
    """
    if isinstance(content, str):
        return content, ()
    parts = list(_parts(content, origin))
    texts = [part for part in parts if isinstance(part, str) and part]
    return "\n".join(texts), tuple(part.source for part in parts if isinstance(part, _Image))


def read_image(block: Any) -> ImageSource | None:
    """Return the source of an image block; None for any other block, and for one that cannot be read."""
    try:
        part = _read_block(block)
    except PromptError:
        return None
    return part.source if isinstance(part, _Image) else None


def _parts(content: Iterable[Any], origin: Origin) -> Iterator[str | _Image]:
    for block in content:
        if origin == "assistant":
            yield _read_answer(block)
            continue
        inner = texts_and_parts(block) if isinstance(block, Mapping) else None
        if inner is not None:
            is_result = block.get("type") == "tool_result"
            yield from _parts(inner, "tool" if is_result else origin)
        else:
            yield _read_block(block) if origin == "user" else _read_result(block)


def _read_answer(block: Any) -> str | _Image:
    """Read what an answer says; other models' searches, calls and the like are left out."""
    if isinstance(block, Mapping) and block.get("type") == "refusal":
        return str(block.get("refusal") or "")
    try:
        return _read_block(block)
    except PromptError:
        return ""


def _read_result(block: Any) -> str | _Image:
    """Read a part of a tool's result; what is neither text nor image is named."""
    try:
        return _read_block(block)
    except PromptError:
        if not isinstance(block, Mapping):
            return as_json(block)
        return name_of(block) if {"type", "file"} & block.keys() else as_json(block)


class _Image:
    """Marks the source of an image, so that a URL is not mistaken for text."""

    def __init__(self, source: ImageSource) -> None:
        self.source = source


def _read_block(block: Any) -> str | _Image:
    if isinstance(block, str):
        return block
    if not isinstance(block, Mapping):
        raise PromptError(f"content block {shorten(block)}; expected a text or a mapping with a 'type'.")
    kind = str(block.get("type", _infer_type(block)))
    if kind in _READERS:
        return _READERS[kind](block)
    if kind in _SKIPPED_TYPES:
        return ""
    if kind in _OTHER_MEDIA:
        raise PromptError(f"content block of type {kind!r}; ViP-LLaVA reads text and images only. Leave it out.")
    if kind == "non_standard" and isinstance(block.get("value"), Mapping):
        return _read_block(block["value"])
    raise PromptError(
        f"content block {shorten(block)} is neither text nor image; expected {{'type': 'text', 'text': ...}} or "
        "{'type': 'image', 'base64': ..., 'mime_type': 'image/png'}."
    )


def _infer_type(block: Mapping[str, Any]) -> str | None:
    kinds = ("text", "image_url", "image", "inline_data", "inlineData", "source")
    return next((kind for kind in kinds if kind in block), None)


def _text(block: Mapping[str, Any]) -> str:
    return str(block.get("text") or "")


def _plain(block: Mapping[str, Any]) -> str:
    """LangChain's text files, as text or base64."""
    data = block.get("base64")
    if data is None:
        return _text(block)
    return decode_base64(Base64Text(str(data)), DEFAULT_LIMITS, "a text's base64").decode("utf-8", "replace")


def _image_url(block: Mapping[str, Any]) -> _Image:
    """OpenAI's `image_url`, a mapping or plain, and the Responses API's `input_image`."""
    value = block.get("image_url")
    url = value.get("url") if isinstance(value, Mapping) else value
    if isinstance(url, str) and url:
        return _Image(url)
    raise PromptError(f"content block {shorten(block)} has no URL; expected {{'image_url': {{'url': ...}}}}.")


def _image(block: Mapping[str, Any]) -> _Image:
    """LangChain's v1 and v0 blocks, Anthropic's and Bedrock's `source`, Hugging Face's `image`."""
    nested = block.get("source", block.get("image"))
    if isinstance(nested, Mapping):
        return _image(nested)
    if block.get("bytes") is not None:
        return _Image(_as_bytes(block, block["bytes"]))
    for key in ("base64", "data"):
        if isinstance(block.get(key), (str, bytes)):
            text = block[key]
            if isinstance(text, bytes) and sniff_mime_type(text):  # an EncodedImage of a strict checkpoint
                return _Image(text)
            return _Image(_inline(text if isinstance(text, str) else text.decode("latin-1")))
    for key in ("url", "image_url", "file_uri", "path"):
        if isinstance(block.get(key), str):
            return _Image(block[key])
    if nested is not None and not isinstance(nested, Mapping):
        return _Image(nested)
    if str(block.get("file_id")).startswith(ID_PREFIX):
        return _Image(ImageId(str(block["file_id"])))
    if block.get("file_id") or block.get("id"):
        raise PromptError(
            f"content block {shorten(block)} names a provider's file, which a local model cannot fetch. Send the "
            "image as base64 or url, or keep it in an ImageStore."
        )
    raise PromptError(f"content block {shorten(block)} has no image; expected base64, url, source or image.")


def _google(block: Mapping[str, Any]) -> _Image:
    """Google's `media` and `inline_data`."""
    inner = block.get("inline_data", block.get("inlineData", block))
    if not isinstance(inner, Mapping):
        raise PromptError(f"content block {shorten(block)} has no image; expected {{'mime_type': ..., 'data': ...}}.")
    data = inner.get("data", inner.get("file_uri", inner.get("fileUri")))
    _expect_image(block, inner.get("mime_type", inner.get("mimeType")))
    if isinstance(data, (bytes, bytearray)):
        return _Image(bytes(data))
    return _image(inner)


def _file(block: Mapping[str, Any]) -> _Image:
    """An image that was sent as a file."""
    nested = block.get("file", block)
    inner = nested if isinstance(nested, Mapping) else block
    file_data = inner.get("file_data")
    mime = inner.get("mime_type") or (str(file_data)[5:].split(";")[0] if str(file_data).startswith("data:") else None)
    if not mime and is_image_url(inner.get("url")):
        mime = "image/*"  # the bytes decide which
    image = _Image(str(file_data)) if file_data else _image(inner)
    # LangChain calls every file in OpenAI's form a PDF: the bytes decide, not the name
    if not sniff_mime_type(_first_bytes(image.source)):
        _expect_image(block, mime)
    return image


_READERS: Mapping[str, Callable[[Mapping[str, Any]], str | _Image]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "text-plain": _plain,
    "image_url": _image_url,
    "input_image": _image_url,
    "image": _image,
    "source": _image,
    "media": _google,
    "inline_data": _google,
    "inlineData": _google,
    "file": _file,
}


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
