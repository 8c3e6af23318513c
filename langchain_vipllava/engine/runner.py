"""`ModelRunner`: one loaded model, one owner of its device, many callers."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import torch

from langchain_vipllava.engine.compiled_decode import choose_decode
from langchain_vipllava.engine.detokenizer import IncrementalDetokenizer
from langchain_vipllava.engine.encoding import PromptEncoder
from langchain_vipllava.engine.engine import Engine
from langchain_vipllava.engine.generation_config import end_ids, ignored_settings
from langchain_vipllava.engine.grammar import GrammarTokenizer
from langchain_vipllava.engine.handle import RequestHandle
from langchain_vipllava.engine.load_options import LoadOptions
from langchain_vipllava.engine.loading import check_model, load_checkpoint
from langchain_vipllava.engine.memory_plan import free_bytes
from langchain_vipllava.engine.request import GenerationRequest, GenerationResult
from langchain_vipllava.engine.sampler import TokenSampler
from langchain_vipllava.engine.sequence import Sequence
from langchain_vipllava.errors import AnswerTimeoutError, CheckpointError, GenerationError

logger = logging.getLogger(__name__)

_MOST_CACHE_BYTES = 4 * 2**30
_FEATURE_BYTES = 256 * 2**20
_FOR_EVER = threading.TIMEOUT_MAX / 2  # seconds; a longer wait is one without an end


@dataclass(frozen=True)
class EngineStats:
    """What a host holds and has done.

    Attributes:
        waiting: requests that have not begun.
        running: answers that are being written.
        requests: requests so far.
        prompt_tokens: tokens of their prompts.
        reused_tokens: how many of these were known already, and not computed.
        cache_bytes: keys and values that are kept for later prompts.
        cache_evictions: how often some of them were dropped for room.
        feature_bytes: image features that are kept.
    """

    waiting: int
    running: int
    requests: int
    prompt_tokens: int
    reused_tokens: int
    cache_bytes: int
    cache_evictions: int
    feature_bytes: int


class ModelRunner:
    """Owns a model: callers from any thread or task hand in requests, one thread runs them.

    Requests share every step: a token for each answer, prompts joining as they come. What was
    computed of an image or a prompt is not computed again. The thread lives only while there
    is work.

    Args:
        model: a loaded `VipLlavaForConditionalGeneration`.
        processor: its `LlavaProcessor`.
        name: how messages and metadata call it.
        cache_bytes: bound of the keys and values that are kept for later prompts; by default a
            quarter of the free memory, and at most 4 GiB. 0 keeps nothing. Those of answers under way come on
            top; of their buffers, as much as a quarter of it stays for the next answers.
        compile_decode: whether to compile the decoding step; None where it pays, see `decode_path`.

    Raises:
        CheckpointError: the model is no ViP-LLaVA, or the processor does not fit.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        name: str | None = None,
        cache_bytes: int | None = None,
        compile_decode: bool | None = None,
    ) -> None:
        self.model = check_model(model, processor)
        self.processor = processor
        self.identity = uuid.uuid4().hex  # of this host among all: names may be the same
        self.name = name or str(getattr(model.config, "_name_or_path", "") or "vipllava")
        self.encoder = PromptEncoder(processor, model.config)
        if cache_bytes is None:
            cache_bytes = min(_MOST_CACHE_BYTES, free_bytes(str(model.device)) // 4)
        text = self.model.model.language_model
        compiled, why = choose_decode(
            compile_decode,
            device=str(self.model.device),
            attention=text.config._attn_implementation,
            quantized=getattr(self.model, "quantization_method", None) is not None,
            spread=len({parameter.device for parameter in text.parameters()}) > 1,
        )
        self._decode_path = f"{'compiled' if compiled else 'eager'}: {why}"
        logger.debug("decoding of %s is %s", self.name, self._decode_path)
        self._engine = Engine(self.model, cache_bytes=cache_bytes, feature_bytes=_FEATURE_BYTES, compiled=compiled)
        self._end_ids = end_ids(self.model)
        vocabulary = int(model.config.text_config.vocab_size)
        self._grammars = GrammarTokenizer(self.encoder.tokenizer, vocabulary, self._end_ids)
        if ignored := ignored_settings(self.model):
            logger.warning("%s: its generation settings %s are not applied here", self.name, ", ".join(ignored))
        self._arrived: list[Sequence] = []
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._stopping = False
        self._requests = self._prompt_tokens = 0

    @property
    def decode_path(self) -> str:
        """Whether decoding is "compiled" or "eager", and why."""
        failure = self._engine.compile_failure
        return self._decode_path if failure is None else f"eager: it could not be compiled ({failure})"

    def submit(self, request: GenerationRequest, on_piece: Callable[[str], None] | None = None) -> RequestHandle:
        """Hand a request in and go on; `on_piece` gets the text while it is made, in the host's thread.

        Raises:
            ImageError: an image cannot be loaded.
            PromptError: text that is no Unicode.
            GenerationError: the prompt is too long; the process is ending.
        """
        prompt = self.encoder.encode(request)
        for image in prompt.images:
            if image not in self._engine.features:
                image.pixels()  # here, in the caller's thread, rather than in the device's
        ticket = RequestHandle(request, on_piece)
        # what was asked for, within the model's context
        most = min(request.max_tokens, self.encoder.context - len(prompt.ids))
        constraint = None if request.grammar is None else self._grammars.start(request.grammar, most)
        sampler = TokenSampler(request.sampling, constraint)
        sequence = Sequence(ticket, prompt, self._writer(ticket, most), sampler)
        with self._lock:
            self._requests += 1
            self._prompt_tokens += len(prompt.ids)
            self._arrived.append(sequence)
            if self._worker is None:
                self._worker = self._start(sequence)
        return ticket

    def _start(self, first: Sequence) -> threading.Thread:
        """A thread that runs the model, for the first of the requests that arrived."""
        worker = threading.Thread(target=self._work, name="vipllava-host", daemon=True)
        try:
            _hooks.begin(self, worker)
        except RuntimeError as error:  # or all later ones would wait for a thread that never ran
            self._arrived.remove(first)
            raise GenerationError(
                f"the model's thread cannot start: {error}. The process may have no more threads; try again."
            ) from error
        return worker

    def generate(self, request: GenerationRequest, timeout: float | None = None) -> GenerationResult:
        """Answer a request and wait for it; an interrupt stops the model too.

        Raises:
            AnswerTimeoutError: it took more than `timeout` seconds.
        """
        ticket = self.submit(request)
        try:
            return ticket.future.result(_bounded(timeout))
        except TimeoutError as error:
            raise AnswerTimeoutError.after(timeout) from error
        finally:
            ticket.cancel()

    def stream(self, request: GenerationRequest, timeout: float | None = None) -> Iterator[str | GenerationResult]:
        """Answer a request piece by piece; the last thing given is the result.

        Closing the iterator stops the model.

        Raises:
            AnswerTimeoutError: it took more than `timeout` seconds.
        """
        seconds = _bounded(timeout)
        ends = None if seconds is None else time.monotonic() + seconds
        pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        ticket = self.submit(request, pieces.put)
        ticket.future.add_done_callback(lambda _: pieces.put(None))
        try:
            while (piece := pieces.get(timeout=None if ends is None else max(ends - time.monotonic(), 0))) is not None:
                yield piece
            yield ticket.future.result()
        except queue.Empty as error:
            raise AnswerTimeoutError.after(timeout) from error
        finally:
            ticket.cancel()

    def stats(self) -> EngineStats:
        """What the host holds and has done so far."""
        engine = self._engine
        with self._lock:
            return EngineStats(
                waiting=len(self._arrived) + len(engine.waiting),
                running=len(engine.running),
                requests=self._requests,
                prompt_tokens=self._prompt_tokens,
                reused_tokens=engine.reused_tokens,
                cache_bytes=engine.prefixes.bytes,
                cache_evictions=engine.prefixes.evictions,
                feature_bytes=engine.features.bytes,
            )

    def stop(self) -> None:
        """Cancel every request and wait until the model stands still."""
        with self._lock:
            worker = self._worker
            self._stopping = worker is not None
        if worker is not None:
            worker.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                self._engine.waiting.extend(self._arrived)
                self._arrived.clear()
                if self._stopping:
                    for sequence in (*self._engine.waiting, *self._engine.running):
                        sequence.ticket.cancel()
                if not self._engine.busy:
                    self._worker, self._stopping = None, False
                    return
            try:
                self._engine.step()
            except Exception as error:  # or everybody would wait for ever
                self._engine.abort(error)

    def reset_after_fork(self) -> None:
        """In a forked process: the parent's answers are the parent's, and its thread is not here."""
        self._lock = threading.Lock()
        self._worker, self._stopping = None, False
        self._arrived.clear()
        self._engine.forget()
        self.encoder.renew_locks()
        self._grammars.renew_lock()

    def _writer(self, ticket: RequestHandle, max_tokens: int) -> IncrementalDetokenizer:
        return IncrementalDetokenizer(
            self.encoder.tokenizer,
            end_ids=self._end_ids,
            max_tokens=max_tokens,
            stop=ticket.request.stop,
            on_piece=ticket.give,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> ModelRunner:
        """A copy of whatever holds a host shares it: there is one owner of the device."""
        return self

    def __reduce__(self) -> NoReturn:
        raise CheckpointError(
            "a loaded model cannot be pickled; use ChatVipLlava(model=folder), which loads it where it is unpickled."
        )

    def __repr__(self) -> str:
        return f"<ModelRunner {self.name!r} on {self.model.device}, {self.model.dtype}>"


class _ProcessHooks:
    """What befalls the process befalls every host: its end, and forks of it."""

    def __init__(self) -> None:
        self._runners: weakref.WeakSet[ModelRunner] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._ending = False
        atexit.register(self._end)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset_after_fork)

    def begin(self, host: ModelRunner, worker: threading.Thread) -> None:
        """Start a host's thread, unless the process is ending; a `RuntimeError` where it cannot start."""
        with self._lock:
            if self._ending:
                raise RuntimeError("the process is ending")
            self._runners.add(host)
            worker.start()

    def _end(self) -> None:
        # A thread that Python cuts off in the middle of torch's C++ takes the process down with it.
        with self._lock:
            self._ending = True
        for host in list(self._runners):
            host.stop()

    def _reset_after_fork(self) -> None:
        # Threads do not come along into a forked process, but the locks that they held do.
        self._lock = threading.Lock()
        for host in list(self._runners):
            host.reset_after_fork()


_hooks = _ProcessHooks()


_runners: dict[LoadOptions, ModelRunner] = {}
_loading: dict[LoadOptions, threading.Lock] = {}
_runners_lock = threading.Lock()


def get_runner(options: LoadOptions) -> ModelRunner:
    """The host of a checkpoint: loaded at the first call, shared by all later ones with equal options.

    Raises:
        CheckpointError: it cannot be loaded. The next call tries again.
    """
    with _runners_lock:
        lock = _loading.setdefault(options, threading.Lock())
    with lock:
        host = _runners.get(options)
        if host is None:
            model, processor = load_checkpoint(options)
            host = ModelRunner(
                model,
                processor,
                name=options.model,
                cache_bytes=options.cache_bytes,
                compile_decode=options.compile_decode,
            )
            _runners[options] = host
        return host


def _bounded(timeout: float | None) -> float | None:
    """Seconds to wait that a lock can count; None for ever."""
    return None if timeout is None or timeout > _FOR_EVER else timeout


def unload_models() -> None:
    """Forget every loaded checkpoint; their memory is freed once nothing uses them."""
    with _runners_lock:
        _runners.clear()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
