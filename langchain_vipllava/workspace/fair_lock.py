"""`FairLock`: one holder at a time, threads and asyncio tasks in one queue."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future


class FairLock:
    """A first-in, first-out lock that threads enter with `with` and tasks with `async with`.

    A waiting task blocks neither its event loop nor a thread of its pool. One that is cancelled while it waits gives
    its place up.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: deque[tuple[Future[None], asyncio.AbstractEventLoop | None]] = deque()
        self._held = False

    def __enter__(self) -> None:
        place = self._queue()
        try:
            place.result()
        except BaseException:  # Ctrl-C
            self._give_up(place)
            raise

    def __exit__(self, *error: object) -> None:
        self._release()

    async def __aenter__(self) -> None:
        place = self._queue(asyncio.get_running_loop())
        try:
            await asyncio.wrap_future(place)
        except asyncio.CancelledError:
            self._give_up(place)
            raise

    async def __aexit__(self, *error: object) -> None:
        self._release()

    def _queue(self, loop: asyncio.AbstractEventLoop | None = None) -> Future[None]:
        place: Future[None] = Future()
        with self._mutex:
            if self._held:
                self._waiting.append((place, loop))
                return place
            self._held = True
        place.set_result(None)
        return place

    def _release(self) -> None:
        with self._mutex:
            following = None
            while self._waiting and following is None:
                place, loop = self._waiting.popleft()
                gone = loop is not None and loop.is_closed()  # the task will never run again
                following = place if place.set_running_or_notify_cancel() and not gone else None
            self._held = following is not None
        if following is not None:
            following.set_result(None)

    def _give_up(self, place: Future[None]) -> None:
        if not place.cancel() and not place.cancelled():  # its turn came meanwhile
            place.result()
            self._release()
