"""`RequestHandle`: a request in the engine, for the caller that waits for its answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from langchain_vipllava.engine.future import AnswerFuture
from langchain_vipllava.engine.request import GenerationRequest
from langchain_vipllava.protocol.logprobs import AnswerPiece

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class RequestHandle:
    """A request in the engine: wait for `future`, or `cancel`.

    A caller makes it before it submits, so that it can cancel wherever it is interrupted.

    Attributes:
        on_piece: called with every piece of text, in the engine's thread.
        request: what was asked, without its images; None before it is submitted.
        future: resolves to the `Answer`, or raises what went wrong.
        cancelled: whether the caller asked to stop.
    """

    on_piece: Callable[[str | AnswerPiece], None] | None = field(default=None, repr=False)
    request: GenerationRequest | None = None
    future: AnswerFuture = field(default_factory=AnswerFuture, repr=False)
    cancelled: bool = False

    def cancel(self) -> None:
        """Stop the answer within one token; its finish reason is "cancelled"."""
        self.cancelled = True

    def emit(self, piece: str | AnswerPiece) -> None:
        """Pass a piece of text on. A listener that raises has stopped listening; other answers are not affected."""
        if self.on_piece is not None:
            try:
                self.on_piece(piece)
            except BaseException:  # even SystemExit: the engine's thread runs the answers of others
                logger.debug("the listener of a streamed answer raised; its answer is cancelled", exc_info=True)
                self.cancel()
