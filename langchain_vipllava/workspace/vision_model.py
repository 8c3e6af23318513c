"""`VisionModel`: what answers questions about images, as the workspace sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.prompt.conversation import Conversation


@dataclass(frozen=True)
class ModelReply:
    """An answer.

    Attributes:
        text: the model's words.
        token_ids: ids that it generated, if known: the next turn then reuses their keys and values.
        confidence: how likely it was, 0 to 1, where it was asked for and the model tells.
    """

    text: str
    token_ids: tuple[int, ...] | None = None
    confidence: float | None = None


def check_reply(reply: object) -> ModelReply:
    """Return what a vision model answered.

    Raises:
        GenerationError: it is no reply.
    """
    if not isinstance(reply, ModelReply) or not isinstance(reply.text, str):
        raise GenerationError(f"the vision model returned {shorten(reply)}; expected a ModelReply with text.")
    return reply


class VisionModel(Protocol):
    """Answers the last turn of a conversation about an image. Any exception means that it could not.

    A model that knows how likely its answers are is a `RatingModel` too: votes then say how sure it was.
    """

    def answer(self, conversation: Conversation) -> ModelReply:
        """Answer and wait."""

    async def aanswer(self, conversation: Conversation) -> ModelReply:
        """Answer without blocking the event loop; cancellation stops the model."""

    def stream(self, conversation: Conversation) -> Generator[str | ModelReply, None, None]:
        """Yield pieces of text while the model writes, and the whole answer last. Closing it stops the model."""

    def astream(self, conversation: Conversation) -> AsyncGenerator[str | ModelReply, None]:
        """Do the same asynchronously."""


@runtime_checkable
class RatingModel(Protocol):
    """What a vision model may do besides: answer, and say how likely the answer was."""

    def answer_rated(self, conversation: Conversation) -> ModelReply:
        """Answer and wait; the reply has its `confidence`, unless nobody can tell."""

    async def aanswer_rated(self, conversation: Conversation) -> ModelReply:
        """Do the same without blocking the event loop."""


def answer_rated(model: VisionModel, conversation: Conversation) -> ModelReply:
    """Answer with confidence, where the model is a `RatingModel`; without, where it is none."""
    return model.answer_rated(conversation) if isinstance(model, RatingModel) else model.answer(conversation)


async def aanswer_rated(model: VisionModel, conversation: Conversation) -> ModelReply:
    """Do the same without blocking the event loop."""
    if isinstance(model, RatingModel):
        return await model.aanswer_rated(conversation)
    return await model.aanswer(conversation)


@runtime_checkable
class AnswerScorer(Protocol):
    """What a vision model may do too: say how likely it finds an answer. `heat_map` needs it."""

    def score(self, conversation: Conversation, answer: str) -> float:
        """Return the natural logarithm of the probability of an answer to the last question, its tokens' together."""
