"""LangChain messages to a conversation, and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
)
from langchain_core.prompt_values import PromptValue

from langchain_vipllava.chat.answers import answer_text
from langchain_vipllava.chat.blocks import ImagePart, read_parts
from langchain_vipllava.chat.guard import tree_errors
from langchain_vipllava.chat.tool_results import is_tool_result
from langchain_vipllava.errors import ImageError, PromptError, shorten
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.source import ImageSource
from langchain_vipllava.prompt.conversation import CONTINUE, NO_OUTPUT, Conversation, Turn
from langchain_vipllava.protocol.limits import RequestLimits

TOKEN_IDS = "token_ids"  # noqa: S105  # not a password
"""Key of an answer's token ids in its `response_metadata`."""

UNOPENED = EncodedImage(b"", name="an image that was not opened")
"""Stands for every image where images only count."""

_ONLY_IMAGES = "(image)"
"""Text of a tool message that has only images and no question in front of it: a prompt needs one."""

Role = Literal["user", "assistant", "system"]

_CHAT_ROLES: dict[str, Role] = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
}
"""Roles of a `ChatMessage`: LangChain's, OpenAI's and Google's."""

Resolve = Callable[[ImageSource], EncodedImage]
"""Opens an image."""


def as_messages(model_input: LanguageModelInput) -> list[BaseMessage]:
    """Read what `invoke` takes: a text, messages, tuples, dicts, or the value of a prompt template.

    Raises:
        Exception: whatever LangChain raises for anything else.
    """
    if isinstance(model_input, PromptValue):
        return model_input.to_messages()
    return [HumanMessage(model_input)] if isinstance(model_input, str) else convert_to_messages(model_input)


def read_messages(
    messages: Sequence[BaseMessage],
    resolve: Resolve,
    *,
    resolve_result: Resolve | None = None,
    allow_partial: bool = False,
) -> Conversation:
    """Read messages as the turns of one conversation.

    Consecutive messages of the same side are one turn, their texts joined by line breaks; a tool's output is read as
    the user's. System messages go in front, wherever they stand. A conversation that begins with an answer has an empty
    question in front of it; one that ends with an answer gets the question "Continue.". An image of a tool's result
    that cannot be read is named, with a warning. No image is opened before all messages are read.

    Args:
        messages: one conversation.
        resolve: opens an image; `ImageAccessPolicy.resolve`, or a function that returns `UNOPENED`.
        resolve_result: opens an image of a tool's result; None for `resolve`.
        allow_partial: whether this is a part of a conversation, which may end with an answer.

    Raises:
        PromptError: no message to answer, or one without content; a block of the user's that cannot be read.
        ImageError: from `resolve`.
    """
    read = [(message, role_of(message), parts_of(message)) for message in messages]
    opener = _Opener(resolve, resolve_result or resolve)
    system: list[str] = []
    turns: list[Turn] = []
    places: list[int] = []  # of each turn's newest question among the messages
    for place, (message, role, parts) in enumerate(read):
        images = sum(isinstance(part, ImagePart) for part in parts)
        if role == "system":
            if images:
                raise PromptError("an image in a system message; expected it in a human message.")
            system.append(_joined(parts))
        elif role == "assistant":
            if images:
                _warn_of_left_out(images)
            if not turns:
                turns.append(Turn(""))
            text = answer_text(message, (part for part in parts if isinstance(part, str)))
            _add_answer(turns, text, read_token_ids(message))
        else:
            _add_question(turns, _question(message, opener.question(parts), turns))
        places += [place] * (len(turns) - len(places))
        if role == "user":
            places[-1] = place
    opener.warn()
    if not allow_partial:
        _check_questions(turns, places, messages)
        if turns and turns[-1].answer is not None:
            turns.append(Turn(CONTINUE))
    return Conversation(tuple(turns), "\n".join(system) if system else None)


@dataclass
class _Opener:
    """Opens the images of messages; names those of tools' results that cannot be read."""

    resolve: Resolve
    resolve_result: Resolve
    errors: list[ImageError] = field(default_factory=list)

    def question(self, parts: Sequence[str | ImagePart]) -> Turn:
        """Return the question of one message."""
        texts: list[str] = []
        images: list[EncodedImage] = []
        for part in parts:
            opened = part if isinstance(part, str) else self._open(part)
            (texts if isinstance(opened, str) else images).append(opened)  # type: ignore[arg-type]  # each its own
        return Turn("\n".join(texts), tuple(images))

    def _open(self, part: ImagePart) -> str | EncodedImage:
        if part.name is None:
            return self.resolve(part.source)
        try:
            image = self.resolve_result(part.source)
            if image is not UNOPENED:
                image.decode()  # damage shows here, and what is decoded is kept for the model
        except ImageError as error:
            self.errors.append(error)
            return part.name
        return image

    def warn(self) -> None:
        """Say once what was named."""
        if self.errors:
            warnings.warn(
                f"{len(self.errors)} image(s) of a tool's result cannot be read, and are named in the prompt instead: "
                f"{self.errors[0]}",
                stacklevel=3,
            )


def _question(message: BaseMessage, read: Turn, turns: Sequence[Turn]) -> Turn:
    """Return what a message asks; the result of a tool has words, whatever it returned."""
    if read.question.strip() or not _is_result(message):
        return read
    if not read.images:
        return replace(read, question=NO_OUTPUT)
    return read if any(turn.question for turn in turns) else replace(read, question=_ONLY_IMAGES)


def _is_result(message: BaseMessage) -> bool:
    if isinstance(message, ToolMessage):
        return True
    blocks = message.content if isinstance(message.content, list) else []
    return any(isinstance(block, dict) and is_tool_result(block) for block in blocks)


def _check_questions(turns: Sequence[Turn], places: Sequence[int], messages: Sequence[BaseMessage]) -> None:
    """Check that each question asks something, as `PromptFormat.render` does, which does not know the messages."""
    for index, (turn, place) in enumerate(zip(turns, places, strict=True)):
        is_greeting = not index and turn.answer is not None and not turn.images
        if turn.question.strip() or (index and turn.images) or is_greeting:
            continue
        what = "an image without a question" if turn.images else "an empty question"
        raise PromptError(
            f"messages[{place}], the {type(messages[place]).__name__} in place {place + 1} of {len(messages)}, is "
            f"{what}; expected text, such as 'Describe the image.', or no such message."
        )


def parts_of(message: BaseMessage) -> list[str | ImagePart]:
    """Return the texts and the unopened images of a message.

    Raises:
        PromptError: a block of the user's that is neither text nor image.
    """
    is_tool = isinstance(message, ToolMessage)
    return read_parts(message.content, "tool" if is_tool else "assistant" if _is_answer(message) else "user")


def has_image(message: BaseMessage) -> bool:
    """Whether the model sees an image in a message; those of answers are left out.

    Raises:
        PromptError: a block of the user's that is neither text nor image.
    """
    return not _is_answer(message) and any(isinstance(part, ImagePart) for part in parts_of(message))


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


@tree_errors(PromptError)
def check_size(messages: Sequence[BaseMessage], limits: RequestLimits) -> None:
    """Check the size of messages before an image is opened, whatever their blocks are.

    Raises:
        PromptTooLongError: too much text.
        PromptError: messages that cannot be read.
        GenerationError: too many images.
    """
    limits.check_texts(texts_of(messages))
    parts = (part for message in messages if not _is_answer(message) for part in parts_of(message))
    limits.check_images([part for part in parts if isinstance(part, ImagePart)])


def texts_of(messages: Sequence[BaseMessage]) -> Iterator[str]:
    """Yield the texts of messages, whatever their other blocks are."""
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
    if isinstance(message, ChatMessage):
        if role := _CHAT_ROLES.get(message.role.strip().lower()):
            return role
        raise PromptError(
            f"a ChatMessage of role {shorten(message.role)}; expected human, AI and system messages, or one of the "
            f"roles {', '.join(_CHAT_ROLES)}. A tool's result is a ToolMessage."
        )
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


def _joined(parts: Sequence[str | ImagePart]) -> str:
    return "\n".join(part for part in parts if isinstance(part, str))
