"""`TellingVision`: a vision model that tells, beside each answer, what was asked and what it took."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from langchain_vipllava.backends.vision import BackendVision
from langchain_vipllava.prompt.conversation import Conversation
from langchain_vipllava.protocol.answer import Answer
from langchain_vipllava.protocol.chat_request import ChatRequest
from langchain_vipllava.protocol.confidence import WHOLE, confidences
from langchain_vipllava.protocol.logprobs import AnswerPiece
from langchain_vipllava.workspace.vision_model import ModelReply


@dataclass(frozen=True)
class Told:
    """A request and its answer."""

    request: ChatRequest
    answer: Answer

    @property
    def confidence(self) -> float | None:
        """How likely the answer was, 0 to 1; None for long answers, and where nobody knows."""
        return confidences(self.answer, self.request.output).get(WHOLE)


_LISTENER: ContextVar[list[Told] | None] = ContextVar("studio_listener", default=None)


@contextmanager
def listening(told: list[Told]) -> Iterator[None]:
    """Collect what is asked in this thread; of a stream, it suffices that it begins here."""
    token = _LISTENER.set(told)
    try:
        yield
    finally:
        _LISTENER.reset(token)


@dataclass(frozen=True)
class TellingVision(BackendVision):
    """Answers with a backend, and tells `listening` what it was asked."""

    def stream(self, conversation: Conversation) -> Generator[str | ModelReply, None, None]:
        """Yield pieces of text while the model writes, and the whole answer last."""
        listener = _LISTENER.get()
        rated = self.settings.top_logprobs or 0
        request = replace(self.settings, conversation=conversation, top_logprobs=rated)
        stream = self.backend.stream(request, timeout=self.timeout)
        try:
            for piece in stream:
                if isinstance(piece, Answer):
                    if listener is not None:
                        listener.append(Told(request, piece))
                    yield ModelReply(piece.text, piece.token_ids)
                else:
                    yield piece.text if isinstance(piece, AnswerPiece) else piece
        finally:
            stream.close()
