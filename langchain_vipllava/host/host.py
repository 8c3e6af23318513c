"""`ModelHost`: one loaded model, one owner of its device, many callers."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch

from langchain_vipllava.errors import GenerationError, VipLlavaError
from langchain_vipllava.host.answer import AnswerWriter
from langchain_vipllava.host.batch import end_ids, run_batch
from langchain_vipllava.host.encoding import EncodedPrompt, PromptEncoder
from langchain_vipllava.host.loading import check_model, load_checkpoint
from langchain_vipllava.host.options import LoadOptions
from langchain_vipllava.host.request import GenerationRequest, GenerationResult

logger = logging.getLogger(__name__)

MAX_BATCH = 8
"""Most requests that are answered together."""


@dataclass(eq=False)
class Ticket:
    """A request on its way: wait for `future`, or `cancel`.

    Attributes:
        future: gives the `GenerationResult`, or raises what went wrong.
    """

    request: GenerationRequest
    prompt: EncodedPrompt = field(repr=False)
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

    def give(self, piece: str) -> None:
        """Pass a piece on; a listener that fails has stopped listening, and loses nobody else's answer."""
        if self.on_piece is not None:
            try:
                self.on_piece(piece)
            except Exception:
                logger.debug("a listener of a streamed answer failed; its answer is cancelled", exc_info=True)
                self.cancel()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._cancelled.is_set()


class ModelHost:
    """Owns a model: callers from any thread or task hand in requests, one thread runs them.

    Requests that wait together are answered together, in one left-padded batch. The thread
    lives only while there is work.

    Args:
        model: a loaded `VipLlavaForConditionalGeneration`.
        processor: its `LlavaProcessor`.
        name: how messages and metadata call it.

    Raises:
        CheckpointError: the model is no ViP-LLaVA, or the processor does not fit.
    """

    def __init__(self, model: Any, processor: Any, *, name: str | None = None) -> None:
        self.model = check_model(model, processor)
        self.processor = processor
        self.name = name or str(getattr(model.config, "_name_or_path", "") or "vipllava")
        self.encoder = PromptEncoder(processor, model.config)
        self._waiting: deque[Ticket] = deque()
        self._lock = threading.Lock()
        self._working = False

    def submit(self, request: GenerationRequest, on_piece: Callable[[str], None] | None = None) -> Ticket:
        """Hand a request in and go on; `on_piece` gets the text while it is made, in the host's thread.

        Raises:
            PictureError: a picture cannot be loaded.
            GenerationError: the prompt is too long.
        """
        ticket = Ticket(request, self.encoder.encode(request), on_piece)
        with self._lock:
            self._waiting.append(ticket)
            if not self._working:
                self._working = True
                threading.Thread(target=self._work, name="vipllava-host", daemon=True).start()
        return ticket

    def generate(self, request: GenerationRequest) -> GenerationResult:
        """Answer a request and wait for it; an interrupt stops the model too."""
        ticket = self.submit(request)
        try:
            return ticket.future.result()
        except BaseException:
            ticket.cancel()
            raise

    def stream(self, request: GenerationRequest) -> Iterator[str | GenerationResult]:
        """Answer a request piece by piece; the last thing given is the result.

        Closing the iterator stops the model.
        """
        pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        ticket = self.submit(request, pieces.put)
        ticket.future.add_done_callback(lambda _: pieces.put(None))
        try:
            while (piece := pieces.get()) is not None:
                yield piece
            yield ticket.future.result()
        finally:
            ticket.cancel()

    def _work(self) -> None:
        while True:
            with self._lock:
                batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
                if not batch:
                    self._working = False
                    return
            self._answer(batch)

    def _answer(self, batch: list[Ticket]) -> None:
        writers = [self._writer(ticket) for ticket in batch]
        try:
            self._run(batch, writers)
        except Exception as error:
            if len(batch) > 1 and not any(writer.ids for writer in writers):
                for ticket in batch:  # one of them may be at fault, or all together need too much memory
                    self._answer([ticket])
                return
            for ticket in batch:
                ticket.future.set_exception(_explain(error, ticket))
            return
        for ticket, writer in zip(batch, writers, strict=True):
            reason = writer.finish_reason or "cancelled"
            ticket.future.set_result(GenerationResult(tuple(writer.ids), writer.text, len(ticket.prompt.ids), reason))

    def _run(self, batch: list[Ticket], writers: list[AnswerWriter]) -> None:
        for ticket, writer in zip(batch, writers, strict=True):
            if ticket.cancelled:
                writer.finish("cancelled")
        rows = [(t, w) for t, w in zip(batch, writers, strict=True) if w.finish_reason is None]
        if rows:
            run_batch(
                self.model,
                [ticket.prompt for ticket, _ in rows],
                [writer for _, writer in rows],
                [ticket.request.sampling for ticket, _ in rows],
                [ticket._cancelled.is_set for ticket, _ in rows],
                max(self._room(ticket) for ticket, _ in rows),
            )

    def _room(self, ticket: Ticket) -> int:
        """Tokens that the answer may have: what was asked for, within the model's context."""
        return min(ticket.request.max_tokens, self.encoder.context - len(ticket.prompt.ids))

    def _writer(self, ticket: Ticket) -> AnswerWriter:
        return AnswerWriter(
            self.encoder.tokenizer,
            end_ids=end_ids(self.model),
            max_tokens=self._room(ticket),
            stop=ticket.request.stop,
            on_piece=ticket.give,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> ModelHost:
        """A copy of whatever holds a host shares it: there is one owner of the device."""
        return self

    def __repr__(self) -> str:
        return f"<ModelHost {self.name!r} on {self.model.device}, {self.model.dtype}>"


_hosts: dict[LoadOptions, ModelHost] = {}
_loading: dict[LoadOptions, threading.Lock] = {}
_hosts_lock = threading.Lock()


def get_host(options: LoadOptions) -> ModelHost:
    """The host of a checkpoint: loaded at the first call, shared by all later ones with equal options.

    Raises:
        CheckpointError: it cannot be loaded. The next call tries again.
    """
    with _hosts_lock:
        lock = _loading.setdefault(options, threading.Lock())
    with lock:
        if options not in _hosts:
            model, processor = load_checkpoint(options)
            _hosts[options] = ModelHost(model, processor, name=options.model)
        return _hosts[options]


def unload_hosts() -> None:
    """Forget every loaded checkpoint; their memory is freed once nothing uses them."""
    with _hosts_lock:
        _hosts.clear()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _explain(error: Exception, ticket: Ticket) -> Exception:
    if isinstance(error, VipLlavaError):
        return error
    if isinstance(error, torch.OutOfMemoryError):
        message = (
            f"out of memory with a prompt of {len(ticket.prompt.ids)} tokens; use quantization='4bit', or ask less."
        )
    else:
        message = f"the model failed: {type(error).__name__}: {error}"
    explained = GenerationError(message)
    explained.__cause__ = error
    return explained
