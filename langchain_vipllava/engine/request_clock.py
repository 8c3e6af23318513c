"""`RequestClock`: when what happened to a request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from langchain_vipllava.protocol.answer import Timings


def _now() -> float:
    return time.perf_counter()


@dataclass
class RequestClock:
    """Records events of a request; it starts when it is made, before anything is compiled or encoded."""

    _start: float = field(default_factory=_now)
    _events: dict[str, float] = field(default_factory=dict)
    _grammar: float = 0.0

    def stamp(self, event: Literal["prefill", "first_token"]) -> None:
        """Record the first time of an event."""
        self._events.setdefault(event, _now())

    @contextmanager
    def leaving_out(self) -> Iterator[None]:
        """Do not count what happens inside: loading the model, which is not the request's."""
        before = _now()
        yield
        self._start += _now() - before

    @contextmanager
    def building_grammar(self) -> Iterator[None]:
        """Count what happens inside as building the grammar."""
        before = _now()
        yield
        self._grammar += _now() - before

    def timings(self, reused_tokens: int) -> Timings:
        """Return the timings of an answer that is delivered now."""
        now = _now()
        prefill = self._events.get("prefill", now)
        first_token = self._events.get("first_token", now)
        return Timings(
            queued=prefill - self._start,
            prefill=first_token - prefill,
            first_token=first_token - self._start,
            decode=now - first_token,
            grammar=self._grammar,
            reused_tokens=reused_tokens,
        )
