"""`RequestHandle`: a request on its way, for the caller that waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from langchain_vipllava.engine.request import GenerationRequest, GenerationResult

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class RequestHandle:
    """A request on its way: wait for `future`, or `cancel`.

    Attributes:
        request: what was asked.
        on_piece: called with every piece of text, in the host's thread.
        future: gives the `GenerationResult`, or raises what went wrong.
    """

    request: GenerationRequest
    on_piece: Callable[[str], None] | None = field(default=None, repr=False)
    future: Future[GenerationResult] = field(default_factory=Future, repr=False)
    _cancelled: threading.Event = field(default_factory=threading.Event, repr=False)

    def __post_init__(self) -> None:
        # An awaiting task that is cancelled cancels the future it waits for; a running one refuses, and so stays ours
        # to finish.
        self.future.set_running_or_notify_cancel()

    def cancel(self) -> None:
        """Stop the answer within a token; its result says "cancelled"."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._cancelled.is_set()

    def give(self, piece: str) -> None:
        """Pass a piece on; a listener that fails has stopped listening, and loses nobody else's answer."""
        if self.on_piece is not None:
            try:
                self.on_piece(piece)
            except Exception:
                logger.debug("a listener of a streamed answer failed; its answer is cancelled", exc_info=True)
                self.cancel()
