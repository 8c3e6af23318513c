"""`FairLock`: one holder at a time, threads and asyncio tasks in one queue."""

from __future__ import annotations

import _thread
import asyncio
import sys
import threading
from contextlib import suppress
from operator import attrgetter
from types import FrameType
from typing import Any

from langchain_vipllava.errors import GenerationError
from langchain_vipllava.locks import fork_safe_lock, in_forked_process, run_locked


class FairLock:
    """A first-in, first-out lock: threads enter it with `with lock.place()`, tasks with `async with lock.place()`.

    A waiting task blocks neither its event loop nor a thread of its pool. One that is cancelled while it waits gives
    its place up, as does a thread that an exception of a signal handler interrupts, wherever that is.
    """

    def __init__(self) -> None:
        self._mutex = fork_safe_lock()
        self._last: Place | None = None
        in_forked_process.add(self._forget)

    def place(self) -> Place:
        """Return a place, to enter once."""
        return Place(self)

    def _queue(self, place: Place) -> None:
        run_locked(self._mutex, self._append, place)

    def _append(self, place: Place) -> None:
        place.previous = self._last
        self._last = place

    def _forget(self) -> None:
        """In a forked process: the places belong to threads that do not exist here."""
        self._last = None


class Place:
    """A place in the queue of a `FairLock`: entered as a context manager, it waits for the place before it.

    Raises:
        GenerationError: it would wait for its own thread, as in a signal handler that interrupted the holder.
    """

    def __init__(self, lock: FairLock) -> None:
        self.previous: Place | None = None
        self._lock = lock
        self._taken = threading.Lock()  # until this place is left
        self._taken.acquire()
        self._frame = 0  # the id of the frame whose `with` block it is
        self._loop: asyncio.AbstractEventLoop | None = None  # of its task
        self._came = self._given_up = False

    def __enter__(self) -> None:
        self._frame = id(sys._getframe(1))
        try:
            self._lock._queue(self)
            self._wait()
        except BaseException:  # Ctrl-C
            self._give_up()
            raise

    # C code, at whose beginning no signal handler runs, as it does in a function in Python. It leaves the place.
    __exit__: Any = property(attrgetter("_taken.__exit__"))

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            self._lock._queue(self)
            if self._is_next():
                self.previous = None
                return
            arrived = asyncio.Event()
            _thread.start_new_thread(self._wait_for_task, (self._loop, arrived))
            await arrived.wait()
        except BaseException:  # it is cancelled
            self._give_up()
            raise

    async def __aexit__(self, *error: object) -> None:
        self._leave()

    def _is_next(self) -> bool:
        """Whether nobody is before this place."""
        before = self.previous
        while before is not None and before._taken.locked():
            if self._would_wait_for_itself(before):
                raise GenerationError(
                    "a question about this image would wait for one of its own thread, which waits for it; ask from "
                    "another thread, and not in a signal handler."
                )
            before = before.previous
        return self.previous is None or not self.previous._taken.locked()

    def _would_wait_for_itself(self, before: Place) -> bool:
        """Whether a place belongs to a caller of this code, or to a task of the event loop that this code blocks."""
        if before._loop is not None:
            return self._loop is None and asyncio._get_running_loop() is before._loop
        frame: FrameType | None = sys._getframe()
        while frame is not None and id(frame) != before._frame:
            frame = frame.f_back
        return frame is not None

    def _wait(self) -> None:
        before = self.previous
        if before is not None and not self._is_next():
            with before._taken:
                pass
        self.previous = None  # or the queue of all times would stay in memory

    def _wait_for_task(self, loop: asyncio.AbstractEventLoop, arrived: asyncio.Event) -> None:
        self._wait_here()
        if self._given_up:
            self._leave()
            return
        try:
            loop.call_soon_threadsafe(arrived.set)
        except RuntimeError:  # the loop is closed: the task will never run again
            self._leave()

    def _wait_here(self) -> None:
        """Wait in a thread that has no place of its own."""
        if (before := self.previous) is not None:
            with before._taken:
                pass
        self._came, self.previous = True, None

    def _give_up(self) -> None:
        """Leave the place once its turn comes: those behind it wait for that."""
        self._given_up = True
        if self._came or self.previous is None:
            self._leave()
        else:
            _thread.start_new_thread(self._wait_here_and_leave, ())

    def _wait_here_and_leave(self) -> None:
        self._wait_here()
        self._leave()

    def _leave(self) -> None:
        with suppress(RuntimeError):  # it is left already
            self._taken.release()
