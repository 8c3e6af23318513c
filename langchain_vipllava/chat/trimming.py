"""`trim_turns`: a long conversation cut down to the model's context, its image kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage, ToolMessage

from langchain_vipllava.chat.guard import tree_errors
from langchain_vipllava.chat.messages import as_messages, has_image, role_of
from langchain_vipllava.errors import GenerationError, PromptError, PromptTooLongError
from langchain_vipllava.protocol.chat_request import DEFAULT_MAX_TOKENS

if TYPE_CHECKING:
    from langchain_vipllava.chat.model import ChatVipLlava


@tree_errors(PromptError)
def trim_turns(messages: LanguageModelInput, llm: ChatVipLlava, *, room: int | None = None) -> list[BaseMessage]:
    """Drop the oldest turns, whole, until the rest fits into the model's context.

    A turn is a question with everything up to the next one. System messages, turns with an image and the newest turn
    are kept; LangChain's `trim_messages` drops the image first.

    Args:
        messages: a conversation that ends with a question, in any form that `invoke` takes.
        llm: the model whose context and tokenizer count; loaded to count.
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
    reserved = (llm.max_tokens or DEFAULT_MAX_TOKENS) if room is None else room
    if reserved < 1:
        raise GenerationError(f"room={room}; expected at least 1 token for the answer.")
    max_tokens = llm.backend.context_length - reserved
    conversation = as_messages(messages)
    system = [message for message in conversation if role_of(message) == "system"]
    turns = _split(conversation)
    while True:
        kept = [*system, *(message for turn in turns for message in turn)]
        oldest = next((index for index, turn in enumerate(turns[:-1]) if not _has_image(turn)), None)
        try:
            tokens = llm.get_num_tokens_from_messages(kept)
        except PromptTooLongError:  # more text than `limits` allow to count
            if oldest is None:
                raise
            del turns[oldest]
            continue
        if tokens <= max_tokens:
            return kept
        if oldest is None:
            raise PromptTooLongError(
                f"the image's turn and the newest one have {tokens} tokens; with {reserved} for the answer, "
                f"{tokens - max_tokens} too many for the model's context. Ask a shorter question, or leave less room."
            )
        del turns[oldest]


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


def _has_image(turn: Sequence[BaseMessage]) -> bool:
    return any(map(has_image, turn))
