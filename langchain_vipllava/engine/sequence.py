"""`Sequence`: one answer on its way through the engine."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from langchain_vipllava.engine.detokenizer import IncrementalDetokenizer
from langchain_vipllava.engine.encoding import EncodedPrompt
from langchain_vipllava.engine.handle import RequestHandle
from langchain_vipllava.engine.request import GenerationResult, Timings
from langchain_vipllava.engine.sampler import TokenSampler


@dataclass(eq=False)
class Sequence:
    """A prompt, what was answered so far, and what is known of the time it took.

    Attributes:
        ticket: whose answer it is.
        prompt: what the model reads.
        writer: takes the tokens of the answer.
        sampler: chooses them.
        tokens_since_admission: to take turns when there are more answers than rows.
        reused: tokens of the prompt that were known when it began, and not computed; None before.
        retried: whether it ran out of memory with nobody beside it.
    """

    ticket: RequestHandle
    prompt: EncodedPrompt
    writer: IncrementalDetokenizer
    sampler: TokenSampler
    tokens_since_admission: int = 0
    reused: int | None = None
    retried: bool = False
    _stamps: dict[str, float] = field(default_factory=lambda: {"submitted": time.perf_counter()})

    @property
    def ids(self) -> tuple[int, ...]:
        """Token ids of the prompt and of the answer so far."""
        return (*self.prompt.ids, *self.writer.ids)

    @property
    def key(self) -> tuple[int, ...]:
        """The same, with images told apart."""
        return (*self.prompt.key, *self.writer.ids)

    @property
    def length(self) -> int:
        """Tokens of the prompt and of the answer so far."""
        return len(self.prompt.ids) + len(self.writer.ids)

    @property
    def finished(self) -> bool:
        """Whether the answer is complete; one that was cancelled or has failed is."""
        if self.ticket.cancelled:
            self.writer.finish("cancelled")
        return self.writer.finish_reason is not None or self.ticket.future.done()

    def stamp(self, event: str) -> None:
        """Note the first time that something happened."""
        self._stamps.setdefault(event, time.perf_counter())

    def deliver(self) -> None:
        """Hand the finished answer to whoever waits for it, unless it failed."""
        if self.ticket.future.done():
            return
        self.ticket.future.set_result(
            GenerationResult(
                tuple(self.writer.ids),
                self.writer.text,
                len(self.prompt.ids),
                self.writer.finish_reason or "cancelled",
                self._timings(),
            )
        )

    def fail(self, error: Exception) -> None:
        """Tell whoever waits what went wrong, unless the answer was handed over already."""
        if not self.ticket.future.done():
            self.ticket.future.set_exception(error)

    def _timings(self) -> Timings:
        now = time.perf_counter()
        begun = self._stamps.get("begun", now)
        first = self._stamps.get("first_token", now)
        submitted = self._stamps["submitted"]
        return Timings(begun - submitted, first - begun, first - submitted, now - first, self.reused or 0)
