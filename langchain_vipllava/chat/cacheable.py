"""Messages such that LangChain, and its cache above all, can handle their images."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult
from langchain_core.prompt_values import ChatPromptValue, PromptValue

from langchain_vipllava.chat.image_refs import prepare
from langchain_vipllava.images.access import Admission
from langchain_vipllava.images.fetch import FetchPolicy


class CacheableImages(BaseChatModel):
    """A chat model whose messages hold images, prepared before LangChain looks for an answer in its cache.

    Attributes:
        image_root: when set, messages may name only files below this folder.
        fetch_policy: how images are fetched from URLs in messages.
    """

    image_root: Path | None = None
    fetch_policy: FetchPolicy | None = None

    def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
        prompt = super()._convert_input(model_input)
        # not for a cache yet: a stream asks none, and `generate` and `agenerate` do that, the latter in a thread
        return (
            ChatPromptValue(messages=prepare(prompt.messages, None)) if isinstance(prompt, ChatPromptValue) else prompt
        )

    def generate(self, messages: list[list[BaseMessage]], *args: Any, **kwargs: Any) -> LLMResult:
        """As LangChain's: several conversations, one after the other, through its callbacks and its cache."""
        return super().generate([self._prepare(conversation) for conversation in messages], *args, **kwargs)

    async def agenerate(self, messages: list[list[BaseMessage]], *args: Any, **kwargs: Any) -> LLMResult:
        """As LangChain's: several conversations at once, through its callbacks and its cache."""
        prepared = await asyncio.to_thread(lambda: [self._prepare(conversation) for conversation in messages])
        return await super().agenerate(prepared, *args, **kwargs)

    def _prepare(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        cached = bool(self.cache) or (self.cache is None and get_llm_cache() is not None)
        return prepare(messages, self._admission if cached else None)

    @property
    def _admission(self) -> Admission:
        return Admission(self.image_root, self.fetch_policy)
