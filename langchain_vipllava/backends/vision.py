"""`BackendVision`: a backend as the workspace's vision model, with no LangChain between them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from langchain_vipllava.prompt.conversation import Conversation
from langchain_vipllava.protocol.backend import Backend
from langchain_vipllava.protocol.chat_request import ChatRequest
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

    def answer(self, conversation: Conversation) -> ModelReply:
        """Answer and wait."""
        answer = self.backend.generate(replace(self.settings, conversation=conversation), timeout=self.timeout)
        return ModelReply(answer.text, answer.token_ids)

    async def aanswer(self, conversation: Conversation) -> ModelReply:
        """Answer without blocking the event loop."""
        answer = await self.backend.agenerate(replace(self.settings, conversation=conversation), timeout=self.timeout)
        return ModelReply(answer.text, answer.token_ids)
