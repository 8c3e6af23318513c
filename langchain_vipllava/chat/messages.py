"""LangChain messages to a conversation, and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_vipllava.chat.blocks import Content, read_content
from langchain_vipllava.errors import PromptError
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.source import ImageSource
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol.limits import RequestLimits
from langchain_vipllava.protocol.output_spec import format_calls

TOKEN_IDS = "token_ids"  # noqa: S105  # not a password
"""Key of an answer's token ids in its `response_metadata`."""

UNOPENED = EncodedImage(b"", name="an image that was not opened")
"""Stands for every image where images only count."""

CONTINUE = "Continue."
"""Question behind a conversation that ends with an answer: agents pass such a one on for a structured response."""

_NO_OUTPUT = "(no output)"
"""Text of a tool message that has none."""

_ONLY_IMAGES = "(image)"
"""Text of a tool message that has only images and no question in front of it: a prompt needs one."""

Role = Literal["user", "assistant", "system"]

_CHAT_ROLES: dict[str, Role] = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "system": "system",
}


def read_messages(
    messages: Sequence[BaseMessage], resolve: Callable[[ImageSource], EncodedImage], *, allow_partial: bool = False
) -> Conversation:
    """Read messages as the turns of one conversation.

    Consecutive messages of the same side are one turn, their texts joined by line breaks; a tool's output is read as
    the user's. System messages go in front, wherever they stand. A conversation that begins with an answer has an empty
    question in front of it; one that ends with an answer gets the question "Continue.".

    Args:
        messages: one conversation.
        resolve: opens an image; `ImageAccessPolicy.resolve`, or a function that returns `UNOPENED`.
        allow_partial: whether this is a part of a conversation, which may end with an answer.

    Raises:
        PromptError: no message to answer, or a block of the user's that cannot be read.
        ImageError: from `resolve`.
    """
    system: list[str] = []
    turns: list[Turn] = []
    for message in messages:
        role = role_of(message)
        text, sources = content_of(message)
        if role == "system":
            if sources:
                raise PromptError("an image in a system message; expected it in a human message.")
            system.append(text)
        elif role == "assistant":
            if sources:
                _warn_of_left_out(len(sources))
            if not turns:
                turns.append(Turn(""))
            answer = "\n".join(part for part in (text, _calls_text(message)) if part)
            _add_answer(turns, answer, read_token_ids(message))
        else:
            if isinstance(message, ToolMessage) and not text.strip():
                text = _NO_OUTPUT if not sources else "" if any(turn.question for turn in turns) else _ONLY_IMAGES
            _add_question(turns, Turn(text, tuple(map(resolve, sources))))
    if turns and turns[-1].answer is not None and not allow_partial:
        turns.append(Turn(CONTINUE))
    return Conversation(tuple(turns), "\n".join(system) if system else None)


def content_of(message: BaseMessage) -> Content:
    """Return a message's text and the sources of its images.

    Raises:
        PromptError: a block of the user's that is neither text nor image.
    """
    is_tool = isinstance(message, ToolMessage)
    return read_content(message.content, "tool" if is_tool else "assistant" if _is_answer(message) else "user")


def unopened(source: ImageSource) -> EncodedImage:
    """Return `UNOPENED` in place of any image."""
    del source
    return UNOPENED


def warn_of_images(count: int) -> None:
    """Warn that a conversation shows more images than the model was trained on."""
    warnings.warn(
        f"{count} images in one conversation; ViP-LLaVA was trained on one. multi_image='restart' begins at the newest "
        "one.",
        stacklevel=5,
    )


def check_size(messages: Sequence[BaseMessage], limits: RequestLimits) -> None:
    """Check the size of messages before they are read, whatever their blocks are.

    Raises:
        PromptTooLongError: too much text.
        GenerationError: too many messages or images.
    """
    limits.check_texts(_texts_of(messages))
    blocks = (block for message in messages if isinstance(message.content, list) for block in message.content)
    limits.check_images([block for block in blocks if isinstance(block, dict) and "image" in str(block.get("type"))])


def _texts_of(messages: Sequence[BaseMessage]) -> Iterator[str]:
    for message in messages:
        for block in [message.content] if isinstance(message.content, str) else message.content:
            text = block.get("text") if isinstance(block, dict) else block
            if isinstance(text, str):
                yield text


def write_messages(conversation: Conversation, *, by_value: bool) -> list[BaseMessage]:
    """Write a conversation as messages.

    Args:
        conversation: its answers keep their token ids.
        by_value: image blocks hold the `EncodedImage` itself, for `ChatVipLlava` in this process; otherwise base64,
            which any chat model reads.
    """
    messages: list[BaseMessage] = []
    if conversation.system is not None:
        messages.append(SystemMessage(conversation.system))
    for turn in conversation.turns:
        blocks: list[str | dict[Any, Any]] = [image_block(image, by_value=by_value) for image in turn.images]
        content = [*blocks, {"type": "text", "text": turn.question}] if blocks else turn.question
        messages.append(HumanMessage(content))
        if turn.answer is not None:
            metadata = {} if turn.answer_ids is None else {TOKEN_IDS: list(turn.answer_ids)}
            messages.append(AIMessage(turn.answer, response_metadata=metadata))
    return messages


def image_block(image: EncodedImage, *, by_value: bool) -> dict[str, Any]:
    """Return a content block for an image; see `write_messages`."""
    if by_value:
        return {"type": "image", "image": image}
    return {"type": "image", "base64": image.base64, "mime_type": image.mime_type}


def role_of(message: BaseMessage) -> Role:
    """Return whose message it is; a tool's output is the user's.

    Raises:
        PromptError: an unknown role.
    """
    if isinstance(message, (HumanMessage, ToolMessage)):
        return "user"
    if isinstance(message, AIMessage):
        return "assistant"
    if isinstance(message, SystemMessage):
        return "system"
    if isinstance(message, ChatMessage) and message.role.lower() in _CHAT_ROLES:
        return _CHAT_ROLES[message.role.lower()]
    raise PromptError(
        f"a {type(message).__name__} of type {message.type!r}; expected human, AI, system and tool messages."
    )


def read_token_ids(message: BaseMessage) -> tuple[int, ...] | None:
    """Return the token ids that `ChatVipLlava` put beside its answer; None for any other message."""
    ids = message.response_metadata.get(TOKEN_IDS)
    valid = isinstance(ids, (list, tuple)) and all(isinstance(token, int) for token in ids)
    return tuple(ids) if valid and ids else None


def _add_question(turns: list[Turn], turn: Turn) -> None:
    if turns and turns[-1].answer is None:
        last = turns.pop()
        texts = [text for text in (last.question, turn.question) if text]
        turn = Turn("\n".join(texts), last.images + turn.images)
    turns.append(turn)


def _add_answer(turns: list[Turn], text: str, ids: tuple[int, ...] | None) -> None:
    before = turns[-1].answer
    if before is None:
        turns[-1] = replace(turns[-1], answer=text, answer_ids=ids)
    else:
        turns[-1] = replace(turns[-1], answer=f"{before}\n{text}", answer_ids=None)


def _is_answer(message: BaseMessage) -> bool:
    return role_of(message) == "assistant"


def _warn_of_left_out(count: int) -> None:
    warnings.warn(
        f"{count} image(s) in an answer are left out: ViP-LLaVA answers in text. Show them in a human message.",
        stacklevel=2,
    )


def _calls_text(message: BaseMessage) -> str:
    calls = getattr(message, "tool_calls", None) or []
    return format_calls((call["name"], call["args"]) for call in calls) if calls else ""
