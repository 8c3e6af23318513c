"""`AnswerFuture`: the answer that a request will have."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

from langchain_vipllava.errors import GenerationError
from langchain_vipllava.locks import in_forked_process
from langchain_vipllava.protocol.answer import Answer

logger = logging.getLogger(__name__)


class AnswerFuture:
    """The answer that a request will have: wait for `result`, or `await` it.

    It does what a `concurrent.futures.Future` does, without its lock: an exception from a signal handler can leave that
    one held by a caller who is gone, and the engine's thread would wait for it. Here, single assignments and operations
    of C containers change the state, and no exception comes between their halves.

    In a forked process, an answer that its parent waits for is a `GenerationError`.
    """

    def __init__(self) -> None:
        self._outcome: tuple[Answer | None, BaseException | None] | None = None
        self._listeners: deque[Callable[[AnswerFuture], object]] = deque()
        in_forked_process.add(self._leave_to_parent)

    def done(self) -> bool:
        """Whether the answer, or an error, is there."""
        return self._outcome is not None

    def cancel(self) -> bool:
        """Return False: only the engine ends an answer; see `RequestHandle.cancel`."""
        return False

    def result(self, timeout: float | None = None) -> Answer:
        """Wait for the answer.

        Args:
            timeout: seconds; None waits indefinitely.

        Raises:
            TimeoutError: the answer did not come in time.
            GenerationError: the request failed.
        """
        answer, error = self._wait(timeout)
        if error is None:
            assert answer is not None  # noqa: S101  # an outcome is one of both
            return answer
        try:
            raise error
        finally:
            del error, self  # the traceback that the error gets here would keep them alive

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the answer, and return the error that came instead; None if there is none.

        Args:
            timeout: seconds; None waits indefinitely.

        Raises:
            TimeoutError: neither came in time.
        """
        return self._wait(timeout)[1]

    def add_done_callback(self, listener: Callable[[AnswerFuture], object]) -> None:
        """Call a function with this future once it is done, in the engine's thread; at once if it is done already."""
        self._listeners.append(listener)
        if self.done():
            self._notify(Exception)

    def set_result(self, answer: Answer) -> None:
        """Resolve with an answer; the first outcome stays."""
        self._resolve(answer, None)

    def set_exception(self, error: BaseException) -> None:
        """Resolve with an error; the first outcome stays."""
        self._resolve(None, error)

    def _resolve(self, answer: Answer | None, error: BaseException | None) -> None:
        if self._outcome is None:
            self._outcome = (answer, error)
        self._notify(BaseException)  # even SystemExit: the engine's thread runs the answers of others

    def _notify(self, survived: type[BaseException]) -> None:
        while self._listeners:
            try:
                listener = self._listeners.popleft()
            except IndexError:  # another thread took the last one
                return
            try:
                listener(self)
            except survived:
                logger.debug("a callback of an answer raised", exc_info=True)

    def _wait(self, timeout: float | None) -> tuple[Answer | None, BaseException | None]:
        if self._outcome is None:
            answered = threading.Lock()  # nobody but this call waits for it
            answered.acquire()
            self._listeners.append(lambda _: answered.release())
            if self._outcome is None:
                answered.acquire(timeout=-1 if timeout is None else timeout)
        if self._outcome is None:
            raise TimeoutError
        return self._outcome

    def __await__(self) -> Generator[Any, None, Answer]:
        if not self.done():
            loop, answered = asyncio.get_running_loop(), asyncio.Event()

            def wake(_: AnswerFuture) -> None:
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(answered.set)

            self.add_done_callback(wake)
            yield from answered.wait().__await__()
        return self.result()

    def _leave_to_parent(self) -> None:
        if not self.done():
            self.set_exception(
                GenerationError("the request belongs to the parent process, which gets its answer; ask again here.")
            )

    def __repr__(self) -> str:
        return f"<AnswerFuture, {'done' if self.done() else 'pending'}>"
