"""Images out of messages into a store, and back: a checkpoint then holds a short id for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.globals import get_llm_cache
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage, ToolMessage

from langchain_vipllava.chat.blocks import MAX_DEPTH, read_image
from langchain_vipllava.chat.guard import tree_errors
from langchain_vipllava.chat.messages import (
    UNOPENED,
    Resolve,
    as_messages,
    check_size,
    image_block,
    role_of,
    texts_of,
)
from langchain_vipllava.chat.tool_results import is_tool_result
from langchain_vipllava.errors import ImageError, PromptError
from langchain_vipllava.images.access import ImageAccessPolicy
from langchain_vipllava.images.fetch import FetchPolicy, is_refused
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.inline import Base64Text
from langchain_vipllava.images.source import ImageSource, SourceKind, source_kind
from langchain_vipllava.images.store import ImageStore
from langchain_vipllava.images.stored_files import ID_PREFIX
from langchain_vipllava.protocol.limits import RequestLimits


@tree_errors(PromptError)
def keep_images(
    messages: LanguageModelInput, store: ImageStore, *, access: ImageAccessPolicy | None = None
) -> list[BaseMessage]:
    """Put the images of messages into a store, and their ids into the messages.

    For a LangGraph state: the checkpoints then hold an id of 71 characters, whatever the size of the image, and
    `ChatVipLlava(image_store=store)` finds the image by it.

    Args:
        messages: in any form that `invoke` takes, with images in any form that `ChatVipLlava` reads. They are not
            changed.
        store: where the images go. URLs are left as they are.
        access: which files may be opened that messages name; None opens no file. `ImageAccessPolicy.trusted()`
            opens any, where the program writes the messages itself.

    Returns:
        The same messages; every image is a `{"type": "image", "file_id": ...}` block with its `extras`. An image of an
        answer or of a tool's result that cannot be read stays as it is.

    Raises:
        ImageError: an image of the user's that cannot be read, or a file that may not be opened.

    Example:
        >>> from langchain_core.messages import HumanMessage
        >>> from PIL import Image
        >>> from langchain_vipllava import ImageStore, keep_images
        >>> block = {"type": "image", "image": Image.new("RGB", (336, 336))}
        >>> (kept,) = keep_images([HumanMessage([block, {"type": "text", "text": "What is it?"}])], ImageStore())
        >>> kept.content[0]["file_id"][:7]
        'sha256-'
    """
    resolve = (access or ImageAccessPolicy()).resolve

    def keep(block: Any) -> Any:
        source = read_image(block)
        if source is None or source_kind(source) in ("id", "url"):
            return block
        image = resolve(source)
        kept = {"type": "image", "file_id": store.add(image), "mime_type": image.mime_type}
        return kept | {name: block[name] for name in ("extras", "id") if name in block}

    return [_map_blocks(message, keep, forgiving=_is_forgiven(message)) for message in as_messages(messages)]


@tree_errors(PromptError)
def restore_images(messages: LanguageModelInput, store: ImageStore) -> list[BaseMessage]:
    """Undo `keep_images`: base64 in place of ids, for a model that does not know the store.

    Raises:
        ImageError: an image that the store no longer has.
    """

    def restore(block: Any) -> Any:
        if not isinstance(block, Mapping) or not str(block.get("file_id", "")).startswith(ID_PREFIX):
            return block
        image = EncodedImage(store.get(block["file_id"]))
        return image_block(image, by_value=False) | {name: value for name, value in block.items() if name != "file_id"}

    return [_map_blocks(message, restore) for message in as_messages(messages)]


def name_mime_types(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Complete blocks that LangChain refuses before the model is asked: images without a mime type, v0 without a key.

    Any type will do, because the model looks it up in the bytes.
    """
    return [_map_blocks(message, _name_mime_type) for message in messages]


def is_cached(cache: object) -> bool:
    """Whether LangChain caches the answers of a chat model with this `cache`."""
    return bool(cache) or (cache is None and get_llm_cache() is not None)


def open_for_cache(
    messages: Sequence[BaseMessage], access: ImageAccessPolicy, limits: RequestLimits, cache: object
) -> list[BaseMessage]:
    """Open the images that LangChain's cache could not identify: files, PIL images, arrays. Without a cache, none.

    The cache compares prompts by their text and the `repr` of other objects. What a file holds can change, and the
    `repr` of an array leaves its middle out; that of an `EncodedImage` names its content.

    Raises:
        PromptTooLongError: too much text, which LangChain would copy for its tracing.
        PromptError: messages that cannot be read.
        GenerationError: too many images.
        ImageError: an image that cannot be read, or must not be.
    """
    if not is_cached(cache):
        limits.check_texts(texts_of(messages))
        return name_mime_types(messages)
    check_size(messages, limits)

    def open_image(block: Any) -> Any:
        source = None if isinstance(block, str) else read_image(block)
        by_content = isinstance(source, (bytes, Base64Text)) or source_kind(source) in ("id", "url", "data")
        if source is None or by_content:
            return _name_mime_type(block)
        return image_block(access.resolve(source), by_value=True)

    return [_map_blocks(message, open_image, forgiving=_is_forgiven(message)) for message in messages]


def held(access: ImageAccessPolicy) -> Resolve:
    """Return a function that opens an image only where that reads no file and fetches nothing; otherwise `UNOPENED`.

    It opens what a message holds itself, and raises for what the policy opens nowhere.
    """

    def resolve(source: ImageSource) -> EncodedImage:
        kind = source_kind(source)
        by_value = kind == "data" or isinstance(source, (bytes, Base64Text))
        return access.resolve(source) if by_value or is_never_opened(kind, source) else UNOPENED

    def is_never_opened(kind: SourceKind, source: ImageSource) -> bool:
        if kind == "url":
            return is_refused(str(source), access.fetch_policy or FetchPolicy())
        if kind == "file":  # bare base64 looks like a name, and is read
            return access.image_root is None and not access.any_file
        return kind == "id" and access.store is None

    return resolve


def _is_forgiven(message: BaseMessage) -> bool:
    """Whether an image that cannot be read ends no run: that of a tool's result, or of an answer."""
    return isinstance(message, ToolMessage) or role_of(message) == "assistant"


def _name_mime_type(block: Any) -> Any:
    if not isinstance(block, dict) or block.get("type") not in ("image", "audio", "file"):
        return block
    key = _V0_SOURCES.get(str(block.get("source_type")))
    if key is not None and key not in block:
        block = {name: value for name, value in block.items() if name != "source_type"}
    nameless = block["type"] == "image" and "mime_type" not in block
    return {**block, "mime_type": "image/png"} if nameless and {"base64", "source_type"} & block.keys() else block


_V0_SOURCES = {"base64": "data", "url": "url", "id": "id", "text": "url"}
"""The key that LangChain reads of a v0 block, by its `source_type`: of a text it is `url`."""


_BLOCKS = ("content", "output", "value", "guardContent", "guard_content")
"""Keys under which a block may hold others."""

_PARTS = ("source", "toolResult", "document")
"""Keys of mappings that hold blocks and are none: the `source` of Bedrock's documents would read as an image's."""


def _map_blocks(message: BaseMessage, change: Callable[[Any], Any], *, forgiving: bool | None = None) -> BaseMessage:
    """Change the blocks of a message, and those inside of them.

    Args:
        message: is not changed.
        change: returns a block as it is, or another one.
        forgiving: whether a block stays as it is where `change` raises an `ImageError`. False raises it, except inside
            of the result of a tool; None raises it everywhere.
    """
    if isinstance(message.content, str):
        return message
    changed = _all_changed(message.content, change, forgiving=forgiving)
    return message if changed is message.content else message.model_copy(update={"content": changed})


def _all_changed(blocks: Sequence[Any], change: Callable[[Any], Any], *, forgiving: bool | None, depth: int = 0) -> Any:
    """Return the same list where nothing changes."""
    changed = [_changed(block, change, forgiving=forgiving, depth=depth) for block in blocks]
    return blocks if all(new is old for new, old in zip(changed, blocks, strict=True)) else changed


def _changed(
    block: Any, change: Callable[[Any], Any], *, forgiving: bool | None, depth: int, is_block: bool = True
) -> Any:
    if is_block:
        try:
            changed = change(block)
        except ImageError:
            if forgiving:
                return block
            raise
        if changed is not block or read_image(block) is not None:
            return changed
    if depth == MAX_DEPTH or not isinstance(block, Mapping):
        return block
    forgiving = forgiving if forgiving is None else forgiving or is_tool_result(block)
    held = {key: block[key] for key in (*_BLOCKS, *_PARTS) if isinstance(block.get(key), (list, tuple, Mapping))}
    new = {
        key: _changed(value, change, forgiving=forgiving, depth=depth + 1, is_block=key in _BLOCKS)
        if isinstance(value, Mapping)
        else _all_changed(value, change, forgiving=forgiving, depth=depth + 1)
        for key, value in held.items()
    }
    return block if all(new[key] is value for key, value in held.items()) else {**block, **new}
