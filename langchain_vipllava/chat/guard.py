"""`TreeErrors`: what leaves the chat model is an error of LangChain's tree or of ours, whatever came in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing, contextmanager
from typing import Any

from langchain_core.exceptions import LangChainException
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import RunnableConfig

from langchain_vipllava.errors import GenerationError, VipLlavaError, describe_error

_CALLBACKS = frozenset({"handle_event", "ahandle_event", "_ahandle_event_for_handler"})
"""Functions of LangChain that call the program's callbacks."""


@contextmanager
def tree_errors(kind: type[VipLlavaError] = GenerationError) -> Iterator[None]:
    """Turn every exception outside LangChain's tree and ours into an error of a kind.

    What a callback of the program raises passes: LangChain calls those that want it (`raise_error`).
    """
    try:
        yield
    except (VipLlavaError, LangChainException):
        raise
    except Exception as error:
        if is_from_callback(error):
            raise
        raise kind(f"{describe_error(error)}. Check the types, sizes and depth of what was passed.") from error


def is_from_callback(error: Exception) -> bool:
    """Whether a callback of the program raised an exception."""
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_name in _CALLBACKS:
            return True
        traceback = traceback.tb_next
    return False


class TreeErrors(BaseChatModel):
    """A chat model whose calls raise nothing outside the two trees."""

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """As LangChain's."""
        with tree_errors():
            return super().invoke(input, config, stop=stop, **kwargs)

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """As LangChain's."""
        with tree_errors():
            return await super().ainvoke(input, config, stop=stop, **kwargs)

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """As LangChain's."""
        with tree_errors():
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """As LangChain's."""
        with tree_errors():
            return await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """As LangChain's."""
        with closing(super().stream(input, config, stop=stop, **kwargs)) as chunks:  # type: ignore[type-var]  # a generator
            while True:
                with tree_errors():
                    chunk = next(chunks, None)
                if chunk is None:
                    return
                yield chunk

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """As LangChain's."""
        async with aclosing(super().astream(input, config, stop=stop, **kwargs)) as chunks:  # type: ignore[type-var]  # a generator
            while True:
                with tree_errors():
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                yield chunk
