"""`BackendVision`: a backend as the workspace's vision model, with no LangChain between them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace

from langchain_vipllava.backends.scoring import log_probability
from langchain_vipllava.images.view import view_size_of
from langchain_vipllava.prompt.conversation import Conversation
from langchain_vipllava.protocol.answer import Answer
from langchain_vipllava.protocol.backend import Backend
from langchain_vipllava.protocol.chat_request import ChatRequest
from langchain_vipllava.protocol.confidence import WHOLE, confidences
from langchain_vipllava.protocol.logprobs import AnswerPiece
from langchain_vipllava.workspace.vision_model import ModelReply


@dataclass(frozen=True)
class BackendVision:
    """Answers questions of a `Workspace` with a backend.

    Attributes:
        backend: what answers.
        settings: sampling, `max_tokens` and the like; its conversation is replaced by that of each question.
        timeout: maximum seconds for an answer.
    """

    backend: Backend
    settings: ChatRequest = field(default_factory=lambda: ChatRequest(Conversation(())))
    timeout: float | None = None

    @property
    def view_size(self) -> int:
        """Side of the square that the model reads of an image, in pixels."""
        return view_size_of(self.backend)

    def answer(self, conversation: Conversation) -> ModelReply:
        """Answer and wait."""
        return _reply(self.backend.generate(self._request(conversation), timeout=self.timeout))

    async def aanswer(self, conversation: Conversation) -> ModelReply:
        """Answer without blocking the event loop."""
        return _reply(await self.backend.agenerate(self._request(conversation), timeout=self.timeout))

    def answer_rated(self, conversation: Conversation) -> ModelReply:
        """Answer and wait; free answers of up to 16 tokens have a confidence, where the backend knows it."""
        request = self._rated(conversation)
        return _rated_reply(self.backend.generate(request, timeout=self.timeout), request)

    async def aanswer_rated(self, conversation: Conversation) -> ModelReply:
        """Do the same without blocking the event loop."""
        request = self._rated(conversation)
        return _rated_reply(await self.backend.agenerate(request, timeout=self.timeout), request)

    def stream(self, conversation: Conversation) -> Generator[str | ModelReply, None, None]:
        """Yield pieces of text, and the whole answer last."""
        with closing(self.backend.stream(self._request(conversation), timeout=self.timeout)) as pieces:
            for piece in pieces:
                yield _shown(piece)

    async def astream(self, conversation: Conversation) -> AsyncGenerator[str | ModelReply, None]:
        """Yield pieces of text, and the whole answer last."""
        async with aclosing(self.backend.astream(self._request(conversation), timeout=self.timeout)) as pieces:
            async for piece in pieces:
                yield _shown(piece)

    def score(self, conversation: Conversation, answer: str) -> float:
        """Return the natural logarithm of the probability of an answer to the last question."""
        return log_probability(self.backend, self._request(conversation), answer, timeout=self.timeout)

    def _request(self, conversation: Conversation) -> ChatRequest:
        return replace(self.settings, conversation=conversation)

    def _rated(self, conversation: Conversation) -> ChatRequest:
        return replace(self._request(conversation), top_logprobs=self.settings.top_logprobs or 0)


def _shown(piece: str | AnswerPiece | Answer) -> str | ModelReply:
    if isinstance(piece, AnswerPiece):
        return piece.text
    return piece if isinstance(piece, str) else _reply(piece)


def _reply(answer: Answer) -> ModelReply:
    return ModelReply(answer.text, answer.token_ids)


def _rated_reply(answer: Answer, request: ChatRequest) -> ModelReply:
    return replace(_reply(answer), confidence=confidences(answer, request.output).get(WHOLE))
