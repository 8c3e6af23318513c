"""`ChatVipLlava`: a local ViP-LLaVA as a LangChain chat model."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated, Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.utils import from_env
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from langchain_vipllava.chat.answer_form import AnswerForm
from langchain_vipllava.chat.bound import BoundAnswers
from langchain_vipllava.chat.cacheable import CacheableImages
from langchain_vipllava.chat.image_refs import resolve_refs
from langchain_vipllava.chat.messages import read_messages
from langchain_vipllava.chat.results import PROVIDER, AnswerChunks, chat_result
from langchain_vipllava.chat.settings import (
    MAX_TOKENS,
    NO_MODEL,
    PER_CALL,
    PROFILE,
    check_names,
    make_request,
    model_name,
    stop_texts,
    torch_name,
)
from langchain_vipllava.errors import AnswerTimeoutError, CheckpointError, shorten
from langchain_vipllava.images.store import ImageStore
from langchain_vipllava.prompt.conversation import Conversation
from langchain_vipllava.prompt.formats import Prompt, PromptFormat, parse_format

if TYPE_CHECKING:
    from langchain_core.language_models import ModelProfile

    from langchain_vipllava.engine.handle import RequestHandle
    from langchain_vipllava.engine.load_options import LoadOptions
    from langchain_vipllava.engine.request import GenerationRequest
    from langchain_vipllava.engine.runner import ModelRunner


class ChatVipLlava(CacheableImages, BoundAnswers):
    """A ViP-LLaVA on your own machine, asked through LangChain.

    The checkpoint is loaded at the first call, once per process and set of arguments, however
    many objects ask for it. The model is stateless: every call is given the whole conversation.

    Attributes:
        model: hub id or folder of a VipLlava checkpoint, or "bundled" for the small one inside
            this package; without one, the environment variable VIPLLAVA_MODEL says.
        dtype: "auto" (the checkpoint's own on a GPU, float32 on a CPU), "float16", "bfloat16" or
            "float32".
        device: "auto", "cuda", "cuda:1", "mps" or "cpu".
        device_map: as accelerate takes it ("auto", or a mapping); wins over `device`.
        quantization: "8bit" or "4bit" weights (bitsandbytes, CUDA only).
        attn_implementation: "sdpa", "eager", "flash_attention_2"; None lets transformers choose.
        revision: branch, tag or commit on the hub.
        local_files_only: never ask the hub.
        cache_bytes: memory for keys and values of earlier prompts; by default a quarter of what is free,
            at most 4 GiB. 0 keeps nothing.
        compile_decode: whether to compile the decoding step, which takes a while, once; None where it pays (on a
            CUDA GPU). `llm.host.decode_path` says what was chosen and why.
        temperature: 0 is greedy.
        top_p: keep the likeliest tokens that together have this probability.
        top_k: keep this many of the likeliest tokens.
        seed: makes sampled answers repeatable.
        max_tokens: most tokens of an answer.
        stop: texts that end an answer.
        timeout: most seconds for an answer, waiting included; then it is stopped and an error raised.
        streaming: whether `invoke` streams to callbacks, as other models do.
        max_retries, api_key: taken as other models take them; there is nothing to retry or unlock here.
        prompt_format: "user_assistant", "llava_v1" or "human_assistant".
        multi_image: with several images in one conversation "keep" them (and warn once),
            "restart" at the newest, or "error". The model was trained on one.
        image_fit: "pad" shows the whole image, as in training; "center_crop" cuts the sides off.
        image_store: where images are found that messages name by an id; see `keep_images`.
        image_root: when set, messages may name only files below this folder. Set it, and `fetch_policy`, where messages
            come from strangers.
        fetch_policy: how images are fetched from URLs in messages; `FetchPolicy(private_hosts=False)` keeps to public
            addresses, None fetches from any.
        given_backend: the owner of a model that is loaded already; see `from_model`.

    Raises:
        CheckpointError: at construction for impossible options, at the first call for a checkpoint
            that cannot be loaded.
        PromptError: at construction for an unknown `prompt_format`; messages that make no prompt.
        ImageError: an image that cannot be loaded.
        GenerationError: at construction or in a call for settings out of range; a prompt that is too long.

    Example:
        >>> from langchain_core.messages import AIMessage, HumanMessage
        >>> from langchain_vipllava import ChatVipLlava
        >>> llm = ChatVipLlava(model="bundled")
        >>> print(llm.render_prompt([HumanMessage("Hello."), AIMessage("Hi."), HumanMessage("Who are you?")]))
        USER: Hello.ASSISTANT: Hi.USER: Who are you?ASSISTANT:
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: Annotated[str, BeforeValidator(model_name)] = Field(
        default_factory=from_env("VIPLLAVA_MODEL", error_message=NO_MODEL)
    )
    dtype: Annotated[str, BeforeValidator(torch_name)] = "auto"
    device: Annotated[str, BeforeValidator(torch_name)] = "auto"
    device_map: str | dict[str, Any] | None = None
    quantization: str | None = None
    attn_implementation: str | None = None
    revision: str | None = None
    local_files_only: bool = False
    cache_bytes: int | None = None
    compile_decode: bool | None = None

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    max_tokens: int | None = MAX_TOKENS
    stop: list[str] | str | None = Field(default=None)
    timeout: float | None = Field(default=None, gt=0)
    streaming: bool = False
    max_retries: int = 0
    api_key: SecretStr | None = Field(default=None, exclude=True)

    prompt_format: str = "user_assistant"
    multi_image: str = "keep"
    image_fit: str = "pad"
    image_store: ImageStore | None = Field(default=None, exclude=True)

    # a field, unlike the host of a checkpoint, because `configurable_fields` and `model_copy` carry on only fields
    given_backend: Any = Field(default=None, exclude=True, repr=False)

    _warned: bool = PrivateAttr(default=False)

    @classmethod
    def from_model(cls, model: Any, processor: Any, **settings: Any) -> ChatVipLlava:
        """Use a model and processor that are loaded already.

        Args:
            model: a `VipLlavaForConditionalGeneration`.
            processor: its `LlavaProcessor`.
            settings: `temperature`, `max_tokens`, `prompt_format`, `cache_bytes` and the like.

        Raises:
            CheckpointError: the model is no ViP-LLaVA, or the processor does not fit; a setting of how to load it.
        """
        from langchain_vipllava.engine.load_options import LoadOptions  # noqa: PLC0415
        from langchain_vipllava.engine.runner import ModelRunner  # noqa: PLC0415  # torch is loaded when needed

        kept = {name: settings.get(name) for name in ("cache_bytes", "compile_decode")}
        if loading := [field.name for field in fields(LoadOptions) if field.name in settings.keys() - kept.keys()]:
            raise CheckpointError(
                f"{', '.join(loading)} for a model that is loaded already; give them to from_pretrained, or "
                "ChatVipLlava a folder."
            )
        host = ModelRunner(model, processor, **kept)
        return cls(model=host.name, given_backend=host, **settings)

    @property
    def host(self) -> ModelRunner:
        """The owner of the loaded model; loads it at the first call."""
        from langchain_vipllava.engine.runner import ModelRunner, get_runner  # noqa: PLC0415  # torch is loaded when needed

        # Asked for anew each time: a copy with another `model` must not answer with this one's.
        given = isinstance(self.given_backend, ModelRunner) and self.given_backend.name == self.model
        return self.given_backend if given else get_runner(self._load_options())

    def render_prompt(self, messages: LanguageModelInput) -> str:
        """Show exactly what the model will read, `<image>` where an image stands; loads no weights.

        Raises:
            PromptError: the messages make no prompt.
        """
        conversation = self._read(self._convert_input(messages).to_messages(), self.multi_image)
        return parse_format(self.prompt_format).render(conversation).text

    @model_validator(mode="after")
    def _check_settings(self) -> ChatVipLlava:
        parse_format(self.prompt_format)
        Conversation(()).settle_images(self.multi_image)
        self._load_options()
        settings = {name: getattr(self, name) for name in PER_CALL}
        make_request(Prompt(()), (), stop_texts(self.stop), settings)
        return self

    def _load_options(self) -> LoadOptions:
        from langchain_vipllava.engine.load_options import LoadOptions  # noqa: PLC0415

        settings = {field.name: getattr(self, field.name) for field in fields(LoadOptions)}
        if isinstance(self.device_map, dict):
            settings["device_map"] = tuple(sorted(self.device_map.items()))
        options = LoadOptions(**settings)
        try:
            hash(options)
        except TypeError as error:
            raise CheckpointError(
                f"device_map={shorten(self.device_map)}; expected the names of devices by the names of modules."
            ) from error
        return options

    def _read(self, messages: Sequence[BaseMessage], multi_image: str, *, whole: bool = True) -> Conversation:
        conversation = read_messages(messages, whole=whole)
        if multi_image == "keep" and len(conversation.images) > 1 and not self._warned:
            self._warned = True
            warnings.warn(
                f"{len(conversation.images)} images in one conversation; ViP-LLaVA was trained on one. "
                "multi_image='restart' begins at the newest one.",
                stacklevel=4,
            )
        return conversation.settle_images(multi_image)

    def _chosen(self, settings: dict[str, Any]) -> ChatVipLlava:
        """The model that a call asks for by `model=`, which is taken out of its settings; mostly this one."""
        name = settings.pop("model", None)
        if name is None or model_name(name) == self.model:
            return self
        return self.model_copy(update={"model": model_name(name)})

    def _request(
        self, messages: Sequence[BaseMessage], stop: Sequence[str] | str | None, settings: Mapping[str, Any]
    ) -> GenerationRequest:
        check_names(settings)
        chosen = {name: settings.get(name, getattr(self, name)) for name in PER_CALL}
        answer = AnswerForm.of(settings)
        form = parse_format(chosen["prompt_format"])
        conversation = _instruct(self._read(messages, chosen["multi_image"]), form, answer)
        stops = (*stop_texts(self.stop if stop is None else stop), *form.stop)
        images = tuple(map(self._admission.admit, resolve_refs(conversation.images, self.image_store)))
        return make_request(form.render(conversation), images, stops, chosen, answer.grammar)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager
        chat = self._chosen(kwargs)
        request, form = chat._request(messages, stop, kwargs), AnswerForm.of(kwargs)
        return chat_result(chat.host.generate(request, timeout=self.timeout), form, chat.model)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager
        chat = self._chosen(kwargs)
        request = await asyncio.to_thread(chat._request, messages, stop, kwargs)  # kept images are read from disk
        form = AnswerForm.of(kwargs)
        ticket = await chat._submit(request)
        try:
            waiting = asyncio.wrap_future(ticket.future)
            return chat_result(await asyncio.wait_for(waiting, self.timeout), form, chat.model)
        except TimeoutError as error:
            raise AnswerTimeoutError.after(self.timeout) from error
        finally:
            ticket.cancel()

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        chat = self._chosen(kwargs)
        request, form = chat._request(messages, stop, kwargs), AnswerForm.of(kwargs)
        chunks = AnswerChunks(form, chat.model)
        pieces = chat.host.stream(request, timeout=self.timeout)
        try:
            for piece in pieces:
                for chunk in chunks.of(piece):
                    if run_manager is not None and isinstance(piece, str):
                        run_manager.on_llm_new_token(piece, chunk=chunk)
                    yield chunk
        finally:
            pieces.close()  # type: ignore[attr-defined]

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        chat = self._chosen(kwargs)
        request = await asyncio.to_thread(chat._request, messages, stop, kwargs)  # kept images are read from disk
        form = AnswerForm.of(kwargs)
        chunks = AnswerChunks(form, chat.model)
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()

        def give(piece: str | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        ticket = await chat._submit(request, give)
        ticket.future.add_done_callback(lambda _: give(None))
        ends = None if self.timeout is None else loop.time() + self.timeout
        try:
            while (piece := await _before(ends, pieces)) is not None:
                for chunk in chunks.of(piece):
                    if run_manager is not None:
                        await run_manager.on_llm_new_token(piece, chunk=chunk)
                    yield chunk
            for chunk in chunks.of(ticket.future.result()):
                yield chunk
        except TimeoutError as error:
            raise AnswerTimeoutError.after(self.timeout) from error
        finally:
            ticket.cancel()

    async def _submit(self, request: GenerationRequest, on_piece: Callable[[str], None] | None = None) -> RequestHandle:
        """Load, encode and queue in a thread; a caller that is cancelled meanwhile leaves nothing running."""
        submitting = asyncio.ensure_future(asyncio.to_thread(lambda: self.host.submit(request, on_piece)))
        try:
            return await asyncio.shield(submitting)
        except asyncio.CancelledError:
            submitting.add_done_callback(_cancel_ticket)
            raise

    def get_token_ids(self, text: str) -> list[int]:
        """Token ids of a text, by the checkpoint's own tokenizer."""
        return self.host.encoder.token_ids(text)

    def get_num_tokens_from_messages(self, messages: Sequence[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Exact number of tokens that the model reads for these messages, images and tools included.

        Any part of a conversation is counted, as `trim_messages` asks for.
        """
        answer = AnswerForm.of({"tools": [convert_to_openai_tool(tool) for tool in tools or ()]})
        form = parse_format(self.prompt_format)
        conversation = _instruct(self._read(messages, self.multi_image, whole=False), form, answer)
        return len(self.host.encoder.encode_text(form.render(conversation, checked=False)))

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return [(name, value) for name, value in super().__repr_args__() if name not in ("profile", "metadata")]

    @property
    def _llm_type(self) -> str:
        return PROVIDER

    def _resolve_model_profile(self) -> ModelProfile | None:
        return PROFILE

    @property
    def _identifying_params(self) -> dict[str, Any]:
        names = ("model", "dtype", "device_map", "quantization", "attn_implementation", "revision", "stop", *PER_CALL)
        # LangChain's cache puts a call's own stop texts in the place of these, and knows hosts by these words alone
        more = {"model_stop": self.stop, "given_backend": getattr(self.given_backend, "identity", None)}
        # and what one model may not open, another must not answer for it
        more |= {"image_root": str(self.image_root), "fetch_policy": repr(self.fetch_policy)}
        return {name: getattr(self, name) for name in names} | more


def _instruct(conversation: Conversation, form: PromptFormat, answer: AnswerForm) -> Conversation:
    """A conversation whose system text tells of the tools too."""
    if not answer.instructions:
        return conversation
    before = form.system if conversation.system is None else conversation.system
    return replace(conversation, system="\n".join(text for text in (before, answer.instructions) if text))


async def _before(ends: float | None, pieces: asyncio.Queue[str | None]) -> str | None:
    """The next piece; a `TimeoutError` when there is none by that time of the loop's clock.

    No time limit stands open while the caller has a piece: it would be cancelled in the middle of its own work.
    """
    async with asyncio.timeout_at(ends):
        return await pieces.get()


def _cancel_ticket(submitted: asyncio.Future[RequestHandle]) -> None:
    if not submitted.cancelled() and submitted.exception() is None:
        submitted.result().cancel()
