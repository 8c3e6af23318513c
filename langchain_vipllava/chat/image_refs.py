"""Images out of messages into a store, and back: a checkpoint then holds a short id for each."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_vipllava.chat.blocks import read_image
from langchain_vipllava.errors import ImageError, PromptError
from langchain_vipllava.images.access import Admission, is_elsewhere
from langchain_vipllava.images.load import ImageSource, encode_image, image_type
from langchain_vipllava.images.store import PREFIX, ImageId, ImageStore


def keep_images(messages: Sequence[BaseMessage], store: ImageStore) -> list[BaseMessage]:
    """Put the images of messages into a store, and their ids into the messages.

    For a LangGraph state: what goes into the checkpoints is an id of 71 characters, whatever the image's size, and
    `ChatVipLlava(image_store=store)` finds the image by it.

    Args:
        messages: with images in any form that `ChatVipLlava` reads. They are not changed.
        store: where the images go, as bytes. URLs are left as they are.

    Returns:
        The same messages; every image is a `{"type": "image", "file_id": ...}` block with its `extras`.

    Raises:
        ImageError: an image that cannot be read.

    Example:
        >>> from langchain_core.messages import HumanMessage
        >>> from PIL import Image
        >>> from langchain_vipllava import ImageStore, keep_images
        >>> block = {"type": "image", "image": Image.new("RGB", (336, 336))}
        >>> (kept,) = keep_images([HumanMessage([block, {"type": "text", "text": "What is it?"}])], ImageStore())
        >>> kept.content[0]["file_id"][:7]
        'sha256-'
    """
    return [_with_blocks(message, _Keeper(store)) for message in messages]


def restore_images(messages: Sequence[BaseMessage], store: ImageStore) -> list[BaseMessage]:
    """Undo `keep_images`: base64 instead of ids, for a model that knows nothing of the store.

    Raises:
        ImageError: an image that the store has no more.
    """
    return [_with_blocks(message, _Bringer(store)) for message in messages]


def prepare(messages: Sequence[BaseMessage], admission: Admission | None) -> list[BaseMessage]:
    """Make the images of messages such that LangChain itself can handle them, before we are asked.

    Base64 without a mime type gets one: LangChain would refuse it. For a cache, which tells prompts apart by their
    `repr`, images that are objects or files become base64: the `repr` of a large array leaves its middle out, and
    what a file holds may change.

    Args:
        messages: not changed.
        admission: which files may be opened for a cache; None where there is no cache.

    Raises:
        ImageError: an image that cannot be read.
    """
    change = _name_type if admission is None else _Inliner(admission)
    return [_with_blocks(message, change) for message in messages]


def _name_type(block: Any) -> Any:
    nameless = isinstance(block, dict) and block.get("type") == "image" and "mime_type" not in block
    # which type is of no account to us: the image says itself what it is
    return {**block, "mime_type": "image/png"} if nameless and {"base64", "source_type"} & block.keys() else block


@dataclass(frozen=True)
class _Inliner:
    admission: Admission

    def __call__(self, block: Any) -> Any:
        source = None if isinstance(block, str) else read_image(block)
        if source is None or isinstance(source, (bytes, ImageId)) or is_elsewhere(source):
            return _name_type(block)
        data = base64.b64encode(encode_image(self.admission.admit(source)) or b"").decode("ascii")
        return {"type": "image", "base64": data, "mime_type": "image/png"}


def resolve_refs(images: Sequence[ImageSource], store: ImageStore | None) -> tuple[ImageSource, ...]:
    """The images of a conversation, those that a store keeps as their bytes.

    Raises:
        ImageError: an image that the store has no more; an id without a store.
    """

    def find(image: ImageSource) -> ImageSource:
        if not isinstance(image, ImageId):
            return image
        if store is None:
            raise ImageError(f"a message names the kept image {image}; give ChatVipLlava its image_store.")
        return store.find(image)

    return tuple(find(image) for image in images)


@dataclass(frozen=True)
class _Keeper:
    store: ImageStore

    def __call__(self, block: Any) -> Any:
        try:
            source = read_image(block)
        except PromptError:  # no block of ours: a state holds other models' answers too
            return block
        data = None if source is None or isinstance(source, ImageId) else encode_image(source)
        if data is None:
            return block
        kept = {"type": "image", "file_id": self.store.keep(data)}
        return kept | _mime_type(data) | {name: block[name] for name in ("extras", "id") if name in block}


@dataclass(frozen=True)
class _Bringer:
    store: ImageStore

    def __call__(self, block: Any) -> Any:
        if not isinstance(block, Mapping) or not str(block.get("file_id", "")).startswith(PREFIX):
            return block
        data = self.store.find(block["file_id"])
        brought = {name: value for name, value in block.items() if name != "file_id"}
        return {"mime_type": "image/png", **brought, "base64": base64.b64encode(data).decode("ascii")}


def _mime_type(data: bytes) -> dict[str, str]:
    mime = image_type(data)
    return {} if mime is None else {"mime_type": mime}


def _with_blocks(message: BaseMessage, change: Callable[[Any], Any]) -> BaseMessage:
    if isinstance(message.content, str):
        return message
    changed = [change(block) for block in message.content]
    if all(new is old for new, old in zip(changed, message.content, strict=True)):
        return message
    return message.model_copy(update={"content": changed})
