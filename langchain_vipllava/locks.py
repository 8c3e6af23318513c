"""Locks, and what a process can go through while it holds them: a fork, an exception from a signal handler."""

from __future__ import annotations

import functools
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")


class WeakMethods:
    """Methods of objects that others keep alive; one for each object. No method here takes a lock."""

    def __init__(self) -> None:
        self._methods: dict[int, weakref.WeakMethod[Callable[[], None]]] = {}

    def add(self, method: Callable[[], None]) -> None:
        """Call a bound method with the others, as long as its object exists."""
        key = id(method.__self__)  # type: ignore[attr-defined]  # not the hash: that of an image encodes it
        self._methods[key] = weakref.WeakMethod(method, lambda _: self._methods.pop(key, None))

    def call(self) -> None:
        """Call every method."""
        for reference in list(self._methods.values()):
            if (method := reference()) is not None:
                method()


in_forked_process = WeakMethods()
"""What a forked process calls at its start. Threads do not survive a fork, but what they held stays held."""

_locks: weakref.WeakSet[Any] = weakref.WeakSet()


def fork_safe_lock() -> Any:
    """Return a `threading.RLock` that is free in a forked process, whichever thread of its parent held it.

    The thread that holds it may take it again, as a signal handler does that interrupts the holder: see `is_held_here`.
    """
    lock = threading.RLock()
    _locks.add(lock)
    return lock


def run_locked(lock: Any, function: Callable[..., T], *args: Any) -> T:
    """Call a function while a lock is held.

    Python runs signal handlers between two of its own instructions, and none between taking a lock and the `with`
    block, nor between that and the release. A debugger or a test may raise there as well, at the next line: so there is
    none.
    """
    with lock: return function(*args)  # noqa: E701  # fmt: skip


def is_held_here(lock: Any) -> bool:
    """Whether the calling thread holds a lock: a signal handler may ask this, which interrupted the holder."""
    return bool(lock._is_owned())


if TYPE_CHECKING or sys.version_info >= (3, 12):
    cached_property = functools.cached_property
else:

    class cached_property(functools.cached_property):  # noqa: N801  # named as what it stands in for
        """As in Python 3.12: without the lock that all objects of a class share, and that a fork leaves held."""

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None:
                return self
            if self.attrname not in instance.__dict__:
                instance.__dict__[self.attrname] = self.func(instance)
            return instance.__dict__[self.attrname]


def _after_fork() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()
    in_forked_process.call()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
