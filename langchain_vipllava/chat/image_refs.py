"""Images out of messages into a store, and back: a checkpoint then holds a short id for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.globals import get_llm_cache
from langchain_core.messages import BaseMessage

from langchain_vipllava.chat.blocks import read_image
from langchain_vipllava.chat.guard import tree_errors
from langchain_vipllava.chat.messages import image_block
from langchain_vipllava.errors import PromptError
from langchain_vipllava.images.access import ImageAccessPolicy
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.inline import Base64Text
from langchain_vipllava.images.source import source_kind
from langchain_vipllava.images.store import ImageStore
from langchain_vipllava.images.stored_files import ID_PREFIX


@tree_errors(PromptError)
def keep_images(
    messages: Sequence[BaseMessage], store: ImageStore, *, access: ImageAccessPolicy | None = None
) -> list[BaseMessage]:
    """Put the images of messages into a store, and their ids into the messages.

    For a LangGraph state: the checkpoints then hold an id of 71 characters, whatever the size of the image, and
    `ChatVipLlava(image_store=store)` finds the image by it.

    Args:
        messages: with images in any form that `ChatVipLlava` reads. They are not changed.
        store: where the images go. URLs are left as they are.
        access: which files may be opened that messages name; None opens no file. `ImageAccessPolicy.trusted()`
            opens any, where the program writes the messages itself.

    Returns:
        The same messages; every image is a `{"type": "image", "file_id": ...}` block with its `extras`.

    Raises:
        ImageError: an image that cannot be read, or a file that may not be opened.

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

    return [_map_blocks(message, keep) for message in messages]


@tree_errors(PromptError)
def restore_images(messages: Sequence[BaseMessage], store: ImageStore) -> list[BaseMessage]:
    """Undo `keep_images`: base64 in place of ids, for a model that does not know the store.

    Raises:
        ImageError: an image that the store no longer has.
    """

    def restore(block: Any) -> Any:
        if not isinstance(block, Mapping) or not str(block.get("file_id", "")).startswith(ID_PREFIX):
            return block
        image = EncodedImage(store.get(block["file_id"]))
        return image_block(image, by_value=False) | {name: value for name, value in block.items() if name != "file_id"}

    return [_map_blocks(message, restore) for message in messages]


def name_mime_types(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Give base64 images without a mime type one: LangChain refuses them before the model is asked.

    Any type will do, because the model looks it up in the bytes.
    """
    return [_map_blocks(message, _name_mime_type) for message in messages]


def is_cached(cache: object) -> bool:
    """Whether LangChain caches the answers of a chat model with this `cache`."""
    return bool(cache) or (cache is None and get_llm_cache() is not None)


def open_for_cache(messages: Sequence[BaseMessage], access: ImageAccessPolicy) -> list[BaseMessage]:
    """Open the images that LangChain's cache could not identify: files, PIL images, arrays.

    The cache compares prompts by their text and the `repr` of other objects. What a file holds can change, and the
    `repr` of an array leaves its middle out; that of an `EncodedImage` names its content.

    Raises:
        ImageError: an image that cannot be read, or must not be.
    """

    def open_image(block: Any) -> Any:
        source = None if isinstance(block, str) else read_image(block)
        by_content = isinstance(source, (bytes, Base64Text)) or source_kind(source) in ("id", "url", "data")
        if source is None or by_content:
            return _name_mime_type(block)
        return image_block(access.resolve(source), by_value=True)

    return [_map_blocks(message, open_image) for message in messages]


def _name_mime_type(block: Any) -> Any:
    nameless = isinstance(block, dict) and block.get("type") == "image" and "mime_type" not in block
    return {**block, "mime_type": "image/png"} if nameless and {"base64", "source_type"} & block.keys() else block


def _map_blocks(message: BaseMessage, change: Callable[[Any], Any]) -> BaseMessage:
    if isinstance(message.content, str):
        return message
    changed = [change(block) for block in message.content]
    if all(new is old for new, old in zip(changed, message.content, strict=True)):
        return message
    return message.model_copy(update={"content": changed})
