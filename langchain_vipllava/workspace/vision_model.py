"""`VisionModel`: what answers questions about images, as the workspace sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from typing import Protocol

from langchain_vipllava.prompt.conversation import Conversation


@dataclass(frozen=True)
class ModelReply:
    """An answer.

    Attributes:
        text: the model's words.
        token_ids: ids that it generated, if known: the next turn then reuses their keys and values.
    """

    text: str
    token_ids: tuple[int, ...] | None = None


class VisionModel(Protocol):
    """Answers the last turn of a conversation about an image. Any exception means that it could not."""

    def answer(self, conversation: Conversation) -> ModelReply:
        """Answer and wait."""

    async def aanswer(self, conversation: Conversation) -> ModelReply:
        """Answer without blocking the event loop; cancellation stops the model."""

    def stream(self, conversation: Conversation) -> Generator[str | ModelReply, None, None]:
        """Yield pieces of text while the model writes, and the whole answer last. Closing it stops the model."""

    def astream(self, conversation: Conversation) -> AsyncGenerator[str | ModelReply, None]:
        """Do the same asynchronously."""
