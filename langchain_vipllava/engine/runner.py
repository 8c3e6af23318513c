"""`ModelRunner`: one loaded model, one thread that runs it, many callers."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch

from langchain_vipllava.engine.compiled_decode import choose_decode
from langchain_vipllava.engine.constraint import ConstraintFactory
from langchain_vipllava.engine.detokenizer import IncrementalDetokenizer
from langchain_vipllava.engine.encoding import PromptEncoder
from langchain_vipllava.engine.engine import Engine
from langchain_vipllava.engine.free_memory import free_bytes
from langchain_vipllava.engine.fused_model import FusedModel, why_not_fused
from langchain_vipllava.engine.generation_config import confidence_temperature, eos_token_ids, ignored_settings
from langchain_vipllava.engine.handle import RequestHandle
from langchain_vipllava.engine.loading import check_model, load_checkpoint
from langchain_vipllava.engine.logprobs import LogprobRecorder
from langchain_vipllava.engine.packed_linear import pack_where_faster
from langchain_vipllava.engine.probes import AnswerProbability
from langchain_vipllava.engine.prompt_lookup import PromptLookup
from langchain_vipllava.engine.request import GenerationRequest
from langchain_vipllava.engine.request_clock import RequestClock
from langchain_vipllava.engine.sampler import TokenSampler
from langchain_vipllava.engine.sequence import Sequence
from langchain_vipllava.engine.token_texts import TokenTexts
from langchain_vipllava.engine.worker import EngineWorker
from langchain_vipllava.errors import CheckpointError, GenerationError, shorten
from langchain_vipllava.locks import fork_safe_lock, is_held_here, run_locked
from langchain_vipllava.protocol.load_options import LoadOptions
from langchain_vipllava.protocol.logprobs import AnswerPiece

logger = logging.getLogger(__name__)

_MAX_CACHE_BYTES = 4 * 2**30
"""Default bound of the prefix cache on machines with much memory: two full contexts of the 7B."""

_FREE_DIVISOR = 4
"""Default bound of the prefix cache: the free memory by this. Chosen: running requests and others need the rest."""

_FEATURE_BYTES = 256 * 2**20
"""Bound of the cached image features: some 56 images of the 7B, at 4.5 MiB each."""


@dataclass(frozen=True)
class EngineStats:
    """What an engine holds and has done.

    Attributes:
        waiting: requests that have not started.
        running: answers in progress.
        requests: requests so far.
        prompt_tokens: tokens of their prompts.
        reused_tokens: how many of these were cached and not computed again.
        cache_bytes: size of the prefix cache.
        cache_evictions: how often an entry was evicted from it.
        feature_bytes: size of the cached image features.
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
    """Owns a model: any thread or task submits requests, one thread runs them.

    What vLLM calls AsyncLLMEngine: the background loop around an `Engine`, which schedules and runs the forward passes.

    Requests share every step: one token for each answer, with prompts joining as they come. What was computed of an
    image or a prompt is not computed again. The thread exists only while there is work.

    Args:
        model: a loaded `VipLlavaForConditionalGeneration`, on its device, with its adapters and hooks: what is added
            later may not be seen.
        processor: its `LlavaProcessor`.
        name: what messages and metadata call it.
        cache_bytes: bound of the prefix cache; by default a quarter of the free memory, at most 4 GiB. 0 stores
            nothing. Running requests need KV buffers on top. When idle, up to a quarter of the bound is kept of them.
        compile_decode: whether to compile the decoding step; None where it pays, see `decode_path`.
        prompt_lookup_num_tokens: how many tokens of an answer to guess at most, see `LoadOptions`.

    Raises:
        CheckpointError: the model is not a ViP-LLaVA, or the processor does not fit.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        name: str | None = None,
        cache_bytes: int | None = None,
        compile_decode: bool | None = None,
        prompt_lookup_num_tokens: int | None = None,
    ) -> None:
        self.model = check_model(model, processor)
        self.processor = processor
        self.identity = uuid.uuid4().hex  # two models may have the same name
        self.name = name or str(getattr(model.config, "_name_or_path", "") or "vipllava")
        self.encoder = PromptEncoder(processor, model.config)
        if cache_bytes is None:
            cache_bytes = min(_MAX_CACHE_BYTES, free_bytes(str(model.device)) // _FREE_DIVISOR)
        text = self.model.model.language_model
        compiled, why = choose_decode(
            compile_decode,
            device=str(self.model.device),
            attention=text.config._attn_implementation,
            quantized=getattr(self.model, "quantization_method", None) is not None,
            multi_device=len({parameter.device for parameter in text.parameters()}) > 1,
        )
        fused = None
        if compiled or self.model.device.type == "cuda":  # there, a step is recorded also if it is not compiled
            if (reason := why_not_fused(self.model)) is None:
                fused = FusedModel(self.model)
            else:
                compiled, why = False, reason
        self._decode_path = f"{'compiled' if compiled else 'eager'}: {why}"
        logger.debug("decoding of %s is %s", self.name, self._decode_path)
        self._engine = Engine(
            self.model, cache_bytes=cache_bytes, feature_bytes=_FEATURE_BYTES, fused=fused, compiled=compiled
        )
        self._lookup_tokens = prompt_lookup_num_tokens
        self._end_ids = eos_token_ids(self.model)
        vocabulary = int(model.config.text_config.vocab_size)
        self._constraints = ConstraintFactory(self.encoder.tokenizer, vocabulary, self._end_ids)
        self._token_texts = TokenTexts(self.encoder.texts)
        self._confidence_temperature = confidence_temperature(model)
        if ignored := ignored_settings(self.model):
            logger.warning("%s: its generation settings %s are not applied", self.name, ", ".join(ignored))
        self._worker = EngineWorker(self._engine)

    @property
    def decode_path(self) -> str:
        """Whether decoding is "compiled" or "eager", and why."""
        failure = self._engine.compile_failure
        return self._decode_path if failure is None else f"eager: it could not be compiled ({failure})"

    def submit(
        self,
        request: GenerationRequest,
        on_piece: Callable[[str | AnswerPiece], None] | None = None,
        *,
        handle: RequestHandle | None = None,
        clock: RequestClock | None = None,
    ) -> RequestHandle:
        """Submit a request and return at once.

        Args:
            request: what is asked.
            on_piece: gets the text as it is generated, in the engine's thread.
            handle: to return, for a caller that must be able to cancel even if it is interrupted here.
            clock: that of the request, if it started before.

        Raises:
            ImageError: an image cannot be decoded.
            PromptError: text that is not Unicode.
            GenerationError: the prompt is too long; the process is exiting.
        """
        self._worker.check_not_exiting()
        clock = RequestClock() if clock is None else clock
        prompt = self.encoder.encode(request)
        handle = RequestHandle(on_piece) if handle is None else handle
        handle.request = replace(request, images=())  # the prompt holds what is needed of them
        max_tokens = min(request.max_tokens, self.encoder.context_length - len(prompt.ids))
        with clock.building_grammar():
            constraint = None if request.grammar is None else self._constraints.start(request.grammar, max_tokens)
        recorder = self._recorder(request)
        emitted = 0

        def emit_recorded(piece: str) -> None:
            nonlocal emitted
            assert recorder is not None  # noqa: S101  # or it is not called
            before, emitted = emitted, detokenizer.emitted_tokens
            handle.emit(AnswerPiece(piece, tuple(recorder.places[before:emitted])))

        detokenizer = IncrementalDetokenizer(
            self.encoder.texts,  # that of transformers may "clean up" spaces, and what a token adds cannot be told
            end_ids=self._end_ids,
            max_tokens=max_tokens,
            stop=request.stop,
            on_piece=handle.emit if recorder is None else emit_recorded,
        )
        sampler = TokenSampler(request.sampling, constraint, recorder)
        lookup = PromptLookup(prompt.ids, most, self.encoder.texts.image_id) if (most := self._lookup_tokens) else None
        probability = None
        if recorder is not None and constraint is not None and request.sums_tokenizations:
            probability = AnswerProbability(
                constraint.fork(), self._end_ids, self.encoder.texts, self.encoder.context_length
            )
        self._worker.submit(
            Sequence(
                handle, prompt, detokenizer, sampler, recorder, lookup=lookup, clock=clock, probability=probability
            )
        )
        return handle

    def _recorder(self, request: GenerationRequest) -> LogprobRecorder | None:
        if request.top_logprobs is None:
            return None
        self._token_texts.prepare()
        return LogprobRecorder(self._token_texts, int(request.top_logprobs), self._confidence_temperature)

    def stats(self) -> EngineStats:
        """Return what the engine holds and has done so far."""
        engine, worker, arrived = self._engine, self._worker, self._worker.arrived
        return EngineStats(
            waiting=len(arrived) + len(engine.scheduler.waiting),
            running=len(engine.scheduler.running),
            requests=worker.requests + len(arrived),
            prompt_tokens=worker.prompt_tokens + sum(len(sequence.prompt.ids) for sequence in arrived),
            reused_tokens=engine.reused_tokens,
            cache_bytes=engine.prefix_cache.bytes,
            cache_evictions=engine.prefix_cache.evictions,
            feature_bytes=engine.image_features.bytes,
        )

    def stop(self) -> None:
        """Cancel every request and wait until the model is idle; called by the engine's thread, only cancel."""
        self._worker.stop()

    def __deepcopy__(self, memo: dict[int, Any]) -> ModelRunner:
        """Shared by copies of whatever holds it: a device has one owner."""
        return self

    def __reduce__(self) -> NoReturn:
        raise CheckpointError(
            "a loaded model cannot be pickled; use ChatVipLlava(model=folder), which loads it where it is unpickled."
        )

    def __repr__(self) -> str:
        return f"<ModelRunner {self.name!r} on {self.model.device}, {self.model.dtype}>"


_runners: dict[LoadOptions, ModelRunner] = {}
_loading: dict[LoadOptions, Any] = {}
_failures: dict[LoadOptions, list[str]] = {}
"""What the last failed load of a checkpoint said; each failure is a list of its own."""


def get_runner(options: LoadOptions) -> ModelRunner:
    """Return the runner of a checkpoint: loaded at the first call, shared by all later ones with equal options.

    Raises:
        CheckpointError: it cannot be loaded. Calls that waited for the same load get the same error: a hub that is
            away is not asked once more for each of them. The next call tries again.
        GenerationError: a signal handler asks for it that interrupted its loading.
    """
    lock = _loading.get(options) or _loading.setdefault(options, fork_safe_lock())
    if is_held_here(lock):
        raise GenerationError(f"{shorten(options.model)} is being loaded: a signal handler interrupted it. Ask later.")
    return _runners.get(options) or run_locked(lock, _load_runner, options, _failures.get(options))


def _load_runner(options: LoadOptions, failure_before: list[str] | None) -> ModelRunner:
    """Load a runner, unless another thread did, or tried in vain, while this one waited for the lock."""
    if options not in _runners:
        failure = _failures.get(options)
        if failure is not None and failure is not failure_before:
            raise CheckpointError(failure[0])
        try:
            model, processor = load_checkpoint(options)
        except CheckpointError as error:
            _failures[options] = [str(error)]
            raise
        if not options.compile_decode:  # compiled functions take the weights as they are
            logger.debug("packed %d linear layers of %s", pack_where_faster(model), options.model)
        _runners[options] = ModelRunner(
            model,
            processor,
            name=options.model,
            cache_bytes=options.cache_bytes,
            compile_decode=options.compile_decode,
            prompt_lookup_num_tokens=options.prompt_lookup_num_tokens,
        )
    return _runners[options]


def unload_models() -> None:
    """Forget every loaded checkpoint; their memory is freed once nothing uses them."""
    _runners.clear()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
