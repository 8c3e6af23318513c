"""`DecodingRoom`: images that are decoded at the same time take the memory of one bound together, not each its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from langchain_vipllava.locks import fork_safe_lock

_POLL_SECONDS = 1.0
"""How often a waiting thread looks by itself. Only for threads that an exception ended between two lines of ours."""


class _Ticket:
    """A place in the queue. Weakly held: whatever ends its thread, the room is free again."""


class _Mine(threading.local):
    inside = False
    kept: _Ticket | None = None
    keeps = False


class DecodingRoom:
    """Lets threads decode in the order in which they come, while their needs fit together.

    A thread that is inside already, because an image or a signal handler opens another one, does not wait for itself.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(fork_safe_lock())
        self._needs: WeakKeyDictionary[_Ticket, int] = WeakKeyDictionary()  # in the order in which they came
        self._mine = _Mine()
        self._process = os.getpid()

    @contextmanager
    def enter(self, need: int, limit: int) -> Iterator[None]:
        """Wait until an image and those that came before it take no more than a limit, and count it until the end.

        Args:
            need: memory of this image in bytes; at most `limit`.
            limit: bound of all of them together, in bytes.
        """
        if self._process != os.getpid():  # forked: the threads that were inside do not exist
            self._process, self._mine = os.getpid(), _Mine()
            self._needs.clear()
        mine = self._mine
        if mine.inside:
            yield
            return
        ticket = _Ticket()
        mine.inside = True
        try:
            with self._changed:
                self._needs[ticket] = min(need, limit)
                while not self._fits(ticket, limit):
                    self._changed.wait(_POLL_SECONDS)
            yield
        finally:
            if mine.keeps:
                mine.kept = ticket
            else:
                self._leave(ticket)
                mine.inside = False

    @contextmanager
    def keep(self) -> Iterator[None]:
        """Count what this thread decodes until the end of this block: it goes on to use the pixels."""
        mine = self._mine
        if mine.inside or mine.keeps:
            yield
            return
        mine.keeps = True
        try:
            yield
        finally:
            kept, mine.kept, mine.keeps, mine.inside = mine.kept, None, False, False
            if kept is not None:
                self._leave(kept)

    def _leave(self, ticket: _Ticket) -> None:
        with self._changed:
            self._needs.pop(ticket, None)
            self._changed.notify_all()

    def _fits(self, ticket: _Ticket, limit: int) -> bool:
        total = 0
        for other, need in list(self._needs.items()):
            total += need
            if other is ticket:
                break
        return total <= limit


DECODING = DecodingRoom()
"""The one of the process."""
