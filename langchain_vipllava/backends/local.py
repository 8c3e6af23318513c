"""`LocalBackend`: a ViP-LLaVA in this process."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_vipllava.backends.answering import AnsweringBackend
from langchain_vipllava.backends.checkpoint_facts import CheckpointFacts
from langchain_vipllava.engine.output_grammar import compile_output
from langchain_vipllava.engine.request_clock import RequestClock
from langchain_vipllava.errors import CheckpointError, GenerationError, shorten
from langchain_vipllava.protocol.admission import Admission, admission_of
from langchain_vipllava.protocol.chat_request import ChatRequest
from langchain_vipllava.protocol.limits import RequestLimits
from langchain_vipllava.protocol.load_options import LoadOptions
from langchain_vipllava.protocol.logprobs import AnswerPiece

if TYPE_CHECKING:
    from langchain_vipllava.engine.request import GenerationRequest
    from langchain_vipllava.engine.runner import EngineStats, ModelRunner

_is_imported = False
"""Whether the engine is imported as a whole."""


class LocalBackend(AnsweringBackend):
    """Answers with a model in this process; loads it at the first request.

    Backends with equal options share one loaded model. torch is imported when something is asked that needs it.

    Args:
        options: which checkpoint to load, and how.
        limits: bounds of one request, and of the requests of this checkpoint in flight, whichever backend they came by.

    Raises:
        CheckpointError: at the first request, if the checkpoint cannot be loaded.
    """

    def __init__(self, options: LoadOptions, limits: RequestLimits | None = None) -> None:
        self.options = options
        self.limits = RequestLimits() if limits is None else limits
        self._runner: ModelRunner | None = None

    @classmethod
    def load(cls, *, limits: RequestLimits | None = None, **options: Any) -> LocalBackend:
        """Make the backend of a checkpoint, from the fields of `LoadOptions`. Loads nothing yet.

        Raises:
            CheckpointError: impossible options.
        """
        device_map = options.get("device_map")
        if isinstance(device_map, dict):  # frozen, because options are the key of the loaded model
            options["device_map"] = tuple(sorted(device_map.items()))
        return cls(LoadOptions(**options), limits)

    @classmethod
    def from_model(
        cls,
        model: Any,
        processor: Any,
        *,
        cache_bytes: int | None = None,
        compile_decode: bool | None = None,
        prompt_lookup_num_tokens: int | None = None,
        limits: RequestLimits | None = None,
    ) -> LocalBackend:
        """Make the backend of a model that is loaded already.

        Args:
            model: a `VipLlavaForConditionalGeneration`.
            processor: its `LlavaProcessor`.
            cache_bytes: see `LoadOptions`.
            compile_decode: see `LoadOptions`.
            prompt_lookup_num_tokens: see `LoadOptions`.
            limits: see `LocalBackend`.

        Raises:
            CheckpointError: the model is not a ViP-LLaVA, or the processor does not fit.
        """
        from langchain_vipllava.engine.runner import ModelRunner  # noqa: PLC0415  # torch is loaded when needed

        how: dict[str, Any] = {
            "cache_bytes": cache_bytes,
            "compile_decode": compile_decode,
            "prompt_lookup_num_tokens": prompt_lookup_num_tokens,
        }
        options = LoadOptions("a loaded model", **how)  # checks them
        runner = ModelRunner(model, processor, **how)
        backend = cls(replace(options, model=runner.name), limits)
        backend._runner = runner
        return backend

    @property
    def name(self) -> str:
        """Hub id or folder of the checkpoint."""
        return self.options.model

    @property
    def view_size(self) -> int:
        """Side of the square that the checkpoint reads of an image, in pixels. Loads nothing."""
        return CheckpointFacts.of(self.options).view_size if self._runner is None else self._runner.encoder.side

    @property
    def cache_key(self) -> str:
        """The options that decide about answers. Each `from_model` backend has a unique key."""
        given = self._runner.identity if self._runner is not None else ""
        options = self.options
        return repr(
            (options.model, options.dtype, options.device_map, options.quantization, options.attn_implementation,
             options.revision, given)
        )  # fmt: skip

    @property
    def runner(self) -> ModelRunner:
        """The owner of the loaded model; loads it at the first call."""
        import_engine()
        from langchain_vipllava.engine.runner import get_runner  # noqa: PLC0415  # torch is loaded when needed

        return get_runner(self.options) if self._runner is None else self._runner

    @property
    def context_length(self) -> int:
        """Maximum number of tokens of prompt and answer together. Loads the model."""
        return self.runner.encoder.context_length

    @property
    def known_context_length(self) -> int | None:
        """The same without loading the model, where the checkpoint's config is at hand; else None."""
        if self._runner is not None:
            return self._runner.encoder.context_length
        return CheckpointFacts.of(self.options).context_length

    @property
    def decode_path(self) -> str:
        """Whether decoding is "compiled" or "eager", and why. Loads the model."""
        return self.runner.decode_path

    def stats(self) -> EngineStats:
        """Return what the engine holds and has done so far. Loads the model."""
        return self.runner.stats()

    def count_tokens(self, request: ChatRequest) -> int:
        """Count the tokens of a request's prompt. Loads the model.

        Raises:
            PromptTooLongError: more text than the limits allow.
        """
        self.limits.check(request)
        return len(self.runner.encoder.encode_text(request.render(allow_partial=True)))

    def tokenize(self, text: str) -> list[int]:
        """Return the token ids of a text alone. Loads the model.

        Raises:
            PromptTooLongError: more text than the limits allow.
        """
        self.limits.check_texts([text])
        return self.runner.encoder.token_ids(text)

    def submission(self, request: ChatRequest, on_piece: Callable[[str | AnswerPiece], None] | None) -> _Submission:
        """Check a request and take its slot; nothing is loaded yet."""
        return _Submission(self, request, on_piece)

    @property
    def admission(self) -> Admission:
        """Counts the requests of this model in flight, from all backends that share it."""
        return admission_of(self.options if self._runner is None else self._runner.identity)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LocalBackend):
            return NotImplemented
        return (self.options, self.limits) == (other.options, other.limits) and self._runner is other._runner

    def __hash__(self) -> int:
        return hash((self.options, self.limits, id(self._runner)))

    def __deepcopy__(self, memo: dict[int, Any]) -> LocalBackend:
        """Shared by copies of whatever holds it: it never changes."""
        return self

    def __repr__(self) -> str:
        return f"<LocalBackend {self.name!r}>"


class _Submission:
    """A request on its way into the engine.

    It takes its slot here, in the caller's thread, before anything costs time or memory. The slot is released when the
    engine is done with the request, or when it cannot get there any more.
    """

    def __init__(
        self,
        backend: LocalBackend,
        request: ChatRequest,
        on_piece: Callable[[str | AnswerPiece], None] | None,
    ) -> None:
        import_engine()
        from langchain_vipllava.engine.handle import RequestHandle  # noqa: PLC0415  # torch is loaded when needed

        self._clock = RequestClock()  # here: what follows may wait for a thread to run in
        backend.limits.check(request)
        self._backend, self._request = backend, request
        self._started = False
        self._slot = slot = backend.admission.enter(backend.limits.max_in_flight)
        self.handle = RequestHandle(on_piece)
        self.future = self.handle.future
        self.future.add_done_callback(lambda _: slot.release())

    def run(self) -> None:
        """Load, encode and submit."""
        self._started = True
        if self.handle.cancelled:
            self._slot.release()
            return
        try:
            with self._clock.leaving_out():
                runner = self._backend.runner
            asked = compile_request(self._request, self._clock)
            runner.submit(asked, handle=self.handle, clock=self._clock)
        except (MemoryError, RecursionError) as error:
            self._slot.release()
            raise GenerationError(f"the request cannot be prepared: {type(error).__name__}; send less.") from error
        except BaseException:
            self._slot.release()
            raise

    def cancel(self) -> None:
        """Stop the request, also one that waits for a thread in which to run."""
        self.handle.cancel()
        if not self._started:  # a thread that starts now sees that it is cancelled
            self._slot.release()


def import_engine() -> None:
    """Import the engine, and torch with it, in a thread of its own, which no signal handler interrupts.

    After an exception in the middle of it, another import of torch crashes the process. Who is interrupted here leaves
    the thread going on.

    Raises:
        CheckpointError: a package is missing or damaged.
    """
    global _is_imported  # noqa: PLW0603  # once for the process
    if _is_imported:
        return
    errors: list[BaseException] = []
    thread = threading.Thread(target=_import_engine, args=(errors,), name="vipllava-import")
    try:
        thread.start()
    except RuntimeError:  # the process is exiting
        _import_engine(errors)
    else:
        thread.join()
    if errors:
        raise _import_error(errors[0]) from errors[0]
    _is_imported = True


def _import_error(error: BaseException) -> BaseException:
    """Say what is damaged: transformers' own message names whatever of its classes was asked for."""
    if not isinstance(error, (ImportError, OSError, RuntimeError, AttributeError)):
        return error
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    reason = shorten(causes[-1], 200)
    if any("torchvision" in str(cause) for cause in causes):
        return CheckpointError(
            f"torchvision does not fit the torch that is installed: {reason}. Install the one that was built for it, "
            "or uninstall torchvision, which is not needed here."
        )
    return CheckpointError(f"torch or transformers cannot be imported: {reason}. Install them again.")


def _import_engine(errors: list[BaseException]) -> None:
    try:
        importlib.import_module("langchain_vipllava.engine.runner")
    except BaseException as error:
        errors.append(error)


def compile_request(request: ChatRequest, clock: RequestClock | None = None) -> GenerationRequest:
    """Render a request and compile the form of its answer, for the engine.

    Args:
        request: what is asked.
        clock: counts the time of the grammar; None where nobody asks.

    Raises:
        PromptError: the conversation does not end with a question.
        GenerationError: a schema that cannot be enforced.
    """
    from langchain_vipllava.engine.request import GenerationRequest  # noqa: PLC0415  # torch is loaded when needed

    prompt = request.render()
    with (clock or RequestClock()).building_grammar():
        grammar = compile_output(request.output)
    return GenerationRequest(
        prompt=prompt,
        images=request.conversation.images,
        max_tokens=request.max_tokens,
        stop=request.all_stop_texts,
        sampling=request.sampling,
        image_fit=request.image_fit,
        grammar=grammar,
        top_logprobs=request.top_logprobs,
        sums_tokenizations=request.output.schema is not None and request.output.text is None,
    )
