"""`IncrementalDetokenizer`: tokens in, text out, piece by piece, up to a stop text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from langchain_vipllava.engine.request import FinishReason

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""What bytes that are no character, or not all of one yet, are decoded to."""


class Decoder(Protocol):
    """The one method of a tokenizer that is needed here."""

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool = ..., **kwargs: object) -> str:
        """Token ids to text."""


class IncrementalDetokenizer:
    """Writes one answer down while its tokens arrive.

    A piece of text is given out only when nothing can take it back: not in the middle of a
    character, not where a stop text may have begun, and no whitespace at either end.

    Args:
        decoder: the tokenizer.
        end_ids: tokens that end an answer.
        max_tokens: most tokens of the answer.
        stop: texts that end the answer and do not belong to it.
        on_piece: called with every new piece of text; the pieces make up `text`.
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        end_ids: Collection[int],
        max_tokens: int,
        stop: tuple[str, ...] = (),
        on_piece: Callable[[str], None] | None = None,
    ) -> None:
        self.ids: list[int] = []
        self.finish_reason: FinishReason | None = None
        self._decoder = decoder
        self._end_ids = frozenset(end_ids)
        self._max_tokens = max_tokens
        self._stop = stop
        self._on_piece = on_piece
        self._text = ""  # all that was decoded
        self._given = 0  # characters of it that were given out, or dropped in front
        self._window = self._read = 0  # ids[window:read] is decoded already and gives context to what follows

    @property
    def text(self) -> str:
        """The answer so far."""
        return self._text[: self._given].lstrip()

    def add(self, token: int, *, last: bool = False) -> None:
        """Take the next token, after which nothing can follow if it is the last; nothing happens once finished."""
        if self.finish_reason is not None:
            return
        if token in self._end_ids:
            self.finish("stop")
            return
        self.ids.append(token)
        self._decode(final=False)
        if self._cut_at_stop() or last:
            self.finish("stop")
        elif len(self.ids) >= self._max_tokens:
            self.finish("length")
        else:
            self._give(self._safe_end())

    def finish(self, reason: FinishReason) -> None:
        """End the answer and give out the rest of it."""
        if self.finish_reason is None:
            self._decode(final=True)
            if self._cut_at_stop():
                reason = "stop"
            self.finish_reason = reason
            self._give(len(self._text.rstrip()))

    def _decode(self, *, final: bool) -> None:
        # A token alone may decode without its space or be half a character: decode it after the last ones.
        before = self._decoder.decode(self.ids[self._window : self._read], skip_special_tokens=True)
        after = self._decoder.decode(self.ids[self._window :], skip_special_tokens=True)
        if len(after) > len(before) and (final or not after.endswith(UNFINISHED)):
            self._text += after[len(before) :]
            self._window, self._read = self._read, len(self.ids)

    def _cut_at_stop(self) -> bool:
        starts = [start for stop in self._stop if (start := self._text.find(stop)) >= 0]
        if starts:
            self._text = self._text[: min(starts)]
        return bool(starts)

    def _safe_end(self) -> int:
        """How much of the text cannot become part of a stop text or of trailing whitespace."""
        end = len(self._text)
        for stop in self._stop:
            for length in range(min(len(stop) - 1, len(self._text)), 0, -1):
                if self._text.endswith(stop[:length]):
                    end = min(end, len(self._text) - length)
                    break
        return len(self._text[:end].rstrip())

    def _give(self, end: int) -> None:
        piece = self._text[self._given : end]
        if not self._text[: self._given].strip():
            piece = piece.lstrip()
        self._given = max(self._given, end)
        if piece and self._on_piece is not None:
            self._on_piece(piece)


def write(decoder: Decoder, ids: Sequence[int]) -> str:
    """The text that a writer makes of ids: token by token, so it differs from decoding all where bytes are no text."""
    writer = IncrementalDetokenizer(decoder, end_ids=(), max_tokens=len(ids))
    for token in ids:
        writer.add(token)
    return writer.text
