"""`Scheduler`: decides which sequences run."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from langchain_vipllava.engine.prefix_cache import PrefixCache, common_length
from langchain_vipllava.engine.sequence import Sequence

MAX_ROWS = 16
"""Maximum number of sequences that run at once. Chosen: 16 full contexts of the 7B take 32 GiB."""

PREEMPT_AFTER_TOKENS = 64
"""Tokens after which a running sequence is preempted if others wait and every row is taken. Chosen: a row frees after
at most this many tokens. A preempted sequence continues from the prefix cache; without one (`cache_bytes=0`), its
prompt and its answer so far are computed again."""

MAX_PREFILL_TOKENS = 4096
"""Prompt tokens that one step prefills while other sequences decode, so that these do not stall; exceeded by up to one
prompt, as the last one is prefilled whole. Chosen: one full context of the published checkpoints."""

_MIN_PREFILL_COST = 256
"""Tokens of MAX_PREFILL_TOKENS that a group costs at least: a prompt that is cached as a whole takes a forward pass
too. Chosen: 16 such passes in one step."""

_STEPS_PER_ROW = 256
"""Steps without a failure after which `max_rows`, lowered by a failure, grows by one. Chosen: several answers of the
usual length."""

_MIN_SHARED_TOKENS = 16
"""Uncached tokens that two prompts must share for the second to wait until the first is prefilled. Chosen: more
than the beginning that all prompts of the default format share ("USER:"), far fewer than an image (576 at 7B)."""


class Scheduler:
    """Holds the sequences that wait and those that run. First come, first served.

    Args:
        prefix_cache: says how much of a prompt is cached and needs no prefill.

    Attributes:
        waiting: sequences without a row, the next one first.
        running: the sequence of each row of the KV cache, by row.
        max_rows: limit of `running`.
    """

    def __init__(self, prefix_cache: PrefixCache) -> None:
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.max_rows = MAX_ROWS
        self._prefix_cache = prefix_cache
        self._prefill_budget = MAX_PREFILL_TOKENS
        self._is_limited = True
        self._steps_since_failure = 0
        self._step_failed = False

    @property
    def has_work(self) -> bool:
        """Whether any sequence waits or runs."""
        return bool(self.waiting or self.running)

    def begin_step(self) -> None:
        """Renew the prefill budget. If no sequence runs, nothing can stall: the first group is not limited."""
        self._prefill_budget = MAX_PREFILL_TOKENS
        self._is_limited = bool(self.running)
        self._step_failed = False

    def schedule(self) -> list[Sequence]:
        """Remove the sequences to prefill next from the queue; none if no row or no prefill budget is left.

        A prompt that begins like another one of the group stays in the queue: once that one is prefilled, the shared
        part is cached.
        """
        group: list[Sequence] = []
        new_tokens = 0
        budget = self._prefill_budget if self._is_limited else math.inf
        for sequence in self.waiting:
            if len(self.running) + len(group) >= self.max_rows or new_tokens >= budget:
                break
            cached = self._prefix_cache.cached_tokens(sequence.key)
            shares = any(common_length(sequence.key, other.key) >= cached + _MIN_SHARED_TOKENS for other in group)
            if not (shares and self._prefix_cache.max_bytes):
                new_tokens += sequence.length - cached
                group.append(sequence)
        for sequence in group:  # only now: if a line above fails, every sequence is still in the queue
            self.waiting.remove(sequence)
            sequence.length_at_admission = sequence.length
        if group:
            self._prefill_budget -= max(new_tokens, _MIN_PREFILL_COST)
            self._is_limited = True
        return group

    def preempt(self) -> tuple[int, Sequence] | None:
        """Move a running sequence to the end of the queue, if another one needs its row.

        Returns:
            The row, to be freed in the KV cache as in `free_row`, and the sequence to preempt (most tokens since it got
            its row), or None.
        """
        if not self.waiting or len(self.running) < self.max_rows or self._prefill_budget <= 0:
            return None
        tokens = [sequence.length - sequence.length_at_admission for sequence in self.running]
        row = tokens.index(max(tokens))
        if tokens[row] < PREEMPT_AFTER_TOKENS:
            return None
        sequence = self.free_row(row)
        self.waiting.append(sequence)
        return row, sequence

    def remove_finished(self) -> list[Sequence]:
        """Remove the sequences from the queue that are cancelled or failed, and return them."""
        finished = [sequence for sequence in self.waiting if sequence.is_finished]
        for sequence in finished:
            self.waiting.remove(sequence)
        return finished

    def free_row(self, row: int) -> Sequence:
        """Remove the sequence of a row, and return it. The last row takes its place, as in the KV cache."""
        sequence = self.running[row]
        self.running[row] = self.running[-1]
        self.running.pop()
        return sequence

    def end_step(self) -> None:
        """Count a step without a failure. `max_rows` grows back row by row, or at once when there is no work."""
        if not self.has_work:
            self.max_rows = MAX_ROWS
        if self._step_failed:
            return
        self._steps_since_failure += 1
        if self._steps_since_failure % _STEPS_PER_ROW == 0:
            self.max_rows = min(self.max_rows + 1, MAX_ROWS)

    def recover(self, sequences: Iterable[Sequence], max_rows: int | None = None) -> None:
        """After a failed step: stop running, and put sequences at the head of the queue.

        Args:
            sequences: in the order in which they run again.
            max_rows: new limit of rows; None leaves it.
        """
        self._steps_since_failure, self._step_failed = 0, True
        self.running.clear()
        self.waiting.extendleft(reversed(list(sequences)))
        if max_rows is not None:
            self.max_rows = max_rows

    def clear(self) -> None:
        """Drop every sequence."""
        self.waiting.clear()
        self.running.clear()
