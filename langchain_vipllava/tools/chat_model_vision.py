"""`ChatModelVision`: any LangChain chat model as the workspace's vision model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from langchain_vipllava.backends.scoring import log_probability
from langchain_vipllava.chat.confidence import confidence_of
from langchain_vipllava.chat.messages import read_token_ids, write_messages
from langchain_vipllava.chat.model import ChatVipLlava
from langchain_vipllava.chat.settings import CallSettings
from langchain_vipllava.errors import GenerationError
from langchain_vipllava.images.view import view_size_of
from langchain_vipllava.prompt.conversation import Conversation
from langchain_vipllava.workspace.vision_model import ModelReply

_CONFIG: RunnableConfig = {"tags": ["nostream"]}
"""Keeps the vision model's tokens out of the agent's own stream. Inside a tool, LangChain adds the tool's callbacks."""


@dataclass(frozen=True)
class ChatModelVision:
    """Asks a chat model that sees images.

    Attributes:
        chat_model: `ChatVipLlava` gets images as they are, any other model as base64.
    """

    chat_model: BaseChatModel

    @property
    def view_size(self) -> int:
        """Side of the square that the model reads of an image, in pixels."""
        return view_size_of(self.chat_model)

    def answer(self, conversation: Conversation) -> ModelReply:
        """Answer and wait."""
        return _reply(self.chat_model.invoke(self._messages(conversation), _CONFIG))

    async def aanswer(self, conversation: Conversation) -> ModelReply:
        """Answer without blocking the event loop."""
        return _reply(await self.chat_model.ainvoke(self._messages(conversation), _CONFIG))

    def answer_rated(self, conversation: Conversation) -> ModelReply:
        """Answer and wait; answers of a `ChatVipLlava` have a confidence, where its backend knows it."""
        return _rated(self.chat_model.invoke(self._messages(conversation), _CONFIG, **self._logprobs))

    async def aanswer_rated(self, conversation: Conversation) -> ModelReply:
        """Do the same without blocking the event loop."""
        return _rated(await self.chat_model.ainvoke(self._messages(conversation), _CONFIG, **self._logprobs))

    @property
    def _logprobs(self) -> dict[str, Any]:
        return {"logprobs": True} if isinstance(self.chat_model, ChatVipLlava) else {}

    def stream(self, conversation: Conversation) -> Generator[str | ModelReply, None, None]:
        """Yield pieces of text, and the whole answer last."""
        whole: Any = None
        for chunk in self.chat_model.stream(self._messages(conversation), _CONFIG):
            whole = chunk if whole is None else whole + chunk
            if chunk.text:
                yield str(chunk.text)
        if whole is not None:
            yield _reply(whole)

    async def astream(self, conversation: Conversation) -> AsyncGenerator[str | ModelReply, None]:
        """Yield pieces of text, and the whole answer last."""
        whole: Any = None
        async for chunk in self.chat_model.astream(self._messages(conversation), _CONFIG):
            whole = chunk if whole is None else whole + chunk
            if chunk.text:
                yield str(chunk.text)
        if whole is not None:
            yield _reply(whole)

    def score(self, conversation: Conversation, answer: str) -> float:
        """Return the natural logarithm of the probability of an answer to the last question.

        Raises:
            GenerationError: the chat model is no `ChatVipLlava`, or its backend does not know.
        """
        chat = self.chat_model
        if not isinstance(chat, ChatVipLlava):
            raise GenerationError(
                f"{type(chat).__name__} does not say how likely an answer is; expected a ChatVipLlava that sees."
            )
        request = CallSettings.read(chat, None, {}).request(conversation)
        return log_probability(chat.backend, request, answer, timeout=chat.timeout)

    def _messages(self, conversation: Conversation) -> list[BaseMessage]:
        return write_messages(conversation, by_value=isinstance(self.chat_model, ChatVipLlava))


def _reply(message: BaseMessage) -> ModelReply:
    return ModelReply(str(message.text) or _refusal(message), read_token_ids(message))


def _rated(message: BaseMessage) -> ModelReply:
    return replace(_reply(message), confidence=confidence_of(message))


def _refusal(message: BaseMessage) -> str:
    """The text of an answer that consists of refusal blocks, which `text` leaves out."""
    blocks = [] if isinstance(message.content, str) else message.content
    return "\n".join(str(block.get("refusal") or "") for block in blocks if isinstance(block, dict))
