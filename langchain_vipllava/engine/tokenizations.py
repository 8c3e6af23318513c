"""`Tokenizations`: the probability of one answer, summed over the ways to write it in tokens."""

from __future__ import annotations

import math
from collections import abc
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from langchain_vipllava.engine.token_texts import TokenTexts

LEAST_SHARE = 1e-3
"""Probability below which a way to write an answer is estimated instead of measured. Chosen: a third decimal is none
that anybody acts on."""

TokenIds = tuple[int, ...]


@dataclass(frozen=True)
class _Way:
    """A beginning of the answer.

    Attributes:
        ids: its tokens.
        written: their bytes.
        share: how likely they are.
    """

    ids: TokenIds
    written: bytes
    share: float


class Tokenizations:
    """Sums the probability of one answer over the ways to write it in tokens.

    The answer itself is one way; `unmeasured` are those that leave it somewhere and are worth a forward pass. What is
    not measured counts as likely to be completed as the answer was from the same byte on.

    Args:
        text: of the answer, which may have a space in front.
        path: token ids of the answer.
        ends: whether a token that ends it follows the text; else it is complete by itself.
        texts: those of the tokenizer.
        end_ids: tokens that end an answer.
    """

    def __init__(
        self, text: bytes, path: abc.Sequence[int], texts: TokenTexts, end_ids: Collection[int], *, ends: bool
    ) -> None:
        self._text, self._path, self._ends = text, tuple(path), ends
        self._texts, self._end_ids = texts, frozenset(end_ids)
        self._logprobs: dict[TokenIds, Mapping[int, float]] = {}
        self._estimates: dict[int, float] = {}

    def learn(self, ids: TokenIds, logprobs: Mapping[int, float]) -> None:
        """Take note of what may come next.

        Args:
            ids: tokens of the beginning.
            logprobs: of the tokens that may follow, by their ids: shares of all that is admitted there.
        """
        self._logprobs[ids] = logprobs
        self._estimates.clear()

    def unmeasured(self) -> list[TokenIds]:
        """Return the beginnings of at least `LEAST_SHARE` that are not known yet, the likeliest first."""
        found, pending = [], [_Way((), b"", 1.0)]
        while pending:
            way = pending.pop()
            if way.ids in self._logprobs:
                pending += [longer for longer in self._following(way)[1] if longer.share >= LEAST_SHARE]
            else:
                found.append(way)
        return [way.ids for way in sorted(found, key=lambda way: -way.share)]

    def probability(self) -> float:
        """Return the probability of the answer, 0 to 1."""
        return min(max(self._from(_Way((), b"", 1.0)), 0.0), 1.0)

    def _from(self, way: _Way) -> float:
        """The probability of a beginning, times that of the rest of the answer."""
        if way.ids not in self._logprobs:
            return way.share * self._estimate(self._left(way.written))
        complete, longer = self._following(way)
        return complete + sum(map(self._from, longer))

    def _following(self, way: _Way) -> tuple[float, list[_Way]]:
        """The probability that the answer is complete with the next token, and the ways that go on."""
        complete, longer = 0.0, []
        for token, logprob in self._logprobs[way.ids].items():
            share = way.share * math.exp(logprob)
            _, data = self._texts.of(token)
            if token in self._end_ids:
                complete += share * (self._left(way.written) == 0)
            elif data and self._text.startswith((way.written + data).lstrip(b" ")):
                after = _Way((*way.ids, token), way.written + data, share)
                if self._left(after.written) or self._ends:
                    longer.append(after)
                else:
                    complete += share
        return complete, longer

    def _left(self, written: bytes) -> int:
        """Number of bytes of the text that are still to be written."""
        return len(self._text) - len(written.lstrip(b" "))

    def _estimate(self, left: int) -> float:
        """The probability of the last bytes of the text, from where the answer itself began its last token before."""
        if left not in self._estimates:
            self._estimates[left] = 1.0
            written = b""
            for count, token in enumerate(self._path, 1):
                written += self._texts.of(token)[1] or b""
                if self._left(written) <= left and self._path[:count] in self._logprobs:
                    self._estimates[left] = self._from(_Way(self._path[:count], written, 1.0))
                    break
        return self._estimates[left]
