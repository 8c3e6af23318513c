"""`ChatVipLlava`: a local ViP-LLaVA as a LangChain chat model."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from langchain_vipllava.chat.messages import TOKEN_IDS, read_messages
from langchain_vipllava.errors import CheckpointError, GenerationError
from langchain_vipllava.pictures.load import ImageSource
from langchain_vipllava.prompt.conversation import Conversation
from langchain_vipllava.prompt.prompt import Prompt, parse_format

if TYPE_CHECKING:
    from langchain_vipllava.host.host import ModelHost
    from langchain_vipllava.host.options import LoadOptions
    from langchain_vipllava.host.request import GenerationRequest, GenerationResult
    from langchain_vipllava.host.ticket import Ticket

_PER_CALL = ("temperature", "top_p", "top_k", "seed", "max_tokens", "prompt_format", "multi_image", "image_fit")
"""Settings that `invoke`, `bind` and friends may override."""

_NOT_OURS = ("ls_structured_output_format", "stream", "stream_usage")
"""Arguments that LangChain passes along and that mean nothing here."""


def _model_name(value: Any) -> str:
    """A hub id, or a folder as text or path."""
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    raise CheckpointError(
        f"model is a {type(value).__name__}; expected a hub id or a folder. A loaded model goes in with "
        "ChatVipLlava.from_model(model, processor)."
    )


def _torch_name(value: Any) -> str:
    """The name of a `torch.dtype` or `torch.device`; the number of a CUDA device."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"cuda:{value}"
    return str(value).removeprefix("torch.")


class ChatVipLlava(BaseChatModel):
    """A ViP-LLaVA on your own machine, asked through LangChain.

    The checkpoint is loaded at the first call, once per process and set of arguments, however
    many objects ask for it. The model is stateless: every call is given the whole conversation.

    Attributes:
        model: hub id or folder of a VipLlava checkpoint, or "bundled" for the small one inside
            this package.
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
        prompt_format: "user_assistant", "llava_v1" or "human_assistant".
        multi_image: with several pictures in one conversation "keep" them (and warn once),
            "restart" at the newest, or "error". The model was trained on one.
        image_fit: "pad" shows the whole picture, as in training; "center_crop" cuts the sides off.
        given_host: the owner of a model that is loaded already; see `from_model`.

    Raises:
        CheckpointError: at construction for impossible options, at the first call for a checkpoint
            that cannot be loaded.
        PromptError: at construction for an unknown `prompt_format`; messages that make no prompt.
        PictureError: a picture that cannot be loaded.
        GenerationError: at construction or in a call for settings out of range; a prompt that is too long.

    Example:
        >>> from langchain_core.messages import AIMessage, HumanMessage
        >>> from langchain_vipllava import ChatVipLlava
        >>> llm = ChatVipLlava(model="bundled")
        >>> print(llm.render_prompt([HumanMessage("Hello."), AIMessage("Hi."), HumanMessage("Who are you?")]))
        USER: Hello.ASSISTANT: Hi.USER: Who are you?ASSISTANT:
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: Annotated[str, BeforeValidator(_model_name)]
    dtype: Annotated[str, BeforeValidator(_torch_name)] = "auto"
    device: Annotated[str, BeforeValidator(_torch_name)] = "auto"
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
    max_tokens: int | None = 256
    stop: list[str] | str | None = Field(default=None)

    prompt_format: str = "user_assistant"
    multi_image: str = "keep"
    image_fit: str = "pad"

    # a field, unlike the host of a checkpoint, because `configurable_fields` and `model_copy` carry on only fields
    given_host: Any = Field(default=None, exclude=True, repr=False)

    _warned: bool = PrivateAttr(default=False)

    @classmethod
    def from_model(cls, model: Any, processor: Any, **settings: Any) -> ChatVipLlava:
        """Use a model and processor that are loaded already.

        Args:
            model: a `VipLlavaForConditionalGeneration`.
            processor: its `LlavaProcessor`.
            settings: `temperature`, `max_tokens`, `prompt_format` and the like.

        Raises:
            CheckpointError: the model is no ViP-LLaVA, or the processor does not fit.
        """
        from langchain_vipllava.host.host import ModelHost  # noqa: PLC0415  # torch is loaded when needed

        host = ModelHost(model, processor)
        return cls(model=host.name, given_host=host, **settings)

    @property
    def host(self) -> ModelHost:
        """The owner of the loaded model; loads it at the first call."""
        from langchain_vipllava.host.host import ModelHost, get_host  # noqa: PLC0415  # torch is loaded when needed

        # Asked for anew each time: a copy with another `model` must not answer with this one's.
        return self.given_host if isinstance(self.given_host, ModelHost) else get_host(self._load_options())

    def render_prompt(self, messages: LanguageModelInput) -> str:
        """Show exactly what the model will read, `<image>` where a picture stands; loads no weights.

        Raises:
            PromptError: the messages make no prompt.
        """
        conversation = self._read(self._convert_input(messages).to_messages(), self.multi_image)
        return parse_format(self.prompt_format).render(conversation).text

    @model_validator(mode="after")
    def _check_settings(self) -> ChatVipLlava:
        parse_format(self.prompt_format)
        Conversation(()).settle_pictures(self.multi_image)
        self._load_options()
        settings = {name: getattr(self, name) for name in _PER_CALL}
        _make_request(Prompt(()), (), _stop_texts(self.stop), settings)
        return self

    def _load_options(self) -> LoadOptions:
        from langchain_vipllava.host.options import LoadOptions  # noqa: PLC0415

        device_map = self.device_map
        return LoadOptions(
            model=self.model,
            dtype=self.dtype,
            device=self.device,
            device_map=tuple(sorted(device_map.items())) if isinstance(device_map, dict) else device_map,
            quantization=self.quantization,
            attn_implementation=self.attn_implementation,
            revision=self.revision,
            local_files_only=self.local_files_only,
            cache_bytes=self.cache_bytes,
            compile_decode=self.compile_decode,
        )

    def _read(self, messages: Sequence[BaseMessage], multi_image: str) -> Conversation:
        conversation = read_messages(messages)
        if multi_image == "keep" and len(conversation.pictures) > 1 and not self._warned:
            self._warned = True
            warnings.warn(
                f"{len(conversation.pictures)} pictures in one conversation; ViP-LLaVA was trained on one. "
                "multi_image='restart' begins at the newest one.",
                stacklevel=4,
            )
        return conversation.settle_pictures(multi_image)

    def _request(
        self, messages: Sequence[BaseMessage], stop: Sequence[str] | str | None, settings: Mapping[str, Any]
    ) -> GenerationRequest:
        unknown = sorted(settings.keys() - {*_PER_CALL, *_NOT_OURS})
        if unknown:
            raise GenerationError(f"unknown settings {', '.join(unknown)}; expected some of {', '.join(_PER_CALL)}.")
        chosen = {name: settings.get(name, getattr(self, name)) for name in _PER_CALL}
        form = parse_format(chosen["prompt_format"])
        conversation = self._read(messages, chosen["multi_image"])
        stops = _stop_texts(self.stop if stop is None else stop)
        return _make_request(form.render(conversation), conversation.pictures, (*stops, *form.stop), chosen)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager
        result = self.host.generate(self._request(messages, stop, kwargs))
        return self._chat_result(result)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager
        ticket = await self._submit(self._request(messages, stop, kwargs))
        try:
            return self._chat_result(await asyncio.wrap_future(ticket.future))
        finally:
            ticket.cancel()

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        pieces = self.host.stream(self._request(messages, stop, kwargs))
        try:
            for piece in pieces:
                chunk = self._chunk(piece)
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
        request = self._request(messages, stop, kwargs)
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()

        def give(piece: str | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        ticket = await self._submit(request, give)
        ticket.future.add_done_callback(lambda _: give(None))
        try:
            while (piece := await pieces.get()) is not None:
                chunk = self._chunk(piece)
                if run_manager is not None:
                    await run_manager.on_llm_new_token(piece, chunk=chunk)
                yield chunk
            yield self._chunk(ticket.future.result())
        finally:
            ticket.cancel()

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Refuse: ViP-LLaVA was not trained to call tools.

        Raises:
            NotImplementedError: always.
        """
        del tools, kwargs
        raise NotImplementedError(
            "ViP-LLaVA does not call tools: let another LLM be the agent and give this model to "
            "VipLlavaToolkit(chat_model=...)."
        )

    async def _submit(self, request: GenerationRequest, on_piece: Callable[[str], None] | None = None) -> Ticket:
        """Load, encode and queue in a thread; a caller that is cancelled meanwhile leaves nothing running."""
        submitting = asyncio.ensure_future(asyncio.to_thread(lambda: self.host.submit(request, on_piece)))
        try:
            return await asyncio.shield(submitting)
        except asyncio.CancelledError:
            submitting.add_done_callback(_cancel_ticket)
            raise

    def _chat_result(self, result: GenerationResult) -> ChatResult:
        message = AIMessage(
            content=result.text, usage_metadata=_usage(result), response_metadata=self._metadata(result)
        )
        generation = ChatGeneration(message=message, generation_info={"finish_reason": result.finish_reason})
        return ChatResult(generations=[generation], llm_output={"model_name": self.model})

    def _chunk(self, piece: str | GenerationResult) -> ChatGenerationChunk:
        if isinstance(piece, str):
            return ChatGenerationChunk(message=AIMessageChunk(content=piece))
        message = AIMessageChunk(
            content="",
            usage_metadata=_usage(piece),
            response_metadata=self._metadata(piece),
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message, generation_info={"finish_reason": piece.finish_reason})

    def _metadata(self, result: GenerationResult) -> dict[str, Any]:
        return {
            "model_name": self.model,
            "model_provider": self._llm_type,
            "finish_reason": result.finish_reason,
            TOKEN_IDS: list(result.ids),
            "timings": asdict(result.timings),
        }

    def get_token_ids(self, text: str) -> list[int]:
        """Token ids of a text, by the checkpoint's own tokenizer."""
        return self.host.encoder.token_ids(text)

    def get_num_tokens_from_messages(self, messages: Sequence[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Exact number of tokens that the model reads for these messages, pictures included."""
        del tools
        request = self._request(messages, None, {})
        return len(self.host.encoder.encode_text(request.prompt))

    @property
    def _llm_type(self) -> str:
        return "vipllava"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        names = ("model", "dtype", "device_map", "quantization", "attn_implementation", "revision", "stop", *_PER_CALL)
        return {name: getattr(self, name) for name in names}


def _make_request(
    prompt: Prompt, pictures: tuple[ImageSource, ...], stop: tuple[str, ...], settings: Mapping[str, Any]
) -> GenerationRequest:
    from langchain_vipllava.host.request import GenerationRequest, Sampling  # noqa: PLC0415

    return GenerationRequest(
        prompt=prompt,
        pictures=pictures,
        max_tokens=256 if settings["max_tokens"] is None else settings["max_tokens"],
        stop=stop,
        sampling=Sampling(
            temperature=0.0 if settings["temperature"] is None else settings["temperature"],
            top_p=1.0 if settings["top_p"] is None else settings["top_p"],
            top_k=settings["top_k"],
            seed=settings["seed"],
        ),
        image_fit=settings["image_fit"],
    )


def _stop_texts(stop: Sequence[str] | str | None) -> tuple[str, ...]:
    if stop is None or isinstance(stop, (str, list, tuple)):
        return (stop,) if isinstance(stop, str) else tuple(stop or ())
    raise GenerationError(f"stop={stop!r}; expected a text or a list of texts.")


def _cancel_ticket(submitted: asyncio.Future[Ticket]) -> None:
    if not submitted.cancelled() and submitted.exception() is None:
        submitted.result().cancel()


def _usage(result: GenerationResult) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=result.input_tokens,
        output_tokens=result.output_tokens,
        total_tokens=result.input_tokens + result.output_tokens,
    )
