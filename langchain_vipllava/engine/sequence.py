"""`Sequence`: the prompt and the answer so far of one request in the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_vipllava.engine.detokenizer import IncrementalDetokenizer
from langchain_vipllava.engine.encoding import EncodedPrompt
from langchain_vipllava.engine.handle import RequestHandle
from langchain_vipllava.engine.logprobs import LogprobRecorder
from langchain_vipllava.engine.prompt_lookup import PromptLookup
from langchain_vipllava.engine.request_clock import RequestClock
from langchain_vipllava.engine.sampler import TokenSampler
from langchain_vipllava.protocol.answer import Answer

if TYPE_CHECKING:
    from langchain_vipllava.engine.prefix_cache import PrefixCache
    from langchain_vipllava.engine.probes import AnswerProbability, Probe


@dataclass(eq=False)
class Sequence:
    """A prompt, its answer so far, and when what happened to it.

    Attributes:
        handle: what its caller holds.
        prompt: what the model reads.
        detokenizer: collects the tokens of the answer.
        sampler: chooses them.
        recorder: records how likely they were; None if nobody asks.
        lookup: guesses tokens of the answer; None if it guesses none.
        length_at_admission: its length when it got its row.
        reused_tokens: tokens of the prompt that were cached at the first prefill; None before it.
        oom_retried: whether it ran out of memory alone, and was tried again.
        clock: when what happened to it.
        probability: measures how likely the answer was; None if nobody asks.
    """

    handle: RequestHandle
    prompt: EncodedPrompt
    detokenizer: IncrementalDetokenizer
    sampler: TokenSampler
    recorder: LogprobRecorder | None = None
    lookup: PromptLookup | None = None
    length_at_admission: int = 0
    reused_tokens: int | None = None
    oom_retried: bool = False
    clock: RequestClock = field(default_factory=RequestClock)
    probability: AnswerProbability | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """Token ids of the prompt and of the answer so far."""
        return (*self.prompt.ids, *self.detokenizer.ids)

    @property
    def key(self) -> tuple[int, ...]:
        """The token ids, with the key of its image for every image token."""
        return (*self.prompt.key, *self.detokenizer.ids)

    @property
    def length(self) -> int:
        """Number of tokens of the prompt and of the answer so far."""
        return len(self.prompt.ids) + len(self.detokenizer.ids)

    @property
    def is_finished(self) -> bool:
        """Whether the answer is complete, cancelled or failed."""
        return self.handle.cancelled or self.detokenizer.finish_reason is not None or self.handle.future.done()

    def probes(self, cache: PrefixCache, then: Callable[[], None]) -> list[Probe]:
        """Return what is to be measured before the finished answer can be delivered, see `AnswerProbability`."""
        return [] if self.probability is None else self.probability.probes(self, cache, then)

    def deliver(self) -> None:
        """Resolve the caller's future with the finished answer, unless it failed."""
        if self.handle.future.done():
            return
        self.detokenizer.finish("cancelled")  # does nothing if the answer is complete
        places = None if self.recorder is None else self.recorder.places
        self.handle.future.set_result(
            Answer(
                text=self.detokenizer.text,
                input_tokens=len(self.prompt.ids),
                output_tokens=len(self.detokenizer.ids),
                finish_reason=self.detokenizer.finish_reason or "cancelled",
                token_ids=tuple(self.detokenizer.answer_ids),
                timings=self.clock.timings(self.reused_tokens or 0),
                logprobs=None if places is None else tuple(places[: self.detokenizer.emitted_tokens]),
                end=None if places is None else next(iter(places[len(self.detokenizer.ids) :]), None),
                probability=None if self.probability is None else self.probability.value,
            )
        )

    def fail(self, error: Exception) -> None:
        """Raise an error at the caller, unless the answer was delivered."""
        if not self.handle.future.done():
            self.handle.future.set_exception(error)
