"""Progress of a call, where its client wants to know: a vision model that says how far its answers are."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from typing import Any

from langchain_vipllava.errors import GenerationError
from langchain_vipllava.prompt.conversation import Conversation
from langchain_vipllava.text import quote
from langchain_vipllava.workspace.vision_model import AnswerScorer, ModelReply, RatingModel

_SECONDS = 0.2
"""Between two reports. Chosen: a person reads along; a fast model would send hundreds of messages in a second."""

_MAX_SHOWN = 200
"""Characters of an answer in a report. Chosen: a line or two of a client's window."""


class Progress:
    """Tells the client of a call how far it is.

    Args:
        send: sends how many steps are done, and a text.
    """

    def __init__(self, send: Callable[[int, str], Awaitable[None]]) -> None:
        self._send, self._done, self._sent = send, 0, -math.inf

    async def step(self, text: str, *, is_whole: bool = False) -> None:
        """Count one more piece of an answer, or a whole one.

        Args:
            text: the answer so far. It is sent as data, in quotes, unless the last one was sent just before.
            is_whole: whether the answer is complete; it is always sent.
        """
        self._done += 1
        if is_whole or time.monotonic() - self._sent >= _SECONDS:
            self._sent = time.monotonic()
            await self._send(self._done, quote(text[-_MAX_SHOWN:]))


_PROGRESS: ContextVar[Progress | None] = ContextVar("progress", default=None)
"""Of the call that is running."""


@contextmanager
def reporting(progress: Progress | None) -> Iterator[None]:
    """Let answers inside be reported; None reports nothing."""
    token = _PROGRESS.set(progress)
    try:
        yield
    finally:
        _PROGRESS.reset(token)


class ReportingVision:
    """Answers as another model does, and reports the progress of its answers.

    Args:
        model: the other model. What it has beside the four ways to ask can be used too.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        # attributes of this object, where `isinstance` looks for what a protocol names
        if isinstance(model, RatingModel):
            self.answer_rated, self.aanswer_rated = model.answer_rated, self._rate
        if isinstance(model, AnswerScorer):
            self.score = model.score

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def answer(self, conversation: Conversation) -> ModelReply:
        """Answer and wait."""
        reply: ModelReply = self._model.answer(conversation)
        return reply

    async def aanswer(self, conversation: Conversation) -> ModelReply:
        """Answer without blocking the event loop, and report while the model writes."""
        progress = _PROGRESS.get()
        if progress is None or not hasattr(self._model, "astream"):
            answered: ModelReply = await self._model.aanswer(conversation)
            return answered
        text = ""
        async with aclosing(self._model.astream(conversation)) as pieces:
            async for piece in pieces:
                if isinstance(piece, ModelReply):
                    await progress.step(piece.text, is_whole=True)
                    return piece
                text += piece
                await progress.step(text)
        raise GenerationError("the vision model stopped in the middle of an answer.")

    def stream(self, conversation: Conversation) -> Generator[str | ModelReply, None, None]:
        """Yield pieces of text, and the whole answer last."""
        pieces: Generator[str | ModelReply, None, None] = self._model.stream(conversation)
        return pieces

    def astream(self, conversation: Conversation) -> AsyncGenerator[str | ModelReply, None]:
        """Do the same asynchronously."""
        pieces: AsyncGenerator[str | ModelReply, None] = self._model.astream(conversation)
        return pieces

    async def _rate(self, conversation: Conversation) -> ModelReply:
        reply: ModelReply = await self._model.aanswer_rated(conversation)
        if (progress := _PROGRESS.get()) is not None:
            await progress.step(reply.text, is_whole=True)
        return reply
