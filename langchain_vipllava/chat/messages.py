"""LangChain messages to a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_vipllava.chat.answer_form import write_calls
from langchain_vipllava.chat.blocks import read_content
from langchain_vipllava.errors import PromptError
from langchain_vipllava.prompt.conversation import Conversation, Turn

TOKEN_IDS = "token_ids"  # noqa: S105  # no password
"""Where an answer carries its token ids, in its `response_metadata`."""

_NO_OUTPUT = "(no output)"
"""What a tool said that said nothing."""

_CHAT_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "ai": "assistant", "system": "system"}


def read_messages(messages: Sequence[BaseMessage], *, whole: bool = True) -> Conversation:
    """Read messages as the turns of one conversation.

    Messages in a row from the same side are one turn, their texts joined by line breaks; a tool's
    output is read as the user's. System messages go in front, wherever they stand.

    Args:
        messages: of one conversation.
        whole: False takes a part of one too, which may begin with an answer.

    Raises:
        PromptError: no question, an answer before the first question, or a block that cannot be read.
    """
    system: list[str] = []
    turns: list[Turn] = []
    for message in messages:
        role = role_of(message)
        text, images = read_content(message.content)
        if role == "system":
            if images:
                raise PromptError("an image in a system message; expected it in a human message.")
            system.append(text)
        elif role == "assistant":
            if images:
                raise PromptError("an image in an answer; expected it in a human message: ViP-LLaVA answers in words.")
            if not turns and not whole:
                turns.append(Turn(""))
            said = "\n".join(part for part in (text, _tool_calls(message)) if part)
            _add_answer(turns, said, _token_ids(message))
        else:
            nothing = isinstance(message, ToolMessage) and not text.strip() and not images
            _add_question(turns, Turn(_NO_OUTPUT if nothing else text, images))
    return Conversation(tuple(turns), "\n".join(system) if system else None)


def role_of(message: BaseMessage) -> str:
    """Whose message it is: "user" (a tool's output too), "assistant" or "system".

    Raises:
        PromptError: nobody's that is known.
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


def _add_question(turns: list[Turn], turn: Turn) -> None:
    if turns and turns[-1].answer is None:
        last = turns.pop()
        texts = [text for text in (last.question, turn.question) if text]
        turn = Turn("\n".join(texts), last.images + turn.images)
    turns.append(turn)


def _add_answer(turns: list[Turn], text: str, ids: tuple[int, ...] | None) -> None:
    if not turns:
        raise PromptError("the conversation begins with an answer; expected a human message first.")
    before = turns[-1].answer
    if before is None:
        turns[-1] = replace(turns[-1], answer=text, answer_ids=ids)
    else:
        turns[-1] = replace(turns[-1], answer=f"{before}\n{text}", answer_ids=None)


def _token_ids(message: BaseMessage) -> tuple[int, ...] | None:
    """The ids that `ChatVipLlava` put beside its answer, if it is one of its answers."""
    ids = message.response_metadata.get(TOKEN_IDS)
    known = isinstance(ids, (list, tuple)) and all(isinstance(token, int) for token in ids)
    return tuple(ids) if known and ids else None


def _tool_calls(message: BaseMessage) -> str:
    calls = getattr(message, "tool_calls", None) or []
    return write_calls(calls) if calls else ""
