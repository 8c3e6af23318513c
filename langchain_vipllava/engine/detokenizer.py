"""`IncrementalDetokenizer`: turns tokens into text, piece by piece, up to a stop text."""

from __future__ import annotations

from bisect import bisect_left
from collections import abc
from collections.abc import Callable, Collection
from typing import Protocol

from langchain_vipllava.protocol.answer import FinishReason

REPLACEMENT_CHARACTER = "\N{REPLACEMENT CHARACTER}"
"""What tokenizers decode bytes to that are not, or not yet, a whole character."""


class Decoder(Protocol):
    """The one method of a tokenizer that is used here."""

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool = ..., **kwargs: object) -> str:
        """Return the text of token ids."""


class IncrementalDetokenizer:
    """Collects the tokens of one answer and emits its text.

    A piece of text is emitted once it is final: it holds whole characters, cannot be the beginning of a stop text, and
    the pieces together have no whitespace at either end.

    Args:
        decoder: the tokenizer.
        end_ids: tokens that end an answer.
        max_tokens: maximum number of tokens of the answer.
        stop: texts that end the answer and are not part of it.
        on_piece: called with every new piece of text; the pieces join to `text`.

    Attributes:
        ids: tokens of the answer so far.
        finish_reason: why the answer ended; None before.
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
        self._text = ""  # all decoded text
        self._starts: list[int] = []  # for each of the ids, the character of it with which its text begins
        self._is_cut = False  # at a stop text
        self._searched = 0  # characters of it that are known to hold no stop text
        self._longest_stop = max(map(len, stop), default=0)
        self._emitted = 0  # characters of it that were emitted, or stripped at its beginning
        self._context = self._decoded = 0  # ids[context:decoded] are decoded again with the ids that follow

    @property
    def text(self) -> str:
        """The emitted text."""
        return self._text[: self._emitted].lstrip()

    @property
    def tokens_left(self) -> int:
        """How many tokens may follow."""
        return self._max_tokens - len(self.ids)

    @property
    def emitted_tokens(self) -> int:
        """Number of tokens whose text begins in the emitted text; of a whole answer, all in front of a stop text."""
        if self.finish_reason is not None and not self._is_cut:
            return len(self.ids)
        return bisect_left(self._starts, len(self._text) if self._is_cut else self._emitted)

    @property
    def answer_ids(self) -> list[int]:
        """The ids without those of a stop text, which may begin with the space that is stripped in front of it."""
        end = bisect_left(self._starts, len(self._text.rstrip())) if self._is_cut else len(self.ids)
        return self.ids[:end]

    def add(self, token: int, *, last: bool = False) -> None:
        """Add the next token; `last` ends the answer after it. Does nothing if the answer has ended."""
        if self.finish_reason is not None:
            return
        if token in self._end_ids:
            self.finish("stop")
            return
        self.ids.append(token)
        self._starts.append(len(self._text))
        self._decode(final=False)
        if self._cut_at_stop() or last:
            self.finish("stop")
        elif len(self.ids) >= self._max_tokens:
            self.finish("length")
        else:
            self._emit(self._final_length())

    def finish(self, reason: FinishReason) -> None:
        """End the answer and emit the rest of its text. Does nothing if it has ended."""
        if self.finish_reason is None:
            self._decode(final=True)
            if self._cut_at_stop():
                reason = "stop"
            self.finish_reason = reason
            self._emit(len(self._text.rstrip()))

    def _decode(self, *, final: bool) -> None:
        # A token by itself may lose its leading space or be half a character: decode it together with the last ones.
        before = self._decoder.decode(self.ids[self._context : self._decoded], skip_special_tokens=True)
        after = self._decoder.decode(self.ids[self._context :], skip_special_tokens=True)
        if len(after) > len(before) and (final or not after.endswith(REPLACEMENT_CHARACTER)):
            self._text += after[len(before) :]
            self._context, self._decoded = self._decoded, len(self.ids)

    def _cut_at_stop(self) -> bool:
        """Cut the text at the first stop text; return whether there was one."""
        begin = max(
            0, self._searched - self._longest_stop + 1
        )  # where one that ends in new text begins at the earliest
        starts = [start for stop in self._stop if (start := self._text.find(stop, begin)) >= 0]
        self._searched = len(self._text)
        if starts:
            self._text = self._text[: min(starts)]
            self._is_cut = True
        return bool(starts)

    def _final_length(self) -> int:
        """Return how many characters cannot become part of a stop text or of trailing whitespace."""
        end = len(self._text)
        for stop in self._stop:
            start = max(0, len(self._text) - len(stop) + 1)
            while (start := self._text.find(stop[0], start, end)) >= 0:
                if stop.startswith(self._text[start:]):
                    end = start
                    break
                start += 1
        return len(self._text[:end].rstrip())

    def _emit(self, end: int) -> None:
        piece = self._text[self._emitted : end]
        if not self._text[: self._emitted].strip():
            piece = piece.lstrip()
        self._emitted = max(self._emitted, end)
        if piece and self._on_piece is not None:
            self._on_piece(piece)


def detokenize(decoder: Decoder, ids: abc.Sequence[int]) -> str:
    """Return the text that an answer of these ids has. Decoding all at once differs where bytes are not text."""
    detokenizer = IncrementalDetokenizer(decoder, end_ids=(), max_tokens=len(ids))
    for token in ids:
        detokenizer.add(token)
    return detokenizer.text
