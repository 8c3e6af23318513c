"""`ChatVipLlava`: a local ViP-LLaVA as a LangChain chat model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing, closing
from typing import TYPE_CHECKING, Annotated, Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils import from_env, secret_from_env
from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr, SkipValidation, model_validator

from langchain_vipllava.chat.backend_choice import choose_backend
from langchain_vipllava.chat.guard import tree_errors
from langchain_vipllava.chat.image_refs import held, is_cached, name_mime_types, open_for_cache
from langchain_vipllava.chat.messages import as_messages, check_size, read_messages, unopened, warn_of_images
from langchain_vipllava.chat.output import read_tools
from langchain_vipllava.chat.profiled import ProfiledModel
from langchain_vipllava.chat.results import PROVIDER, AnswerChunks, chat_result, text_of
from langchain_vipllava.chat.settings import (
    LOADING,
    NO_MODEL,
    PER_CALL,
    CallSettings,
    base_urls,
    model_name,
    optional_name,
    read_arguments,
    torch_name,
)
from langchain_vipllava.chat.structured import StructuredMethod, structured
from langchain_vipllava.errors import CheckpointError, GenerationError, PromptError
from langchain_vipllava.images.access import ImageAccessPolicy, ImageRoot, read_roots
from langchain_vipllava.images.fetch import FetchPolicy
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.limits import ImageLimits
from langchain_vipllava.images.source import ImageSource
from langchain_vipllava.images.store import ImageStore
from langchain_vipllava.images.view import ImageFit, view_size_of
from langchain_vipllava.prompt.conversation import Conversation, MultiImage
from langchain_vipllava.prompt.formats import PromptFormatName
from langchain_vipllava.protocol.admission import Slot, admission_of
from langchain_vipllava.protocol.answer import Answer
from langchain_vipllava.protocol.backend import Backend
from langchain_vipllava.protocol.chat_request import DEFAULT_MAX_TOKENS, ChatRequest
from langchain_vipllava.protocol.limits import RequestLimits
from langchain_vipllava.protocol.load_options import DType, Quantization

if TYPE_CHECKING:
    pass


class ChatVipLlava(ProfiledModel):
    """A ViP-LLaVA on your own machine or your own servers, asked through LangChain.

    The checkpoint is loaded at the first call, once per process and set of loading arguments, however many objects
    use it. The model is stateless: every call is passed the whole conversation.

    Attributes:
        model: hub id or folder of a VipLlava checkpoint, or "bundled" for the small one inside this package; without
            it, the environment variable VIPLLAVA_MODEL.
        dtype: "auto" (the checkpoint's own on a GPU; on a CPU float32, or 16 bits where that does not fit), "float16",
            "bfloat16" or "float32".
        device: "auto", "cuda", "cuda:1", "mps" or "cpu".
        device_map: as accelerate takes it ("auto", or a mapping); overrides `device`.
        quantization: "8bit" or "4bit" weights of the language model (bitsandbytes, on a CUDA GPU or a CPU).
        attn_implementation: "sdpa", "eager", "flash_attention_2"; None lets transformers choose.
        revision: branch, tag or commit on the hub.
        local_files_only: never ask the hub.
        cache_bytes: memory for keys and values of earlier prompts; by default a quarter of the free memory, at most
            4 GiB. 0 caches none. Image features have their own bound of 256 MiB.
        compile_decode: whether to compile the decoding step, which takes a while, once; None where it pays (on a
            CUDA GPU). `llm.backend.decode_path` says what was chosen and why.
        prompt_lookup_num_tokens: how many tokens of an answer to guess at most from what the prompt and the answer say
            already, such as 4; the model checks them in one forward pass, so answers stay the same. None guesses none.
        base_url: address of a server, such as "http://gpu-host:8000/v1", or a list of them, to ask instead of loading a
            checkpoint in this process; `model` is then the name under which they serve, and may be left out if they
            serve one model only. A conversation keeps to one of the servers, and moves on when that one is down.
        tokenizer: folder or hub id of the checkpoint that the servers run; by default `model`, if that is one.
            Without it, the servers write and tokenize the prompts, and some texts are refused.
        backend: a `protocol.Backend` to use instead of loading a checkpoint in this process; `model` is then its name.
            `llm.backend` is the one in use.
        temperature: 0 is greedy.
        top_p: sample from the most likely tokens that together have this probability.
        top_k: sample from this many of the most likely tokens.
        seed: makes sampled answers repeatable.
        max_tokens: maximum number of tokens of an answer.
        stop: texts that end an answer.
        timeout: maximum seconds for an answer from the moment its images are open; then it is stopped and an error
            raised. Loading, encoding and waiting count. A call that is not asynchronous cannot be interrupted while it
            loads or encodes: it raises after that. Fetching images has a time limit of its own, see `FetchPolicy`.
        limits: bounds of one request and of the requests in flight.
        streaming: whether `invoke` streams to callbacks, as other models do.
        profile: what the model can do, in the keys of LangChain's `ModelProfile`. What you pass completes or replaces
            what the checkpoint's config says, such as `max_input_tokens`.
        max_retries: further tries of a request that a server did not answer, such as a busy one. A model in this
            process has no use for it.
        api_key: of the servers; without it, the environment variable VIPLLAVA_API_KEY.
        prompt_format: "user_assistant", with which the bundled checkpoint was trained; "llava_v1", with which the
            published 7B and 13B were; or "human_assistant", the chat template inside of those.
        escape_turn_markers: write turn markers in the texts of messages as `USER :` and `ASSISTANT :`, so that no text
            can begin a turn. False leaves every text as it is, for messages that you wrote yourself.
        schema_in_prompt: tell the model the schema of a structured answer, in a line behind the question, as in
            `Answer in JSON: {"color": red | blue}`. False leaves the question as it is; answers fit all the same.
        logprobs: return the log-probability of each token in `response_metadata["logprobs"]`, in OpenAI's layout, and
            how sure the model was of each part of its answer, which `confidence(message)` reads.
        top_logprobs: return the likeliest tokens of each place too, 0 to 20.
        multi_image: with several images in one conversation "keep" them (and warn once), "restart" at the newest, or
            "error". The model was trained on one.
        image_fit: "pad" shows the whole image, as in training; "center_crop" cuts the long sides off.
        image_store: where images are found that messages name by id; see `keep_images`.
        image_root: messages may name files below this folder, or below one of several; None, the default, opens no
            file that a message names.
        fetch_policy: how images are fetched from URLs in messages; None for `FetchPolicy()`: from public hosts only.
        image_limits: bytes, pixels, sides and formats of the images of messages.

    Raises:
        CheckpointError: at construction for impossible options, at the first call for a checkpoint that cannot be
            loaded.
        PromptError: at construction for an unknown `prompt_format`; messages that make no prompt.
        ImageError: an image that cannot be opened.
        GenerationError: at construction or in a call for settings out of range; a request beyond `limits`, such as a
            `PromptTooLongError`; a `BusyError` when too many are in flight.

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
    dtype: Annotated[DType, SkipValidation, BeforeValidator(torch_name)] = "auto"
    device: Annotated[str, BeforeValidator(torch_name)] = "auto"
    device_map: str | dict[str, Any] | None = None
    quantization: Annotated[Quantization | None, SkipValidation] = None
    attn_implementation: str | None = None
    revision: str | None = None
    local_files_only: bool = False
    cache_bytes: int | None = None
    compile_decode: bool | None = None
    prompt_lookup_num_tokens: Annotated[int | None, SkipValidation] = None

    base_url: Annotated[str | list[str] | None, BeforeValidator(base_urls)] = None
    tokenizer: Annotated[str | None, BeforeValidator(optional_name)] = None

    # the constructor argument `backend`; the property `backend` returns the one in use
    given_backend: Annotated[Backend | None, SkipValidation] = Field(
        default=None, alias="backend", exclude=True, repr=False
    )

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    max_tokens: int | None = DEFAULT_MAX_TOKENS
    stop: list[str] | str | None = Field(default=None)
    timeout: float | None = Field(default=None, gt=0)
    limits: RequestLimits = RequestLimits()
    streaming: bool = False
    max_retries: int = 2
    api_key: SecretStr | None = Field(default_factory=secret_from_env("VIPLLAVA_API_KEY", default=None), exclude=True)

    prompt_format: Annotated[PromptFormatName, SkipValidation] = "user_assistant"
    escape_turn_markers: Annotated[bool, SkipValidation] = True
    schema_in_prompt: Annotated[bool, SkipValidation] = True
    logprobs: Annotated[bool | None, SkipValidation] = None
    top_logprobs: Annotated[int | None, SkipValidation] = None
    multi_image: Annotated[MultiImage, SkipValidation] = "keep"
    image_fit: Annotated[ImageFit, SkipValidation] = "pad"
    image_store: ImageStore | None = Field(default=None, exclude=True)
    image_root: Annotated[ImageRoot | None, SkipValidation] = None
    fetch_policy: FetchPolicy | None = None
    image_limits: ImageLimits = ImageLimits()

    _warned: bool = PrivateAttr(default=False)

    @classmethod
    def from_model(cls, model: Any, processor: Any, **settings: Any) -> ChatVipLlava:
        """Use a model and processor that are loaded already.

        Args:
            model: a `VipLlavaForConditionalGeneration`.
            processor: its `LlavaProcessor`.
            settings: `temperature`, `max_tokens`, `prompt_format`, `cache_bytes` and the like.

        Raises:
            CheckpointError: the model is not a ViP-LLaVA, or the processor does not fit; a setting of how to load it.
        """
        from langchain_vipllava.backends.local import LocalBackend  # noqa: PLC0415  # torch is loaded when needed

        of_engine = ("cache_bytes", "compile_decode", "prompt_lookup_num_tokens")
        how = {name: settings.pop(name, None) for name in of_engine}
        if loading := [name for name in LOADING if name in settings]:
            raise CheckpointError(
                f"{', '.join(loading)} for a model that is loaded already; pass them to from_pretrained, or pass "
                "ChatVipLlava a folder."
            )
        return cls(backend=LocalBackend.from_model(model, processor, limits=settings.get("limits"), **how), **settings)

    @property
    def view_size(self) -> int:
        """Side of the square that the model reads of an image, in pixels, for `mark(view_size=)`. Loads no weights."""
        return view_size_of(self.backend)

    @property
    def backend(self) -> Backend:
        """What answers: the backend that was passed, the servers, or the checkpoint in this process."""
        return choose_backend(self)

    @tree_errors(PromptError)
    def render_prompt(self, messages: LanguageModelInput) -> str:
        """Show exactly what the model reads, with `<image>` where an image stands; loads no weights, opens no image.

        An image of a tool's result that the message itself holds is decoded, because a damaged one is named instead.

        Raises:
            PromptError: the messages make no prompt.
        """
        settings = CallSettings.read(self, None, {})
        conversation = self._read(self._convert_input(messages).to_messages(), settings.multi_image, unopened)
        return settings.request(conversation).render().text

    @tree_errors()
    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | list[str] | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let answers be calls of tools, whose arguments always fit their schemas.

        ViP-LLaVA was not trained to call tools: calls are well-formed, but not necessarily sensible. For an agent,
        let another LLM decide, and pass this model to `VipLlavaToolkit(chat_model=...)`.

        Args:
            tools: tools, functions, pydantic classes or OpenAI's dictionaries.
            tool_choice: "auto" lets the model choose between text and calls, "any" makes it call, a name makes it
                call that tool, "none" forbids calls. The mappings of OpenAI, Anthropic, Google and Bedrock are read
                too, and several names.
            strict: accepted as other models accept it; arguments always fit.
            kwargs: further settings: `parallel_tool_calls=True` for several calls in one answer, `response_format`.

        Raises:
            GenerationError: an unknown choice, or a schema that cannot be enforced.
        """
        bound: dict[str, Any] = {"tools": read_tools(tools, self.limits, strict=strict), **kwargs}
        if tool_choice is not None:
            bound["tool_choice"] = tool_choice
        settings = CallSettings.read(self, None, bound)
        self._with_model(settings.model).backend.check_output(settings.output)
        return self.bind(**bound)

    @tree_errors()
    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: StructuredMethod = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Make every answer fit a schema: the model cannot write anything else.

        Args:
            schema: a pydantic class, a TypedDict, or a JSON schema with a title; None with "json_mode" for any
                JSON object.
            method: "json_schema" and "json_mode" answer with the JSON, "function_calling" with the call of a tool.
            include_raw: return `{"raw", "parsed", "parsing_error"}` instead of raising.
            strict: accepted as other models accept it; answers always fit.
            kwargs: settings of a call, such as `logprobs=True`.

        Raises:
            GenerationError: a schema that cannot be enforced, an unknown method or argument.

        Example:
            >>> from pydantic import BaseModel
            >>> class Thing(BaseModel):
            ...     is_round: bool
            >>> from langchain_vipllava import ChatVipLlava
            >>> type(ChatVipLlava(model="bundled").with_structured_output(Thing).invoke("What is it?")).__name__
            'Thing'
        """
        if unknown := sorted(kwargs.keys() - set(PER_CALL)):
            raise GenerationError(
                f"unknown arguments {', '.join(unknown)}; expected method, include_raw, strict or a setting of a call: "
                f"{', '.join(PER_CALL)}."
            )
        CallSettings.read(self, None, kwargs)
        self.limits.check_schemas([schema] if isinstance(schema, dict) else [])  # LangChain recurses into it
        check = self.backend.check_output
        return structured(
            self, schema, method=method, include_raw=include_raw, strict=strict, check=check, settings=kwargs
        )

    @tree_errors(PromptError)
    def get_token_ids(self, text: str) -> list[int]:
        """Return the token ids of a text, by the checkpoint's own tokenizer unless `custom_get_token_ids` is set."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        self.limits.check_texts([text])
        return self.backend.tokenize(text)

    @tree_errors(PromptError)
    def get_num_tokens_from_messages(self, messages: LanguageModelInput, tools: Sequence[Any] | None = None) -> int:
        """Return the exact number of tokens that the model reads for these messages, images and tools included.

        Any part of a conversation is counted, as `trim_messages` needs, in any form that `invoke` takes. No file is
        opened, and nothing is fetched.
        """
        settings = CallSettings.read(self, None, {"tools": read_tools(tools or (), self.limits)})
        conversation = self._read(as_messages(messages), settings.multi_image, unopened, allow_partial=True)
        return self.backend.count_tokens(self.limits.checked(settings.request(conversation)))

    def generate(self, messages: list[list[BaseMessage]], *args: Any, **kwargs: Any) -> LLMResult:
        """As LangChain's: several conversations, one after the other, through its callbacks and its cache."""
        with tree_errors():
            return super().generate([self._open_for_cache(conversation) for conversation in messages], *args, **kwargs)

    async def agenerate(self, messages: list[list[BaseMessage]], *args: Any, **kwargs: Any) -> LLMResult:
        """As LangChain's: several conversations at once, through its callbacks and its cache."""
        with tree_errors():
            if not is_cached(self.cache):
                return await super().agenerate(list(map(name_mime_types, messages)), *args, **kwargs)
            with self._enter():  # before a thread is asked for, of which there are few
                opened = await asyncio.to_thread(lambda: list(map(self._open_for_cache, messages)))
            return await super().agenerate(opened, *args, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager
        with self._enter():
            backend, request = self._prepare(messages, stop, kwargs)
            return chat_result(backend.generate(request, timeout=self.timeout), request.output, backend.name)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager
        with self._enter():
            backend, request = await asyncio.to_thread(self._prepare, messages, stop, kwargs)  # it opens images
            return chat_result(await backend.agenerate(request, timeout=self.timeout), request.output, backend.name)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with ExitStack() as stack:
            stack.enter_context(self._enter())
            backend, request = self._prepare(messages, stop, kwargs)
            chunks = AnswerChunks(request.output, backend.name)
            for piece in stack.enter_context(closing(backend.stream(request, timeout=self.timeout))):
                for chunk in chunks.of(piece):
                    if run_manager is not None and not isinstance(piece, Answer):
                        run_manager.on_llm_new_token(text_of(piece), chunk=chunk)
                    yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async with AsyncExitStack() as stack:
            stack.enter_context(self._enter())
            backend, request = await asyncio.to_thread(self._prepare, messages, stop, kwargs)  # it opens images
            chunks = AnswerChunks(request.output, backend.name)
            pieces = await stack.enter_async_context(aclosing(backend.astream(request, timeout=self.timeout)))
            async for piece in pieces:
                for chunk in chunks.of(piece):
                    if run_manager is not None and not isinstance(piece, Answer):
                        await run_manager.on_llm_new_token(text_of(piece), chunk=chunk)
                    yield chunk

    def _prepare(
        self, messages: Sequence[BaseMessage], stop: Sequence[str] | str | None, kwargs: Mapping[str, Any]
    ) -> tuple[Backend, ChatRequest]:
        """Read a call once: who answers, and what is asked."""
        settings = CallSettings.read(self, stop, kwargs)
        conversation = self._read(messages, settings.multi_image, self._access.resolve)
        return self._with_model(settings.model).backend, self.limits.checked(settings.request(conversation))

    def _enter(self) -> Slot:
        """Take a slot among the calls of this backend that are in flight."""
        return admission_of(("calls", self.backend.cache_key)).enter(self.limits.max_in_flight)

    def _with_model(self, model: str) -> ChatVipLlava:
        return self if model == self.model else self.model_copy(update={"model": model})

    def _read(
        self,
        messages: Sequence[BaseMessage],
        multi_image: MultiImage,
        resolve: Callable[[ImageSource], EncodedImage],
        *,
        allow_partial: bool = False,
    ) -> Conversation:
        with tree_errors(PromptError):
            check_size(messages, self.limits)
            opens = resolve if resolve is not unopened else held(self._access)
            conversation = read_messages(messages, resolve, resolve_result=opens, allow_partial=allow_partial)
        if multi_image == "keep" and len(conversation.images) > 1 and not self._warned:
            self._warned = True
            warn_of_images(len(conversation.images))
        return conversation.limit_images(multi_image)

    @property
    def _access(self) -> ImageAccessPolicy:
        return ImageAccessPolicy(self.image_root, self.fetch_policy, self.image_store, limits=self.image_limits)

    def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
        with tree_errors(PromptError):
            prompt = super()._convert_input(model_input)
            if isinstance(prompt, ChatPromptValue):
                return ChatPromptValue(messages=name_mime_types(prompt.messages))
            return prompt

    def _open_for_cache(self, messages: list[BaseMessage]) -> list[BaseMessage]:
        return open_for_cache(messages, self._access, self.limits, self.cache)

    @model_validator(mode="before")
    @classmethod
    def _read_arguments(cls, arguments: Any) -> Any:
        return read_arguments(arguments, cls.model_fields) if isinstance(arguments, dict) else arguments

    @model_validator(mode="after")
    def _check_settings(self) -> ChatVipLlava:
        CallSettings.read(self, None, {})
        read_roots(self.image_root)
        self._complete_profile(self.backend)  # which checks the loading arguments
        return self

    @property
    def _llm_type(self) -> str:
        return PROVIDER

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """What LangChain's cache identifies the model by."""
        return {
            **{name: getattr(self, name) for name in ("model", *PER_CALL)},
            "backend": self.backend.cache_key,
            "stop": self.stop,
            "model_stop": self.stop,  # LangChain overwrites "stop" in the cache key with that of the call
            # an answer about an image that one model may open must not come from the cache of another that may not
            "image_root": str(read_roots(self.image_root)),
            "fetch_policy": repr(self.fetch_policy),
            "image_limits": repr(self.image_limits),
        }
