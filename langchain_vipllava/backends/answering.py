"""`AnsweringBackend`: waiting for an answer and listening to it, however a backend gets it."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from typing import Protocol

from langchain_vipllava.engine.future import AnswerFuture
from langchain_vipllava.engine.output_grammar import compile_output
from langchain_vipllava.errors import AnswerTimeoutError
from langchain_vipllava.protocol.answer import Answer
from langchain_vipllava.protocol.chat_request import ChatRequest
from langchain_vipllava.protocol.limits import RequestLimits
from langchain_vipllava.protocol.logprobs import AnswerPiece
from langchain_vipllava.protocol.output_spec import OutputSpec

_LONGEST_WAIT = threading.TIMEOUT_MAX / 2
"""Seconds; locks do not accept much more. A longer timeout waits indefinitely."""


class Submission(Protocol):
    """A request on its way, from the caller's thread to what answers.

    Attributes:
        future: the answer that it will have.
    """

    future: AnswerFuture

    def run(self) -> None:
        """Prepare the request and hand it over; may take seconds."""

    def cancel(self) -> None:
        """Stop the request, wherever it is; does nothing once it is answered."""


class AnsweringBackend(ABC):
    """The four ways to ask, for a backend that has a `Submission` for each request.

    Attributes:
        limits: bounds of one request, and of the requests in flight.
    """

    limits: RequestLimits

    def check_output(self, output: OutputSpec) -> None:
        """Check that a form of answers can be enforced; loads no weights, and asks no server.

        Raises:
            GenerationError: it cannot, or it is larger than the limits allow.
        """
        self.limits.check_output(output)
        compile_output(output)

    @abstractmethod
    def submission(self, request: ChatRequest, on_piece: Callable[[str | AnswerPiece], None] | None) -> Submission:
        """Check a request and take its slot; nothing is computed or sent yet.

        Args:
            request: what is asked.
            on_piece: called with every piece of text, in a thread of the backend.
        """

    def generate(self, request: ChatRequest, *, timeout: float | None = None) -> Answer:
        """Answer a request and wait for the answer; an interrupt stops the model."""
        deadline = _deadline(timeout)
        submission = self.submission(request, None)
        try:
            submission.run()
            try:
                return submission.future.result(_remaining(deadline))
            except TimeoutError as error:
                raise AnswerTimeoutError.after(timeout) from error
        finally:
            submission.cancel()

    async def agenerate(self, request: ChatRequest, *, timeout: float | None = None) -> Answer:
        """Answer a request without blocking the event loop; cancellation stops the model."""
        deadline = _deadline(timeout)
        submission = self.submission(request, None)
        try:
            async with asyncio.timeout(_remaining(deadline)):
                await asyncio.to_thread(submission.run)
                return await submission.future
        except TimeoutError as error:
            raise AnswerTimeoutError.after(timeout) from error
        finally:
            submission.cancel()

    def stream(
        self, request: ChatRequest, *, timeout: float | None = None
    ) -> Generator[str | AnswerPiece | Answer, None, None]:
        """Yield pieces of text, and the whole answer last. Closing the iterator stops the model."""
        deadline = _deadline(timeout)
        pieces: queue.SimpleQueue[str | AnswerPiece | None] = queue.SimpleQueue()
        submission = self.submission(request, pieces.put)
        submission.future.add_done_callback(lambda _: pieces.put(None))
        try:
            submission.run()
            while (piece := pieces.get(timeout=_remaining(deadline))) is not None:
                yield piece
            yield submission.future.result()
        except queue.Empty as error:
            raise AnswerTimeoutError.after(timeout) from error
        finally:
            submission.cancel()

    async def astream(
        self, request: ChatRequest, *, timeout: float | None = None
    ) -> AsyncGenerator[str | AnswerPiece | Answer, None]:
        """Yield pieces of text, and the whole answer last. Closing the iterator stops the model."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | AnswerPiece | None] = asyncio.Queue()

        def put(piece: str | AnswerPiece | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        deadline = None if timeout is None else loop.time() + timeout
        submission = self.submission(request, put)
        submission.future.add_done_callback(lambda _: put(None))
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.to_thread(submission.run)
            while True:
                # the timeout must not fire while the caller handles a piece
                async with asyncio.timeout_at(deadline):
                    piece = await pieces.get()
                if piece is None:
                    break
                yield piece
            yield submission.future.result()
        except TimeoutError as error:
            raise AnswerTimeoutError.after(timeout) from error
        finally:
            submission.cancel()


def _deadline(timeout: float | None) -> float | None:
    """The time of the monotonic clock at which a timeout that starts now ends; None for none."""
    return None if timeout is None or timeout > _LONGEST_WAIT else time.monotonic() + timeout


def _remaining(deadline: float | None) -> float | None:
    """Seconds until a deadline, at least 0; None for none."""
    return None if deadline is None else max(deadline - time.monotonic(), 0)
