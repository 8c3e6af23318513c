"""`Admission`: how many requests of one model are in flight, and who may still come."""

from __future__ import annotations

import os
from collections.abc import Hashable

from langchain_vipllava.errors import BusyError


class Admission:
    """Counts the requests of one model in flight. Takes no lock, so that a signal handler may ask too."""

    def __init__(self) -> None:
        self._slots: set[int] = set()

    def enter(self, max_in_flight: int) -> Slot:
        """Take a slot for a request; whoever takes it releases it.

        Raises:
            BusyError: `max_in_flight` requests have one.
        """
        slot = Slot(self._slots)
        # Counted after it was added: of two that come at once, both may be refused, but never one too many let in.
        if len(self._slots) > max_in_flight:
            slot.release()
            raise BusyError(
                f"max_in_flight={max_in_flight:,} requests of this model are in flight already. Try again later, as "
                "llm.with_retry(retry_if_exception_type=(BusyError,)) does, or send fewer at once: "
                "llm.abatch(inputs, config={'max_concurrency': 16}). RequestLimits(max_in_flight=...) allows more."
            )
        return slot

    @property
    def in_flight(self) -> int:
        """Number of slots that are taken."""
        return len(self._slots)

    def clear(self) -> None:
        """Forget all slots: in a forked process, they are the parent's."""
        self._slots.clear()


class Slot:
    """The place of one request; released once, by `release`, by the end of a `with`, or when nothing holds it."""

    def __init__(self, slots: set[int]) -> None:
        self._slots = slots
        slots.add(id(self))

    def release(self) -> None:
        """Make room for another request. Does nothing the second time."""
        self._slots.discard(id(self))

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def __del__(self) -> None:
        # An interrupt may come between `enter` and the `try` that would release the slot.
        self._slots.discard(id(self))


_admissions: dict[Hashable, Admission] = {}


def admission_of(key: Hashable) -> Admission:
    """Return the admission of whatever `key` identifies: the same one for equal keys."""
    return _admissions.setdefault(key, Admission())


def _clear_after_fork() -> None:
    for admission in list(_admissions.values()):
        admission.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_clear_after_fork)
