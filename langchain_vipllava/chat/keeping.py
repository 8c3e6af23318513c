"""Pictures out of messages into a store, and back: a checkpoint then holds a short id for each."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_vipllava.chat.blocks import read_picture
from langchain_vipllava.errors import PictureError, PromptError
from langchain_vipllava.pictures.admission import Admission, is_elsewhere
from langchain_vipllava.pictures.load import ImageSource, encode_image, image_type
from langchain_vipllava.pictures.store import PREFIX, PictureId, PictureStore


def keep_pictures(messages: Sequence[BaseMessage], store: PictureStore) -> list[BaseMessage]:
    """Put the pictures of messages into a store, and their ids into the messages.

    For a LangGraph state: what goes into the checkpoints is an id of 71 characters, whatever the picture's size, and
    `ChatVipLlava(picture_store=store)` finds the picture by it.

    Args:
        messages: with pictures in any form that `ChatVipLlava` reads. They are not changed.
        store: where the pictures go, as bytes. URLs are left as they are.

    Returns:
        The same messages; every picture is a `{"type": "image", "file_id": ...}` block with its `extras`.

    Raises:
        PictureError: a picture that cannot be read.

    Example:
        >>> from langchain_core.messages import HumanMessage
        >>> from PIL import Image
        >>> from langchain_vipllava import PictureStore, keep_pictures
        >>> block = {"type": "image", "image": Image.new("RGB", (336, 336))}
        >>> (kept,) = keep_pictures([HumanMessage([block, {"type": "text", "text": "What is it?"}])], PictureStore())
        >>> kept.content[0]["file_id"][:7]
        'sha256-'
    """
    return [_with_blocks(message, _Keeper(store)) for message in messages]


def bring_pictures(messages: Sequence[BaseMessage], store: PictureStore) -> list[BaseMessage]:
    """Undo `keep_pictures`: base64 instead of ids, for a model that knows nothing of the store.

    Raises:
        PictureError: a picture that the store has no more.
    """
    return [_with_blocks(message, _Bringer(store)) for message in messages]


def prepare(messages: Sequence[BaseMessage], admission: Admission | None) -> list[BaseMessage]:
    """Make the pictures of messages such that LangChain itself can handle them, before we are asked.

    Base64 without a mime type gets one: LangChain would refuse it. For a cache, which tells prompts apart by their
    `repr`, pictures that are objects or files become base64: the `repr` of a large array leaves its middle out, and
    what a file holds may change.

    Args:
        messages: not changed.
        admission: which files may be opened for a cache; None where there is no cache.

    Raises:
        PictureError: a picture that cannot be read.
    """
    change = _name_type if admission is None else _Inliner(admission)
    return [_with_blocks(message, change) for message in messages]


def _name_type(block: Any) -> Any:
    nameless = isinstance(block, dict) and block.get("type") == "image" and "mime_type" not in block
    # which type is of no account to us: the picture says itself what it is
    return {**block, "mime_type": "image/png"} if nameless and {"base64", "source_type"} & block.keys() else block


@dataclass(frozen=True)
class _Inliner:
    admission: Admission

    def __call__(self, block: Any) -> Any:
        source = None if isinstance(block, str) else read_picture(block)
        if source is None or isinstance(source, (bytes, PictureId)) or is_elsewhere(source):
            return _name_type(block)
        data = base64.b64encode(encode_image(self.admission.admit(source)) or b"").decode("ascii")
        return {"type": "image", "base64": data, "mime_type": "image/png"}


def find_kept(pictures: Sequence[ImageSource], store: PictureStore | None) -> tuple[ImageSource, ...]:
    """The pictures of a conversation, those that a store keeps as their bytes.

    Raises:
        PictureError: a picture that the store has no more; an id without a store.
    """

    def find(picture: ImageSource) -> ImageSource:
        if not isinstance(picture, PictureId):
            return picture
        if store is None:
            raise PictureError(f"a message names the kept picture {picture}; give ChatVipLlava its picture_store.")
        return store.find(picture)

    return tuple(find(picture) for picture in pictures)


@dataclass(frozen=True)
class _Keeper:
    store: PictureStore

    def __call__(self, block: Any) -> Any:
        try:
            source = read_picture(block)
        except PromptError:  # no block of ours: a state holds other models' answers too
            return block
        data = None if source is None or isinstance(source, PictureId) else encode_image(source)
        if data is None:
            return block
        kept = {"type": "image", "file_id": self.store.keep(data)}
        return kept | _mime_type(data) | {name: block[name] for name in ("extras", "id") if name in block}


@dataclass(frozen=True)
class _Bringer:
    store: PictureStore

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
