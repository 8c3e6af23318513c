"""Pictures out of messages into a store, and back: a checkpoint then holds a short id for each."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_vipllava.chat.blocks import read_picture
from langchain_vipllava.errors import PictureError
from langchain_vipllava.pictures.load import ImageSource, encode_image
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
        >>> from langchain_vipllava import PREFIX, PictureId, PictureStore, keep_pictures
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
        source = read_picture(block)
        data = None if source is None or isinstance(source, PictureId) else encode_image(source)
        if data is None:
            return block
        kept = {"type": "image", "file_id": self.store.keep(data)}
        return kept | {name: block[name] for name in ("mime_type", "extras", "id") if name in block}


@dataclass(frozen=True)
class _Bringer:
    store: PictureStore

    def __call__(self, block: Any) -> Any:
        if not isinstance(block, Mapping) or not str(block.get("file_id", "")).startswith(PREFIX):
            return block
        data = base64.b64encode(self.store.find(block["file_id"])).decode("ascii")
        return {**{name: value for name, value in block.items() if name != "file_id"}, "base64": data}


def _with_blocks(message: BaseMessage, change: _Keeper | _Bringer) -> BaseMessage:
    if isinstance(message.content, str):
        return message
    return message.model_copy(update={"content": [change(block) for block in message.content]})
