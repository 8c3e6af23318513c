"""`choose_backend`: what answers for a chat model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_vipllava.chat.settings import LOADING, NO_MODEL
from langchain_vipllava.errors import CheckpointError
from langchain_vipllava.protocol.backend import Backend

if TYPE_CHECKING:
    from langchain_vipllava.chat.model import ChatVipLlava


def choose_backend(chat: ChatVipLlava) -> Backend:
    """Return the backend that was passed, that of the servers, or that of the checkpoint in this process.

    Raises:
        CheckpointError: `model` is not the name of the backend that was passed; impossible loading arguments.
        GenerationError: impossible addresses.
    """
    if chat.given_backend is not None:
        if chat.given_backend.name != chat.model:
            raise CheckpointError(
                f"model={chat.model!r}, but the backend that was passed is {chat.given_backend.name!r}; leave model "
                "out, or make a ChatVipLlava without backend=."
            )
        return chat.given_backend
    if chat.base_url is not None:
        from langchain_vipllava.backends.served import ServedBackend  # noqa: PLC0415  # a local model needs none

        return ServedBackend(
            chat.base_url,
            chat.model,
            tokenizer=chat.tokenizer,
            api_key=None if chat.api_key is None else chat.api_key.get_secret_value() or None,
            max_retries=chat.max_retries,
            limits=chat.limits,
        )
    if not chat.model:  # a server may have one model, whose name it says
        raise CheckpointError(NO_MODEL)
    from langchain_vipllava.backends.local import LocalBackend  # noqa: PLC0415  # `backend=` may not need it

    return LocalBackend.load(limits=chat.limits, **{name: getattr(chat, name) for name in LOADING})
