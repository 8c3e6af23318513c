"""`IO_LOOP`: one thread with an event loop, in which all requests to servers run, for callers in any thread."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from langchain_vipllava.engine.future import AnswerFuture
from langchain_vipllava.errors import GenerationError
from langchain_vipllava.locks import fork_safe_lock, run_locked
from langchain_vipllava.protocol.answer import Answer

T = TypeVar("T")


class IoLoop:
    """An event loop in a daemon thread, started when it is needed; a forked process has its own."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = fork_safe_lock()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, running."""
        return self._loop or run_locked(self._lock, self._start)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, and wait for its result."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="vipllava-io", daemon=True).start()
            self._loop = loop
        return self._loop

    def forget(self) -> None:
        """Forget the loop, in a forked process: its thread is the parent's."""
        self._loop = None


IO_LOOP = IoLoop()
"""The one of the process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=IO_LOOP.forget)


class IoCall:
    """A coroutine on its way through the loop.

    Attributes:
        future: what it will return.
        cancelled: whether the caller asked to stop.
    """

    def __init__(self) -> None:
        self.future = AnswerFuture()
        self.cancelled = False
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, work: Callable[[], Coroutine[Any, Any, Answer]]) -> None:
        """Run a coroutine function in the loop.

        Raises:
            GenerationError: no thread can start; the process is exiting.
        """
        try:
            self._loop = IO_LOOP.loop
            self._loop.call_soon_threadsafe(self._begin, work)
        except RuntimeError as error:
            raise GenerationError(f"the thread for requests to servers cannot start: {error}.") from error

    def cancel(self) -> None:
        """Stop the coroutine; does nothing once it is done."""
        self.cancelled = True
        if self._loop is not None and not self.future.done():
            try:
                self._loop.call_soon_threadsafe(self._stop)
            except RuntimeError:  # the loop is closed
                return

    def _begin(self, work: Callable[[], Coroutine[Any, Any, Answer]]) -> None:
        if self.cancelled:
            self._resolve_cancelled()
            return
        self._task = asyncio.get_running_loop().create_task(self._run(work))
        self._task.add_done_callback(lambda _: self._resolve_cancelled())  # one that is cancelled first never runs

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self, work: Callable[[], Coroutine[Any, Any, Answer]]) -> None:
        try:
            self.future.set_result(await work())
        except asyncio.CancelledError:
            self._resolve_cancelled()
        except BaseException as error:
            self.future.set_exception(error)

    def _resolve_cancelled(self) -> None:
        """Resolve the future, unless it has an outcome already."""
        if not self.future.done():
            self.future.set_exception(GenerationError("the request was cancelled."))
