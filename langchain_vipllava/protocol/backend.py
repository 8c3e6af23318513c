"""`Backend`: whatever answers. The seam below the chat model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Protocol

from langchain_vipllava.protocol.answer import Answer
from langchain_vipllava.protocol.chat_request import ChatRequest
from langchain_vipllava.protocol.logprobs import AnswerPiece
from langchain_vipllava.protocol.output_spec import OutputSpec


class Backend(Protocol):
    """Answers requests; safe to call from any thread or task.

    This is the boundary between LangChain messages (above) and tokens (below). A backend receives turns and the wanted
    form of the answer as plain values, and answers in this process or asks a server. It tokenizes, enforces the form
    of the answer and knows the length of the context; nothing above it does.

    Calls of tools come back as text: the JSON list that `OutputSpec.calls_schema` describes. Text that begins with `[`
    is read as calls wherever tools are bound, so the backend has to keep free text from beginning so.

    A chat model reads `name` at construction and with every call, so it must be cheap, and `context_length` at
    construction; a backend for which that costs too much has a `known_context_length`, which may be None. A chat model
    shares its backend with its copies: a backend that cannot be copied defines `__deepcopy__`.

    Attributes:
        name: the model name in `response_metadata`.
        cache_key: identifies what answers, for LangChain's cache.
        context_length: maximum number of tokens of prompt and answer together.

    A backend may have a `view_size` too; the side of the square that it reads of an image, in pixels.
    """

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def cache_key(self) -> str:
        """Identifies what answers; two backends with equal keys give equal answers."""

    @property
    def context_length(self) -> int:
        """Maximum number of tokens of prompt and answer together."""

    def check_output(self, output: OutputSpec) -> None:
        """Check that a form of answers can be enforced. Called when it is bound, before any request.

        Raises:
            GenerationError: it cannot.
        """

    def count_tokens(self, request: ChatRequest) -> int:
        """Count the tokens of a request's prompt, images included; part of a conversation will do.

        Images are counted, not opened: they may be placeholders.
        """

    def tokenize(self, text: str) -> list[int]:
        """Return the token ids of a text alone, without the token that begins a prompt."""

    def generate(self, request: ChatRequest, *, timeout: float | None = None) -> Answer:
        """Answer a request and wait for the answer; an interrupt stops the model.

        Raises:
            ImageError: an image cannot be decoded.
            PromptError: text that is not Unicode, or turns that do not end with a question.
            PromptTooLongError: the prompt leaves no room for an answer.
            AnswerTimeoutError: it took more than `timeout` seconds.
            GenerationError: anything else that kept the model from answering.
        """

    async def agenerate(self, request: ChatRequest, *, timeout: float | None = None) -> Answer:
        """Answer a request without blocking the event loop; cancellation stops the model."""

    def stream(
        self, request: ChatRequest, *, timeout: float | None = None
    ) -> Generator[str | AnswerPiece | Answer, None, None]:
        """Yield pieces of text while the model writes, and the whole answer last. Closing it stops the model.

        For a request that asks for log-probabilities, the pieces are `AnswerPiece`s, and the answer repeats them all.
        """

    def astream(
        self, request: ChatRequest, *, timeout: float | None = None
    ) -> AsyncGenerator[str | AnswerPiece | Answer, None]:
        """Do the same asynchronously."""
