"""`AnswerReader`: makes an answer of a server's chunks, with the same rules as the engine of this process."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from langchain_vipllava.backends.answer_chunks import AnswerChunk, ChunkToken, read_scores
from langchain_vipllava.backends.served_checkpoint import ServedCheckpoint
from langchain_vipllava.backends.server_failures import BrokenAnswerError
from langchain_vipllava.engine.constraint import Constraint
from langchain_vipllava.engine.detokenizer import Decoder, IncrementalDetokenizer
from langchain_vipllava.engine.grammar import Grammar
from langchain_vipllava.engine.request_clock import RequestClock
from langchain_vipllava.errors import CheckpointError, GenerationError, ServerError
from langchain_vipllava.protocol.answer import Answer, FinishReason
from langchain_vipllava.protocol.logprobs import LEAST_LOGPROB, AnswerPiece, Choice, TokenLogprob

_MAX_LATE_CHUNKS = 8
"""Chunks that are read after an answer has ended, for their usage. Chosen: vLLM sends two."""

_ENDS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


class Emit(Protocol):
    """Gets the pieces of an answer."""

    def __call__(self, piece: str | AnswerPiece, /) -> object:
        """Take a piece."""


class _Texts:
    """Stands in for a tokenizer where the server's texts have to do: a number stands for a text that it sent."""

    def __init__(self) -> None:
        self.known: list[str] = []

    def add(self, text: str) -> int:
        self.known.append(text)
        return len(self.known) - 1

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool = False, **kwargs: object) -> str:
        del skip_special_tokens, kwargs
        return "".join(self.known[index] for index in token_ids)


class AnswerReader:
    """Collects the chunks of one answer, over all its tries.

    Args:
        checkpoint: has the tokenizer; None where the texts of the server have to do.
        max_tokens: maximum number of tokens of the answer.
        stop: texts that end it.
        grammar: what it has to match; the server enforces it, and it is checked here.
        top_logprobs: alternatives of each token that were asked for; None for no log-probabilities.
        clock: when what happened.
        emit: gets the pieces; None if nobody listens.

    Attributes:
        ids: tokens so far.
        emitted: whether a piece has gone out, so that the answer cannot begin anew.
        prompt_tokens: tokens of the prompt by the server's count; None before it says.
        constraint: follows an answer that has to match a grammar; None for free text.
        max_tokens: maximum number of tokens of the answer.
        free_tokens: how many of them there are before it has to be brought to its end.
        is_cut: whether the answer has used up its free tokens, and has to be brought to its end.
    """

    def __init__(
        self,
        *,
        checkpoint: ServedCheckpoint | None,
        max_tokens: int,
        stop: tuple[str, ...],
        grammar: Grammar | None,
        top_logprobs: int | None,
        clock: RequestClock,
        emit: Emit | None,
    ) -> None:
        self.emitted = False
        self.prompt_tokens: int | None = None
        self._checkpoint, self._grammar = checkpoint, grammar
        self.max_tokens, self._stop, self._top = max_tokens, stop, top_logprobs
        self._clock, self._emit = clock, emit
        self._begin()

    def _begin(self) -> None:
        self._words = _Texts()
        decoder: Decoder = self._words if self._checkpoint is None else self._checkpoint.texts
        self._detokenizer = IncrementalDetokenizer(
            decoder, end_ids=(), max_tokens=self.max_tokens, stop=self._stop, on_piece=self._on_piece
        )
        self._places: list[TokenLogprob] = []
        self._sent_places = self._cached_tokens = self._late = 0
        self._output_tokens: int | None = None
        self.constraint: Constraint | None = None
        if self._grammar is not None and self._checkpoint is not None:
            self.constraint = self._checkpoint.constraints.start(self._grammar, self.max_tokens)
        self.is_cut = False
        self.free_tokens = self.max_tokens if self.constraint is None else self.constraint.free_tokens
        self._expected: list[int] = []
        self._is_over, self._is_fresh = False, True

    @property
    def ids(self) -> list[int]:
        """Tokens of the answer so far."""
        return self._detokenizer.ids

    @property
    def has_ended(self) -> bool:
        """Whether the answer is complete."""
        return self._is_over

    @property
    def is_over(self) -> bool:
        """Whether nothing more has to be read, not even its usage."""
        return self._is_over and self._late > _MAX_LATE_CHUNKS

    def begin(self, *, goes_on: bool) -> None:
        """Prepare for a try.

        Args:
            goes_on: whether it continues where the last one broke off; else it begins anew, and what was emitted has to
                come again.

        Raises:
            ServerError: pieces are out, and nobody can compare what comes again.
        """
        self._expected = []
        if goes_on:
            return
        if not self.emitted:
            if not self._is_fresh:
                self._begin()
        elif self._checkpoint is None:
            raise ServerError("the server broke off an answer of which a part is out already; ask again.")
        else:
            self._expected = list(self.ids)

    def add(self, chunk: AnswerChunk) -> None:
        """Add a chunk.

        Raises:
            BrokenAnswerError: it cannot belong to this answer.
            ServerError: the server does not enforce the form of the answer.
        """
        self._clock.stamp("first_token")
        self._is_fresh = False
        if chunk.prompt_tokens is not None:
            self.prompt_tokens = chunk.prompt_tokens
            self._cached_tokens = self._cached_tokens or chunk.cached_tokens
            self._output_tokens = chunk.output_tokens
        if self._is_over:
            self._late += 1
            return
        if self._checkpoint is None:
            self._add_text(chunk)
        else:
            self._add_ids(chunk, self._checkpoint)
        if self._detokenizer.finish_reason is None and chunk.finish_reason is not None:
            if chunk.finish_reason == "length" and self.constraint is not None and not self._expected:
                self.is_cut = True
                return
            if chunk.finish_reason not in _ENDS:
                raise BrokenAnswerError(f"ended the answer with {chunk.finish_reason[:40]!r}")
            if self._expected:
                raise self._differs()
            self._detokenizer.finish(_ENDS[chunk.finish_reason])
        self._is_over = self._detokenizer.finish_reason is not None

    def _add_ids(self, chunk: AnswerChunk, checkpoint: ServedCheckpoint) -> None:
        if chunk.ids is None:
            if chunk.text:
                raise ServerError("the server sends no token ids; expected vLLM 0.11 or newer (return_token_ids).")
            return
        if self._top is not None and len(chunk.places) != len(chunk.ids):
            raise BrokenAnswerError("sent no log-probability for a token")
        for index, token in enumerate(chunk.ids):
            if token >= checkpoint.texts.vocabulary:
                raise BrokenAnswerError(f"sent the token id {token}, which the tokenizer does not have")
            if self._expected:
                if self._expected.pop(0) != token:
                    raise self._differs()
                continue
            place = chunk.places[index] if self._top is not None else None
            is_last = index == len(chunk.ids) - 1 and chunk.finish_reason == "stop"
            if is_last and token in checkpoint.texts.special_ids and not isinstance(chunk.stopped_at, str):
                self._record(place)  # what ended the answer is not part of it
                return
            if self._detokenizer.finish_reason is not None:
                return
            self._record(place)
            self._detokenizer.add(token, last=self._consume(token))

    def end(self, reason: FinishReason) -> None:
        """End the answer, where its form allows nothing more, or where it has as many tokens as it may."""
        self._detokenizer.finish(reason)
        self._is_over = True

    def add_forced(self, token: int) -> None:
        """Add the only token that may come next."""
        self._detokenizer.add(token, last=self._consume(token))
        self._is_over = self._detokenizer.finish_reason is not None

    def _consume(self, token: int) -> bool:
        """Whether the answer cannot go on after a token."""
        if self.constraint is None:
            return False
        try:
            self.constraint.accept(token)
        except GenerationError as error:
            raise ServerError(
                "the server does not enforce the form of the answer. Start it with "
                '--structured-outputs-config \'{"backend": "guidance"}\', as `langchain-vipllava serve` does.'
            ) from error
        return self.constraint.is_complete

    def _add_text(self, chunk: AnswerChunk) -> None:
        words = [chunk.text or "", *[""] * (len(chunk.places) - 1)]
        if not chunk.text and not chunk.places:
            return
        for index, word in enumerate(words):
            self._record(chunk.places[index] if self._top is not None and index < len(chunk.places) else None)
            self._detokenizer.add(self._words.add(word))

    def _record(self, place: ChunkToken | None) -> None:
        if place is not None:
            admitted = None if self._checkpoint is None or self.is_cut else self._shares(place, self._checkpoint)
            self._places.append(self._place(place, admitted))

    def _place(self, place: ChunkToken, admitted: tuple[Choice, ...] | None) -> TokenLogprob:
        top = tuple(map(self._choice, place.top[: self._top]))
        chosen = self._choice(place)
        return TokenLogprob(chosen.token, chosen.logprob, chosen.data, top, admitted)

    def _shares(self, place: ChunkToken, checkpoint: ServedCheckpoint) -> tuple[Choice, ...]:
        """The likeliest tokens at a place as shares of all that could come: a server masks logits by the form first.

        Tokens that it does not list count as one, which is exact at a temperature of 1.
        """
        listed = {token.token: token for token in (*place.top, place) if token.logprob > LEAST_LOGPROB}
        rest = max(1 - sum(math.exp(token.logprob) for token in listed.values()), 0.0)
        power = 1 / checkpoint.confidence_temperature
        total = sum(math.exp(token.logprob * power) for token in listed.values()) + rest**power
        return tuple(
            replace(self._choice(token), logprob=token.logprob * power - math.log(total)) for token in listed.values()
        )

    @property
    def needs_scores(self) -> bool:
        """Whether the log-probabilities of the answer have to be asked for: those that came are of its form."""
        return self._top is not None and self._grammar is not None and self._checkpoint is not None and bool(self.ids)

    def add_scores(self, said: Mapping[str, Any], prompt_tokens: int) -> None:
        """Replace log-probabilities by the model's own, of a server that read the answer as part of a prompt.

        Args:
            said: what it answered.
            prompt_tokens: tokens in front of the answer.

        Raises:
            BrokenAnswerError: it did not say them.
        """
        places = read_scores(said, prompt_tokens, self.ids)
        admitted = [place.admitted for place in self._places[: len(places)]]
        admitted += [None] * (len(places) - len(admitted))  # of tokens that were forced, nothing is known
        scored = [self._place(*pair) for pair in zip(places, admitted, strict=True)]
        self._places = [*scored, *self._places[len(scored) :]]

    def _choice(self, place: ChunkToken) -> Choice:
        if isinstance(place.token, int) and self._checkpoint is not None:
            text, data = self._checkpoint.token_texts.of(place.token)
            return Choice(text, place.logprob, data)
        return Choice(str(place.token), place.logprob, place.data)

    def _on_piece(self, piece: str) -> None:
        if self._emit is None:
            return
        self.emitted = True
        if self._top is None:
            self._emit(piece)
            return
        if self.needs_scores:  # the whole answer has them
            self._emit(AnswerPiece(piece, ()))
            return
        before, self._sent_places = self._sent_places, self._detokenizer.emitted_tokens
        self._emit(AnswerPiece(piece, tuple(self._places[before : self._sent_places])))

    def _differs(self) -> ServerError:
        return ServerError(
            "the server broke off an answer of which a part is out already, and the next one writes another; ask again."
        )

    def expect_prompt(self, tokens: int) -> None:
        """Check that the server read as many tokens of prompt as were meant.

        Raises:
            CheckpointError: it did not: its checkpoint, its tokenizer or its images are others than here.
        """
        if self.prompt_tokens is not None and self.prompt_tokens != tokens:
            raise CheckpointError(
                f"the server read a prompt of {self.prompt_tokens} tokens where {tokens} were sent; tokenizer= has to "
                "name the checkpoint that it serves, with its config.json."
            )

    def answer(self, prompt_tokens: int | None) -> Answer:
        """Return the whole answer.

        Args:
            prompt_tokens: tokens of the prompt, images included; None for the server's count.

        Raises:
            BrokenAnswerError: it has not ended.
        """
        detokenizer = self._detokenizer
        if detokenizer.finish_reason is None:
            raise BrokenAnswerError("ended its stream in the middle of an answer")
        count, known = len(detokenizer.ids), self._checkpoint is not None
        recorded = self._top is not None
        output_tokens = count if known or self._output_tokens is None else self._output_tokens
        return Answer(
            text=detokenizer.text,
            input_tokens=prompt_tokens if prompt_tokens is not None else self.prompt_tokens or 0,
            output_tokens=output_tokens,
            finish_reason=detokenizer.finish_reason,
            token_ids=tuple(detokenizer.answer_ids) if known else None,
            timings=self._clock.timings(self._cached_tokens),
            logprobs=tuple(self._places[: detokenizer.emitted_tokens]) if recorded else None,
            end=next(iter(self._places[count:]), None) if recorded else None,
        )
