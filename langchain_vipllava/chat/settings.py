"""`CallSettings`: everything that one call asks for, read once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_vipllava.chat.output import read_output_spec
from langchain_vipllava.chat.profile import Profile
from langchain_vipllava.errors import CheckpointError, GenerationError, VipLlavaError, shorten
from langchain_vipllava.prompt.conversation import Conversation, MultiImage, check_multi_image
from langchain_vipllava.prompt.formats import check_format
from langchain_vipllava.protocol.chat_request import DEFAULT_MAX_TOKENS, ChatRequest
from langchain_vipllava.protocol.logprobs import MAX_TOP_LOGPROBS
from langchain_vipllava.protocol.output_spec import OutputSpec
from langchain_vipllava.protocol.sampling import Sampling

PER_CALL = (
    "temperature", "top_p", "top_k", "seed", "max_tokens", "prompt_format", "escape_turn_markers", "multi_image",
    "image_fit", "schema_in_prompt", "logprobs", "top_logprobs",
)  # fmt: skip
"""Fields of the model that `invoke`, `bind` and the like may override."""

LOADING = (
    "model", "dtype", "device", "device_map", "quantization", "attn_implementation", "revision", "local_files_only",
    "cache_bytes", "compile_decode", "prompt_lookup_num_tokens",
)  # fmt: skip
"""Fields of the model that say which checkpoint to load, and how: those of `LoadOptions`."""

NO_MODEL = (
    "no model; expected model='llava-hf/vip-llava-7b-hf', a folder, or 'bundled', or VIPLLAVA_MODEL in the environment."
)

_OUTPUT = ("tools", "tool_choice", "parallel_tool_calls", "response_format")
"""Settings of the form of the answer, which only `bind` and the like pass."""

_IGNORED_KWARGS = ("ls_structured_output_format", "stream", "stream_usage", "strict")
"""Arguments that LangChain passes along and that change nothing here."""

_MEANT: Mapping[str, str] = {
    "model_name": "model=...",
    "model_id": "model=...",
    "repo_id": "model=...",
    "openai_api_base": "base_url=...",
    "openai_api_key": "api_key=...",
    "torch_dtype": "dtype=...",
    "load_in_4bit": "quantization='4bit'",
    "load_in_8bit": "quantization='8bit'",
    "quantization_config": "quantization='4bit' or '8bit'",
    "model_kwargs": "its entries as arguments of their own (dtype=, device_map=, attn_implementation=, ...)",
    "pipeline_kwargs": "its entries as arguments of their own (temperature=, max_tokens=, ...)",
    "use_flash_attention_2": "attn_implementation='flash_attention_2'",
    "cache_dir": "the environment variable HF_HOME",
    "max_new_tokens": "max_tokens=...",
    "max_length": "max_tokens=...",
    "max_output_tokens": "max_tokens=...",
    "max_completion_tokens": "max_tokens=...",
    "do_sample": "temperature=0 (greedy) or above",
    "num_beams": "temperature=... or top_p=...: there is no beam search",
    "stop_sequences": "stop=[...]",
    "stop_strings": "stop=[...]",
    "request_timeout": "timeout=...",
    "chat_template": "prompt_format=...",
    "processor": "ChatVipLlava.from_model(model, processor)",
}
"""What users of other packages write, and what it is called here."""


@dataclass(frozen=True)
class CallSettings:
    """Everything that one call asks for: the model's fields, with the call's own arguments in their place.

    Attributes:
        model: which checkpoint answers.
        multi_image: what to do with several images.
        template: the request, without its conversation.

    Raises:
        GenerationError: a value out of range, or an argument that nothing reads.
        PromptError: an unknown `prompt_format` or `multi_image`.
        CheckpointError: `model` is not a name.
    """

    model: str
    multi_image: MultiImage
    template: ChatRequest

    @classmethod
    def read(cls, defaults: Any, stop: Sequence[str] | str | None, kwargs: Mapping[str, Any]) -> CallSettings:
        """Read the settings of a call.

        Args:
            defaults: whose fields hold where the call says nothing, or None: the `ChatVipLlava`.
            stop: the call's stop texts; None for the model's.
            kwargs: the call's other arguments.
        """
        check_names(kwargs)
        values = {name: getattr(defaults, name) if kwargs.get(name) is None else kwargs[name] for name in PER_CALL}
        check_multi_image(values["multi_image"])
        stop_texts = _stop_texts(defaults.stop if stop is None else stop)
        defaults.limits.check_stop(stop_texts)
        defaults.limits.check_tools(kwargs.get("tools") or ())
        template = ChatRequest(
            conversation=Conversation(()),
            output=read_output_spec(kwargs),
            sampling=Sampling(
                temperature=0.0 if values["temperature"] is None else values["temperature"],
                top_p=1.0 if values["top_p"] is None else values["top_p"],
                top_k=values["top_k"],
                seed=values["seed"],
            ),
            max_tokens=DEFAULT_MAX_TOKENS if values["max_tokens"] is None else values["max_tokens"],
            stop=stop_texts,
            prompt_format=check_format(values["prompt_format"]),
            image_fit=values["image_fit"],
            escape_turn_markers=values["escape_turn_markers"],
            schema_in_prompt=values["schema_in_prompt"],
            top_logprobs=read_top_logprobs(defaults, kwargs),
        )
        defaults.limits.check_output(template.output)
        model = defaults.model if kwargs.get("model") is None else model_name(kwargs["model"])
        return cls(model, values["multi_image"], template)

    @property
    def output(self) -> OutputSpec:
        """What the answer may be."""
        return self.template.output

    def request(self, conversation: Conversation) -> ChatRequest:
        """Return the request for a conversation."""
        return replace(self.template, conversation=conversation)


def read_top_logprobs(defaults: Any, kwargs: Mapping[str, Any]) -> int | None:
    """Read `logprobs` and `top_logprobs`, as OpenAI writes them; a number of alternatives alone asks for both.

    Returns:
        The number of alternatives of each token; None if no log-probabilities are asked for.

    Raises:
        GenerationError: a value out of range, or alternatives of what is not asked for.
    """
    asked: bool | None = None
    number: int | None = None
    for source in (kwargs, {name: getattr(defaults, name) for name in ("logprobs", "top_logprobs")}):
        logprobs, top = source.get("logprobs"), source.get("top_logprobs")
        if logprobs is not None and not isinstance(logprobs, bool):
            raise GenerationError(
                f"logprobs={shorten(logprobs)}; expected True or False. top_logprobs is the number of alternatives."
            )
        if top is not None and (isinstance(top, bool) or not isinstance(top, int) or not 0 <= top <= MAX_TOP_LOGPROBS):
            raise GenerationError(f"top_logprobs={shorten(top)}; expected a whole number, 0 to {MAX_TOP_LOGPROBS}.")
        if logprobs is False and top:
            raise GenerationError(f"top_logprobs={top} beside logprobs=False; leave one of them out.")
        if asked is None:
            asked = logprobs if logprobs is not None else (True if top is not None else None)
        number = top if number is None else number
    return (number or 0) if asked else None


def check_names(kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments of a call that nothing reads.

    Raises:
        GenerationError: there are some.
    """
    for name in kwargs.keys() & _MEANT.keys():
        raise GenerationError(f"unknown setting {name}; write {_MEANT[name]}.")
    unknown = sorted(kwargs.keys() - {"model", *PER_CALL, *_OUTPUT, *_IGNORED_KWARGS})
    if unknown:
        raise GenerationError(
            f"unknown settings {', '.join(unknown)}; expected some of model, {', '.join(PER_CALL + _OUTPUT)}."
        )


def read_arguments(arguments: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Read the constructor arguments of a chat model: its `backend` names its model.

    Args:
        arguments: what was passed.
        fields: the fields of the chat model, by name.

    Raises:
        VipLlavaError: an argument of another package; the message says what it is called here.
        CheckpointError: no backend, or one beside arguments of how to load a checkpoint.
    """
    for name in arguments:
        if name in _MEANT and name not in fields:
            raise VipLlavaError(f"ChatVipLlava has no argument {name}; write {_MEANT[name]}.")
    # `configurable_fields` makes copies with the names of fields, not those of arguments
    arguments = {"backend" if name == "given_backend" else name: value for name, value in arguments.items()}
    if isinstance(profile := arguments.get("profile"), Profile):
        arguments["profile"] = profile.given  # ours is read anew: such a copy may have another model
    backend = arguments.get("backend")
    if arguments.get("base_url") is not None:
        if backend is not None:
            raise CheckpointError("base_url beside backend=; pass one of them.")
        _refuse_loading(arguments, fields, "base_url=")
        return {**arguments, "model": arguments.get("model") or ""}
    if arguments.get("tokenizer") is not None:
        raise CheckpointError("tokenizer without base_url=; it is for a checkpoint that a server runs.")
    if backend is None:
        return arguments
    if not hasattr(backend, "generate"):
        raise CheckpointError(f"backend is a {type(backend).__name__}; expected a protocol.Backend.")
    _refuse_loading(arguments, fields, "backend=")
    return {"model": backend.name, **arguments}


def _refuse_loading(arguments: Mapping[str, Any], fields: Mapping[str, Any], beside: str) -> None:
    """Refuse arguments of how to load a checkpoint.

    Raises:
        CheckpointError: there are some.
    """
    defaults = {name: fields[name].default for name in LOADING[1:]}
    loading = [name for name, default in defaults.items() if arguments.get(name, default) != default]
    if loading:
        raise CheckpointError(f"{', '.join(loading)} beside {beside}; these are for a checkpoint that is loaded here.")


def _stop_texts(stop: Sequence[str] | str | None) -> tuple[str, ...]:
    """Read one stop text, several or none.

    Raises:
        GenerationError: something else.
    """
    if stop is None or isinstance(stop, (str, list, tuple)):
        return (stop,) if isinstance(stop, str) else tuple(stop or ())
    raise GenerationError(f"stop={shorten(stop)}; expected a text or a list of texts.")


def model_name(value: Any) -> str:
    """Read a hub id, or a folder as text or path.

    Raises:
        CheckpointError: something else.
    """
    if isinstance(value, (str, os.PathLike)):
        name = os.fspath(value)
        if name != "bundled" and name.strip().lower() == "bundled":
            raise CheckpointError(f"model={shorten(name)}; did you mean 'bundled'? Write a folder with its path.")
        return name
    raise CheckpointError(
        f"model is a {type(value).__name__}; expected a hub id or a folder. A loaded model goes in with "
        "ChatVipLlava.from_model(model, processor)."
    )


def optional_name(value: Any) -> str | None:
    """Read a hub id or a folder, or None.

    Raises:
        CheckpointError: something else.
    """
    return None if value is None else model_name(value)


def base_urls(value: Any) -> str | list[str] | None:
    """Read the address of a server, or several.

    Raises:
        GenerationError: something else.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(url, str) for url in value):
        return list(value)
    raise GenerationError(f"base_url={shorten(value)}; expected the address of a server, or a list of them.")


def torch_name(value: Any) -> str:
    """Return the name of a `torch.dtype` or `torch.device`; the number of a CUDA device becomes its name."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"cuda:{value}"
    return str(value).removeprefix("torch.")
