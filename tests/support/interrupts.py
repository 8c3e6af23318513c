"""Raises in a thread at a chosen line of the package, as a signal handler may raise anywhere in the main thread."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import langchain_vipllava

PACKAGE = Path(langchain_vipllava.__file__).parent
HAND_OVER = tuple(str(PACKAGE / part) for part in ("engine", "backends", "locks.py", "workspace/fair_lock.py"))
"""Where requests are handed to the engine. Not `images/`: Python runs no signal handler between the end of a `with`
block and the release of its lock, where a raise at a line would keep the lock of an image."""

Place = tuple[str, int]
"""Function and line, or function and the offset of an instruction."""


class Interrupted(BaseException):
    """What the signal handler raises."""


@contextmanager
def _tracing(event: str, see: Callable[[Place], None]) -> Iterator[None]:
    def trace(frame: FrameType, kind: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(HAND_OVER):
            return None
        frame.f_trace_opcodes = event == "opcode"
        if kind == event:
            code = frame.f_code
            see((f"{code.co_filename}:{code.co_qualname}", frame.f_lineno if event == "line" else frame.f_lasti))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def places_of(call: Callable[[], object], event: str = "line") -> list[Place]:
    """Return the different lines (or opcodes) of the hand-over that this thread runs in a call, in their order."""
    seen: dict[Place, None] = {}
    with _tracing(event, seen.setdefault):
        call()
    return list(seen)


def interrupt_at(place: Place, call: Callable[[], object], event: str = "line") -> bool:
    """Make a call that is interrupted the first time that it comes to a place; return whether it came there."""
    hit = []

    def see(at: Place) -> None:
        if at == place and not hit:
            hit.append(at)
            raise Interrupted

    with suppress(Interrupted), _tracing(event, see):
        call()
    return bool(hit)
