"""`RequestHandle`: a request in the engine, for the caller that waits for its answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from langchain_vipllava.engine.request import GenerationRequest
from langchain_vipllava.protocol.answer import Answer

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class RequestHandle:
    """A request in the engine: wait for `future`, or `cancel`.

    Attributes:
        request: what was asked.
        on_piece: called with every piece of text, in the engine's thread.
        future: resolves to the `Answer`, or raises what went wrong.
    """

    request: GenerationRequest
    on_piece: Callable[[str], None] | None = field(default=None, repr=False)
    future: Future[Answer] = field(default_factory=Future, repr=False)
    _cancelled: threading.Event = field(default_factory=threading.Event, repr=False)

    def __post_init__(self) -> None:
        # A cancelled task cancels the future that it awaits. A running future refuses: only the engine finishes it.
        self.future.set_running_or_notify_cancel()

    def cancel(self) -> None:
        """Stop the answer within one token; its finish reason is "cancelled"."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether the caller asked to stop."""
        return self._cancelled.is_set()

    def emit(self, piece: str) -> None:
        """Pass a piece of text on. A listener that raises has stopped listening; other answers are not affected."""
        if self.on_piece is not None:
            try:
                self.on_piece(piece)
            except Exception:
                logger.debug("the listener of a streamed answer raised; its answer is cancelled", exc_info=True)
                self.cancel()
