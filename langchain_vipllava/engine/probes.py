"""`AnswerProbability`: measures how likely an answer was in other tokens than those that it was written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from langchain_vipllava.engine.constraint import Constraint
from langchain_vipllava.engine.detokenizer import Decoder, IncrementalDetokenizer
from langchain_vipllava.engine.prefix_cache import PrefixCache
from langchain_vipllava.engine.sampler import TokenSampler
from langchain_vipllava.engine.sequence import Sequence
from langchain_vipllava.engine.tokenizations import TokenIds, Tokenizations
from langchain_vipllava.protocol.sampling import Sampling

MAX_PROBES = 32
"""Beginnings that are measured of one answer. Chosen: trained weights need some 3, random ones some 20, and each costs
a CPU as much as a token."""

_MAX_TOKENS = 64
"""Tokens of the longest answer that is measured. Chosen: a long value of an enum."""

_MAX_UNCACHED = 16
"""Tokens of the prompt that may not be cached. Chosen: far fewer than an image, which must not be computed again."""


class Probe(Sequence):
    """A sequence of one token that nobody reads: what could have come behind the beginning of an answer.

    Attributes:
        beginning: its tokens, behind those of the prompt.
        then: called once it has ended, however that was.
    """

    beginning: TokenIds
    then: Callable[[Probe], None]

    def deliver(self) -> None:
        """Report its end, once."""
        then, self.then = self.then, _nothing
        then(self)

    def fail(self, error: Exception) -> None:
        """Report its end: the answer is complete without it."""
        del error
        self.deliver()


def _nothing(probe: Probe) -> None:
    """Stands for a report that was made."""


@dataclass(eq=False)
class AnswerProbability:
    """Measures the probability of an answer over its tokenizations, in rounds of `Probe`s behind its last token.

    Args:
        start: the constraint, before the first token.
        end_ids: tokens that end an answer.
        decoder: the tokenizer.
        context_length: maximum number of tokens of prompt and answer.
    """

    start: Constraint
    end_ids: tuple[int, ...]
    decoder: Decoder
    context_length: int
    _found: Tokenizations | None = None
    _started: int = 0
    _pending: set[Probe] = field(default_factory=set)
    _is_over: bool = False

    @property
    def value(self) -> float | None:
        """The probability, as far as it was measured; None for an answer that has none here."""
        return None if self._found is None else self._found.probability()

    def probes(self, sequence: Sequence, cache: PrefixCache, then: Callable[[], None]) -> list[Probe]:
        """Return what is to be measured next of an answer that has ended; nothing if no more is.

        Args:
            sequence: the answer.
            cache: has to hold the prompt: it is not worth computing it again.
            then: called when all of them have ended.
        """
        if self._found is None and not self._is_over:
            self._found = self._begin(sequence)
        if self._found is None or self._is_over or sequence.handle.cancelled:
            return []
        wanted = self._found.unmeasured()[: MAX_PROBES - self._started]
        room = self.context_length - len(sequence.prompt.ids)
        prompt = sequence.prompt.key
        self._is_over = (
            not wanted or max(map(len, wanted)) >= room or cache.cached_tokens(prompt) + _MAX_UNCACHED < len(prompt)
        )
        if self._is_over:
            return []
        self._started += len(wanted)
        probes = [self._probe(sequence, beginning, then) for beginning in wanted]
        self._pending.update(probes)
        return probes

    def _begin(self, sequence: Sequence) -> Tokenizations | None:
        """What the answer itself tells; None unless it is one JSON value that is no container, and complete."""
        recorder, ids = sequence.recorder, sequence.detokenizer.ids
        text = sequence.detokenizer.text.encode()
        self._is_over = True
        if recorder is None or sequence.detokenizer.finish_reason != "stop" or len(ids) > _MAX_TOKENS:
            return None
        written = b"".join(place.data or b"\xff" for place in recorder.places[: len(ids)])
        if not text or text.startswith((b"{", b"[")) or written.strip() != text:  # such as: cut at a stop text
            return None
        self._is_over = False
        ends = len(recorder.places) > len(ids)
        found = Tokenizations(text, ids, recorder.texts, self.end_ids, ends=ends)
        for count, logprobs in enumerate(recorder.admitted):
            found.learn(tuple(ids[:count]), logprobs)
        return found

    def _probe(self, sequence: Sequence, beginning: TokenIds, then: Callable[[], None]) -> Probe:
        assert sequence.recorder is not None  # noqa: S101  # or `_begin` has returned nothing
        constraint = self.start.fork()
        for token in beginning:
            constraint.accept(token)
        recorder = sequence.recorder.another()
        prompt = replace(sequence.prompt, ids=(*sequence.prompt.ids, *beginning))
        detokenizer = IncrementalDetokenizer(self.decoder, end_ids=self.end_ids, max_tokens=1)
        sampler = TokenSampler(Sampling(), constraint, recorder)
        probe = Probe(sequence.handle, prompt, detokenizer, sampler, recorder, reused_tokens=0)
        probe.beginning = beginning
        probe.then = lambda probe: self._end(probe, then)
        return probe

    def _end(self, probe: Probe, then: Callable[[], None]) -> None:
        assert probe.recorder is not None  # noqa: S101  # `_probe` has given it one
        assert self._found is not None  # noqa: S101  # or there were no probes
        if probe.recorder.admitted:
            self._found.learn(probe.beginning, probe.recorder.admitted[0])
        else:  # cancelled, or failed
            self._is_over = True
        self._pending.discard(probe)
        if not self._pending:
            then()
