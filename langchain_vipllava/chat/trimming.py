"""`trim_turns`: a long conversation cut down to the model's context, its image kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_core.messages import BaseMessage, ToolMessage

from langchain_vipllava.chat.blocks import read_content
from langchain_vipllava.chat.messages import role_of
from langchain_vipllava.chat.settings import MAX_TOKENS
from langchain_vipllava.errors import GenerationError, PromptTooLongError

if TYPE_CHECKING:
    from langchain_vipllava.chat.model import ChatVipLlava


def trim_turns(messages: Sequence[BaseMessage], llm: ChatVipLlava, *, room: int | None = None) -> list[BaseMessage]:
    """Drop the oldest turns, whole, until the rest fits into the model's context.

    A turn is a question with everything up to the next one. System messages, turns that hold an image and the newest
    turn are kept; LangChain's `trim_messages` drops the image first.

    Args:
        messages: a conversation that ends with a question.
        llm: whose context and tokens are meant; loads its model to count.
        room: tokens to leave for the answer; by default the model's `max_tokens`.

    Raises:
        PromptTooLongError: what has to be kept is too long by itself.
        GenerationError: a room below 1.

    Example:
        >>> from langchain_core.messages import HumanMessage
        >>> from langchain_vipllava import ChatVipLlava, trim_turns
        >>> llm = ChatVipLlava(model="bundled")
        >>> len(trim_turns([HumanMessage("Hello.")], llm))
        1
    """
    wanted = (llm.max_tokens or MAX_TOKENS) if room is None else room
    if wanted < 1:
        raise GenerationError(f"room={room}; expected at least 1 token for the answer.")
    most = llm.host.encoder.context - wanted
    system = [message for message in messages if role_of(message) == "system"]
    turns = _split(messages)
    while True:
        kept = [*system, *(message for turn in turns for message in turn)]
        tokens = llm.get_num_tokens_from_messages(kept)
        if tokens <= most:
            return kept
        spare = next((index for index, turn in enumerate(turns[:-1]) if not _holds_image(turn)), None)
        if spare is None:
            raise PromptTooLongError(
                f"the image's turn and the newest one have {tokens} tokens; with {wanted} for the answer, "
                f"{tokens - most} too many for the model's context. Ask a shorter question, or leave less room."
            )
        del turns[spare]


def _split(messages: Sequence[BaseMessage]) -> list[list[BaseMessage]]:
    turns: list[list[BaseMessage]] = []
    for message in messages:
        if role_of(message) == "system":
            continue
        if not turns or (_asks(message) and not _asks(turns[-1][-1])):
            turns.append([])
        turns[-1].append(message)
    return turns


def _asks(message: BaseMessage) -> bool:
    return role_of(message) == "user" and not isinstance(message, ToolMessage)


def _holds_image(turn: Sequence[BaseMessage]) -> bool:
    return any(read_content(message.content)[1] for message in turn)
